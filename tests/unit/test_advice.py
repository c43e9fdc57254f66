"""Commands in messages can be pasted unchanged."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from saveany import advice
from saveany.cli import COMMANDS, app

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(advice.VARIABLE, "")  # so that what a test sets is taken back


def test_the_command_is_plain_by_default() -> None:
    assert advice.command("login --phone") == "saveany login --phone"


def test_the_command_depends_on_how_saveany_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(advice.VARIABLE, "docker compose run --rm -it worker")
    advice.set_program("/opt/saveany/bin/saveany", Path("/data/config.toml"))
    assert advice.command("login --phone") == "docker compose run --rm -it worker login --phone"


def test_a_program_outside_of_the_path_is_named_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "saveany"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    advice.set_program(str(program), None)
    assert advice.command("init") == f"{program} init"
    monkeypatch.setenv(advice.VARIABLE, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    advice.set_program(str(program), None)
    assert advice.command("init") == "saveany init"


def test_a_config_option_is_repeated() -> None:
    advice.set_program("saveany", Path("my files/x.toml"))
    assert shlex.split(advice.command("check")) == ["saveany", "--config", "my files/x.toml", "check"]


def test_the_default_configuration_is_not_mentioned() -> None:
    advice.set_program("saveany", Path("config.toml"))
    assert advice.command("check") == "saveany check"


def test_containers_print_the_command_of_their_image() -> None:
    """The image's entry point is `saveany`, so the pasted text must not repeat it."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name in ("api", "worker", "bot"):
        assert services[name]["environment"][advice.VARIABLE] == "docker compose run --rm -it worker"
    image = (ROOT / "Dockerfile").read_text()
    assert re.search(rf"{advice.VARIABLE}=\"docker run --rm -it .* saveany\"", image)
    assert 'ENTRYPOINT ["saveany"]' in image


SPELLED = re.compile(r"[`:;] ?(?:docker compose run [^`\"]*worker )?saveany ([a-z]+)")


def messages() -> list[tuple[str, int, str]]:
    """Lines of code, without comments and docstrings, that contain a command."""
    found = []
    for folder in ("saveany", "workers", "storages"):
        for file in (ROOT / folder).rglob("*.py"):
            code = re.sub(r'"""(?:.|\n)*?"""', lambda doc: "\n" * doc[0].count("\n"), file.read_text())
            for number, line in enumerate(code.splitlines(), 1):
                match = SPELLED.search(line.split("# ")[0])
                if match and match[1] in COMMANDS:
                    found.append((str(file.relative_to(ROOT)), number, line.strip()))
    return found


#: Texts of the configuration and the reference pages, which are the same on every machine.
STATIC = {
    "saveany/config/schema.py",
    "saveany/config/docs.py",
    "saveany/config/variables.py",
    "saveany/cli/reference.py",
}


def test_no_message_contains_a_hard_coded_command() -> None:
    assert [each for each in messages() if each[0] not in STATIC] == []


def test_recommended_commands_exist() -> None:
    for name in ("login", "init", "run", "check"):
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0
    assert os.environ[advice.VARIABLE]
