"""The API's first documentation (`002-saveany-http-api.txt`), followed exactly.

Its commands and its program run unmodified against a plain `saveany demo`, but for the id of the task.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from saveany.programs import die_with_parent
from tests.fixtures.waiting import blocking_until
from tests.unit.webhooks.receiver import receiving

SEED = (Path(__file__).parent / "002-saveany-http-api.txt").read_text()
PRINTED_ID = "c9h8t1234abcd"
API = "http://localhost:8080"
HEADERS = {"Authorization": "Bearer your-secret-token-here"}
SLOW = "https://t.me/channel/128"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def example(heading: str, begin: str, end: str) -> str:
    """What is printed below `heading`, from the line that starts with `begin` up to `end`."""
    below = SEED.partition("Example Usage")[2].partition(heading)[2]
    return begin + below.partition(begin)[2].partition(end)[0]


CREATE = example("Create a download task:", "curl ", "\n\nGet task status:")
STATUS = example("Get task status:", "curl ", "\n\nList all tasks:")
LIST = example("List all tasks:", "curl ", "\n\nCancel a task:")
CANCEL = example("Cancel a task:", "curl ", "\n\nUsing Python")
PROGRAM = example("Using Python", "import requests", "\n\nSecurity Recommendations")


def objects(text: str) -> list[dict[str, Any]]:
    """Every JSON object that is printed at the beginning of a line."""
    decoder = json.JSONDecoder()
    return [decoder.raw_decode(text, found.start())[0] for found in re.finditer(r"^\{", text, re.MULTILINE)]


HEALTH, BODY, CREATED, ERROR, TASK, TASKS, CANCELED, WEBHOOK = objects(SEED)


def as_printed(reply: dict[str, Any], shown: dict[str, Any], task_id: str) -> bool:
    """Whether a reply has every printed key with the printed value, except for ids and times."""
    own = {"task_id": task_id, "created_at": reply.get("created_at")}
    assert TIME.fullmatch(reply.get("created_at", "2024-01-19T04:30:00Z"))
    return {key: reply.get(key) for key in shown} == {key: own.get(key, shown[key]) for key in shown}


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[None]:
    """`saveany demo` while the body runs; its data goes to the current folder, as a user would have it."""
    command = [sys.executable, "-m", "saveany", "demo", *options]
    with (folder / "demo.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, preexec_fn=die_with_parent(signal.SIGTERM)
        )
    try:
        yield
    except BaseException:
        print((folder / "demo.log").read_text())
        raise
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def ready() -> bool:
    try:
        return httpx.get(f"{API}/readyz", headers=HEADERS, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def take_port_8080() -> None:
    """Wait for a while until the port of the examples is free: another test may be using it."""
    give_up = time.monotonic() + 60
    while True:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                return sock.bind(("127.0.0.1", 8080))
            except OSError as error:
                reason = f"the examples need port 8080: {error.strerror}"
        if time.monotonic() > give_up:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
        time.sleep(0.1)


@pytest.fixture
def plain_demo(tmp_path: Path) -> Iterator[Path]:
    """A `saveany demo` without any option; the folder it runs in."""
    if shutil.which("curl") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("there is no curl")
    # The commands stay as they are; what curl prints besides the body is set from outside.
    (tmp_path / ".curlrc").write_text('silent\nwrite-out = "\\n%{http_code}"\n')
    take_port_8080()
    with demo(tmp_path):
        blocking_until(ready, within=60, what="ready demo")
        # It has saved its own sample when it tells what to try next: that task is in nobody's way then.
        blocking_until(
            lambda: b"Ctrl-C stops" in (tmp_path / "demo.log").read_bytes(), within=60, what="saved sample"
        )
        yield tmp_path


def curl(command: str, folder: Path, task_id: str = PRINTED_ID) -> tuple[int, Any]:
    """Run a printed command in a shell: HTTP status and body."""
    done = subprocess.run(
        ["bash", "-c", command.replace(PRINTED_ID, task_id)],
        env={**os.environ, "CURL_HOME": str(folder), "no_proxy": "localhost"},
        capture_output=True,
        check=True,
        timeout=30,
    )
    body, _, status = done.stdout.decode().rpartition("\n")
    return int(status), json.loads(body)


def post(link: str) -> str:
    body = {"telegram_url": link, "user_id": 123456789}
    reply = httpx.post(f"{API}/api/v1/tasks", json=body, headers=HEADERS, trust_env=False)
    return str(reply.json()["task_id"])


def test_the_examples_are_found() -> None:
    assert CREATE.count("\n") == 8
    assert CREATE.endswith("}'")
    assert [command.count(PRINTED_ID) for command in (CREATE, STATUS, LIST, CANCEL)] == [0, 1, 0, 1]
    assert PROGRAM.startswith("import requests\n\nAPI_URL")
    assert PROGRAM.endswith("""print(f"Task status: {status['status']}")""")


def test_printed_commands_have_the_printed_replies(plain_demo: Path) -> None:
    assert httpx.get(f"{API}/health", trust_env=False).json() == HEALTH

    code, created = curl(CREATE, plain_demo)
    task_id = created["task_id"]
    assert code == 201
    assert as_printed(created, CREATED, task_id)

    code, task = curl(STATUS, plain_demo, task_id)
    give_up = time.monotonic() + 30
    while task["status"] in ("queued", "running"):
        assert time.monotonic() < give_up, task
        code, task = curl(STATUS, plain_demo, task_id)
    assert code == 200
    assert as_printed(task, TASK, task_id)
    assert (plain_demo / "demo-data/files/downloads/file.pdf").read_bytes().startswith(b"%PDF")

    slow = [post(SLOW) for _ in range(8)]
    code, tasks = curl(LIST, plain_demo)
    give_up = time.monotonic() + 30
    while not tasks["running"]:
        assert time.monotonic() < give_up, tasks
        code, tasks = curl(LIST, plain_demo)
    assert code == 200
    assert tasks["queued"], "more were posted than run at once"
    assert {each["id"] for each in tasks["queued"] + tasks["running"]} == set(slow)
    for state in TASKS:
        assert all(TASKS[state][0].keys() <= each.keys() for each in tasks[state])

    for victim in (tasks["running"][0]["id"], tasks["queued"][-1]["id"]):
        assert curl(CANCEL, plain_demo, victim) == (200, CANCELED)
        assert curl(STATUS, plain_demo, victim)[1]["status"] == "canceled"
    for victim in set(slow) - {tasks["running"][0]["id"], tasks["queued"][-1]["id"]}:
        assert curl(CANCEL, plain_demo, victim)[0] == 200

    code, error = curl(STATUS, plain_demo)  # the printed id is of nobody's task here
    assert code == 404
    assert [type(error[key]) for key in ERROR] == [str]

    program = plain_demo / "example.py"
    program.write_text(PROGRAM)
    output = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    assert re.fullmatch(r"Task status: (queued|running|completed)\n", output)


async def test_the_printed_webhook_is_sent(tmp_path: Path) -> None:
    async with receiving() as receiver:
        task_id = await asyncio.to_thread(save_in_a_demo, tmp_path, receiver.url)
    (request,) = receiver.requests
    assert request.line == "POST /hook HTTP/1.1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer your-secret-token-here"
    assert as_printed(json.loads(request.body), WEBHOOK, task_id)


def save_in_a_demo(folder: Path, webhook_url: str) -> str:
    """Run the task of the examples in a demo with that `webhook_url`; its id, after the webhook was sent."""
    options = ["--port", "0", "--json", "--data", str(folder / "data"), "--webhook-url", webhook_url]
    with demo(folder, *options):
        log = folder / "demo.log"
        blocking_until(lambda: b"\n" in log.read_bytes(), within=60, what="line of JSON")
        facts = json.loads(log.read_bytes().partition(b"\n")[0])
        headers = {"Authorization": f"Bearer {facts['token']}"}
        with httpx.Client(base_url=facts["api"], headers=headers, trust_env=False) as client:
            task_id = str(client.post("/api/v1/tasks", json=BODY).json()["task_id"])
            blocking_until(
                lambda: client.get(f"/api/v1/tasks/{task_id}").json()["webhook"], within=60, what="webhook"
            )
    return task_id
