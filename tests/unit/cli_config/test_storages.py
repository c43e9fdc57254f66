"""`saveany storages add` and `remove`: their changes of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from saveany.cli import app
from saveany.config import load

TEXT = """# mine
[[users]]
id = 1
storages = ["a"]

[[storages]]
name = "a"
type = "local"
base_path = "/srv/a"  # the NAS
"""


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.toml"
    path.write_text(TEXT)
    return path


def test_add_writes_a_block_and_keeps_the_rest(file: Path) -> None:
    words = (
        "storages add s3 s3 bucket_name=media endpoint=127.0.0.1:9000 access_key_id=me secret_access_key=-"
    )
    result = CliRunner().invoke(app, words.split(), input="hunter2\n")
    assert result.exit_code == 0, result.output
    assert "hunter2" not in result.output
    assert file.read_text().startswith(TEXT)
    storage = load(file, {}).storages[1].model_dump()
    assert (storage["name"], storage["bucket_name"]) == ("s3", "media")
    assert storage["secret_access_key"].get_secret_value() == "hunter2"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("b locl base_path=/b", "there is no storage type 'locl'"),
        ("b local base_pth=/b", "did you mean base_path?"),
        ("b local", "storages[1].base_path: is missing"),
        ("a local base_path=/b", "a is used twice; change one of them"),
        ("b local base_path=.", "choose a folder that is for files only"),
        ("b rclone remote=:local:/", "choose a folder that is for files only"),
        ("b local base_path", "'base_path' must look like KEY=VALUE"),
    ],
)
def test_add_refuses_an_invalid_storage(file: Path, words: str, message: str) -> None:
    result = CliRunner().invoke(app, ["storages", "add", *words.split()])
    assert result.exit_code == 2
    assert message in result.stderr
    assert file.read_text() == TEXT


def test_remove_deletes_the_block_and_warns_about_references_to_it(file: Path) -> None:
    result = CliRunner().invoke(app, ["storages", "remove", "a"])
    assert result.exit_code == 0, result.output
    assert "there is no storage 'a'" in result.stderr
    assert load(file, {}).storages == ()
    assert file.read_text().startswith("# mine\n[[users]]\n")
    result = CliRunner().invoke(app, ["storages", "remove", "a"])
    assert (result.exit_code, result.stderr) == (2, "error: config.toml has no storage 'a'\n")


def test_without_a_file_init_is_recommended(file: Path) -> None:
    file.unlink()
    for words in ("add b local base_path=/b", "remove a"):
        result = CliRunner().invoke(app, ["storages", *words.split(), "-c", "none.toml"])
        assert result.exit_code == 2
        assert "init` writes one" in result.stderr
