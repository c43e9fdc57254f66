"""The examples of the documentation, run with a demo as a reader would run them.

The bash blocks of a page run in one shell, in the demo's working folder; each Python block runs alone.
Nothing is changed but the port.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.unit.docs import pages

BIN = Path(sys.executable).parent
PRINTED = "http://localhost:8080"
SECONDS = 60


@dataclass
class Receiver:
    """Takes webhooks as they come."""

    requests: queue.Queue[tuple[Mapping[str, str], bytes]] = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        taken = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                taken.put((dict(self.headers), body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its name in http.server
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@dataclass(frozen=True)
class Demo:
    """`make demo` in a folder of its own."""

    folder: Path
    facts: dict[str, Any]
    receiver: Receiver

    def run(self, language: str, code: str) -> str:
        """The output of the code, including stderr; the code must succeed."""
        code = code.replace(PRINTED, self.facts["api"])
        argv = {"bash": ["bash", "-euo", "pipefail", "-c", code], "python": [sys.executable, "-c", code]}
        env = environment()
        done = subprocess.run(
            argv[language], cwd=self.folder, env=env, text=True, timeout=SECONDS, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout


def environment() -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SAVEANY_")}
    return clean | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("reader")
    receiver = Receiver()
    argv = [str(BIN / "saveany"), "demo", "--port", "0", "--json", "--webhook-url", receiver.url]
    with subprocess.Popen(argv, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        assert line, "the demo ended before it was ready"
        yield Demo(folder, json.loads(line), receiver)
        process.terminate()
        assert process.wait(SECONDS) == 0
    receiver.server.shutdown()
    receiver.server.server_close()


RUNNABLE = [page for page in pages.pages() if any(not one.name for one in pages.examples(page))]


@pytest.mark.parametrize("page", RUNNABLE, ids=pages.name)
def test_examples_succeed(page: Path, demo: Demo) -> None:
    examples = [one for one in pages.examples(page) if not one.name]
    for language in ("bash", "python"):
        blocks = [one for one in examples if one.language == language]
        printed = demo.run(language, "\n".join(one.code for one in blocks)) if blocks else ""
        for text in (text for one in blocks for text in one.expected):
            assert text in printed


def test_the_receiver_of_the_docs_verifies_webhooks(demo: Demo) -> None:
    (example,) = pages.examples(pages.ROOT / "docs/howto/webhooks.md")
    assert example.name == "receiver"
    namespace: dict[str, Any] = {}
    exec(example.code, namespace)  # the very lines a reader copies
    is_genuine = namespace["is_genuine"]
    secret = demo.run("bash", "saveany --config demo-data/config.toml config get api.webhook_secret --reveal")

    task_id = post(demo, "https://t.me/channel/124")
    headers, body = webhook_of(demo, task_id)
    assert is_genuine(secret.strip(), headers, body)
    assert not is_genuine(secret.strip(), headers, body + b" ")
    assert not is_genuine("whsec_" + "A" * 32, headers, body)
    assert not is_genuine(secret.strip(), {**headers, "webhook-timestamp": "1705638605"}, body)


def test_the_webhook_of_the_reference_page_has_the_keys_of_a_real_one(demo: Demo) -> None:
    page = (pages.ROOT / "docs/reference/events-and-webhooks.md").read_text()
    printed = json.loads(page.partition("```json\n")[2].partition("```")[0])
    headers, body = webhook_of(demo, post(demo, "https://t.me/channel/123"))
    real = json.loads(body)
    assert printed.keys() == real.keys()
    assert printed["items"][0].keys() == real["items"][0].keys()
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= {key.lower() for key in headers}
    assert headers["Authorization"] == f"Bearer {demo.facts['token']}"


def post(demo: Demo, link: str) -> str:
    """Create a task; its id."""
    reply = requests.post(
        f"{demo.facts['api']}/api/v1/tasks",
        headers={"Authorization": f"Bearer {demo.facts['token']}"},
        json={"telegram_url": link, "user_id": demo.facts["user_id"], "dir_path": "/hooks"},
        timeout=SECONDS,
    )
    assert reply.status_code == 201, reply.text
    return str(reply.json()["task_id"])


def webhook_of(demo: Demo, task_id: str) -> tuple[Mapping[str, str], bytes]:
    """The webhook of that task; those of other tasks are dropped."""
    while True:
        headers, body = demo.receiver.requests.get(timeout=SECONDS)
        if json.loads(body)["task_id"] == task_id:
            return headers, body
