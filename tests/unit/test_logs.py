"""Logging: one line per event, from one place, without secrets."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Literal

import pytest
import structlog

from saveany import logs

CANARY = 'canary-4f"9\\c1/é?&=token'


pytestmark = pytest.mark.usefixtures("restored_logging")


def leak_everywhere(secret: str) -> None:
    """Log the secret in every possible way."""
    log = logs.get_logger("test")
    log.info(f"in the event {secret}", value=secret, nested={"list": [secret]}, **{"odd key": secret})
    log.info("in a repr", value=Exception(secret))
    logging.getLogger("uvicorn.access").info("GET /?token=%s", secret)
    logging.getLogger("arq").warning("from the library: %r", {"token": secret})
    structlog.contextvars.bind_contextvars(bound=secret)
    try:
        raise ValueError(f"no good: {secret}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("telethon.network").exception("failed")
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize("fmt", ["text", "json"])
def test_a_registered_secret_is_never_logged(
    fmt: Literal["text", "json"], capsys: pytest.CaptureFixture[str]
) -> None:
    logs.setup("debug", fmt)
    leak_everywhere(CANARY)
    assert "4f" in capsys.readouterr().err, "without registering it would be there"
    logs.register_secret(CANARY)
    leak_everywhere(CANARY)
    written = capsys.readouterr().err
    assert "4f" not in written
    assert "9\\" not in written
    assert written.count(logs.MASK) >= 10
    assert "no good" in written, "the rest of an exception stays"


def test_a_secret_in_a_url_is_masked() -> None:
    logs.register_secret("12345:AbC/dEf")
    assert logs.redact("/bot12345%3AAbC%2FdEf/getMe") == f"/bot{logs.MASK}/getMe"


def test_the_longer_of_two_overlapping_secrets_is_masked_completely() -> None:
    logs.register_secret("secret")
    logs.register_secret("secret-and-more")
    assert logs.redact("secret-and-more secret") == f"{logs.MASK} {logs.MASK}"


@pytest.mark.parametrize("value", ["", "abc"])
def test_values_too_short_to_be_secrets_are_not_masked(value: str) -> None:
    logs.register_secret(value)
    assert logs.redact("abcdef") == "abcdef"


def test_json_lines_have_the_keys_of_log_collectors(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("info", "json")
    logs.get_logger("saveany.test").info("task accepted", task="t1")
    logging.getLogger("uvicorn.error").warning("from the library %d", 1)
    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    assert ours.pop("timestamp").endswith("Z")
    assert ours == {"event": "task accepted", "task": "t1", "level": "info", "logger": "saveany.test"}
    assert (theirs["event"], theirs["level"]) == ("from the library 1", "warning")


def test_the_level_applies_and_verbose_libraries_are_silenced(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("info")
    logs.get_logger("saveany.test").debug("too fine")
    logging.getLogger("httpx").info("HTTP Request: GET http://example.com/secret")
    logging.getLogger("telethon.client").info("Connecting")
    logging.getLogger("asyncssh").info("[conn=0] Connected to SSH server")
    logging.getLogger("telethon.client").warning("a real problem")
    written = capsys.readouterr().err
    assert "a real problem" in written
    assert written.count("\n") == 1


def test_a_crash_is_logged_masked() -> None:
    program = f"""
from saveany import logs
logs.setup("info", "json")
logs.register_secret({CANARY!r})
raise RuntimeError("boom " + {CANARY!r})
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    record = json.loads(result.stderr)
    assert result.returncode == 1
    assert (record["event"], record["level"]) == ("crashed", "critical")
    assert f"RuntimeError: boom {logs.MASK}" in record["exception"]
