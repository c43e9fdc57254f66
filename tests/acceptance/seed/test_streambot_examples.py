"""The examples of StreamBot's API documentation (`000-streambot-api-examples.txt`), run with a plain demo.

Nothing is changed but the printed host, token and ids: a displayed token takes the place of an id.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from saveany.sandbox.samples import SHA256
from tests.acceptance.seed.test_seed import HEADERS, demo
from tests.fixtures.servers import program
from tests.fixtures.waiting import blocking_until

SEED = (Path(__file__).parent / "000-streambot-api-examples.txt").read_text()
HOST = "https://your-streambot-domain.com"
TOKENS = ("YOUR_ADMIN_TOKEN", "your_admin_token")
SAMPLE = SHA256[1005]  # of the file that the demo saves


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SEED, re.DOTALL)


def block(language: str, containing: str) -> str:
    [found] = [each for each in blocks(language) if containing in each]
    return found


@dataclass
class Demo:
    """A demo that runs, and what it displays."""

    folder: Path
    base: str
    file_id: str

    def adapted(self, text: str, **ids: str) -> str:
        """The printed text with the address and the values of this demo."""
        values = {HOST: self.base, **dict.fromkeys(TOKENS, "your-secret-token-here"), **ids}
        for printed, value in values.items():
            text = text.replace(printed, value)
        return text

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, program: str) -> str:
        return self.run(sys.executable, "-c", program)

    def sha256(self, name: str) -> str:
        return hashlib.sha256((self.folder / name).read_bytes()).hexdigest()


@contextmanager
def run_demo(folder: Path) -> Iterator[Demo]:
    with demo(folder, "--port", "0"):
        log = folder / "demo.log"
        shown = re.compile(r"(http://\S+)/dl/(\w{22})/")
        blocking_until(lambda: shown.search(log.read_text()), within=90, what="displayed link")
        found = shown.search(log.read_text())
        assert found
        yield Demo(folder, found[1], found[2])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with run_demo(tmp_path_factory.mktemp("streambot")) as found:
        yield found


def test_the_curl_examples(running: Demo) -> None:
    program("curl")
    downloads = running.adapted(block("bash", "-o downloaded_file.pdf"), file_id_here=running.file_id)
    running.run("bash", "-c", downloads)
    assert running.sha256("downloaded_file.pdf") == SAMPLE
    for command in (each for each in blocks("bash") if "/api/info" in each):
        info = json.loads(running.run("bash", "-c", running.adapted(command)))
        printed = json.loads(blocks("json")[0])
        assert info.keys() >= printed.keys()
        assert {key: type(info[key]) for key in printed} == {key: type(printed[key]) for key in printed}
        assert info["status"] == printed["status"]


def test_the_python_download_example(running: Demo) -> None:
    """SB4."""
    text = block("python", "def download_file(file_id, output_path)")
    out = running.python(running.adapted(text, your_file_id=running.file_id))
    assert out == "Downloaded file to downloaded_file.pdf\n"
    assert running.sha256("downloaded_file.pdf") == SAMPLE


def test_the_python_information_example(running: Demo) -> None:
    """SB2."""
    out = running.python(running.adapted(block("python", "def get_bot_info")))
    assert re.fullmatch(r"Bot status: running\nTotal users: \d+\n", out)


def test_the_python_batch_example(running: Demo) -> None:
    """Five threads; all ids are of one link, which is opened once (SB4)."""
    text = running.adapted(block("python", "def download_multiple_files"), file1=running.file_id)
    text = text.replace("'file2'", f"'{running.file_id}'").replace("'file3'", "'unknown'")
    done, failed = f"Downloaded: {running.file_id}\n", "Failed: unknown\n"
    assert running.python(text) == done + done + failed
    assert running.sha256(f"downloads/{running.file_id}") == SAMPLE


def test_the_javascript_example(running: Demo) -> None:
    """In Node.js, with a page's document that notes what is clicked (SB15)."""
    stub = """
    const done = {};
    globalThis.window = { URL: { createObjectURL: (b) => (done.blob = b, "blob:1"), revokeObjectURL() {} } };
    const link = { click() { done.name = link.download; } };
    globalThis.document = { createElement: () => link, body: { appendChild() {}, removeChild() {} } };
    process.on("beforeExit", async () => {
      if (done.shown || !done.blob) return;
      done.shown = true;
      const hash = require("crypto").createHash("sha256");
      hash.update(Buffer.from(await done.blob.arrayBuffer()));
      console.log(done.name, hash.digest("hex"));
    });
    """
    [text] = blocks("javascript")
    out = running.run(program("node"), "-e", stub + running.adapted(text, your_file_id=running.file_id))
    assert out == f"downloaded_file.pdf {SAMPLE}\n"


@pytest.mark.parametrize(
    ("path", "headers", "printed"),
    [("/dl/unknown", {}, 1), ("/api/info", {}, 2), ("/api/info", {"Authorization": "Bearer wrong"}, 2)],
)
def test_the_printed_errors(running: Demo, path: str, headers: dict[str, str], printed: int) -> None:
    """SB1, SB9."""
    expected: dict[str, Any] = json.loads(blocks("json")[printed])
    reply = httpx.get(running.base + path, headers=headers, trust_env=False)
    assert (reply.status_code, reply.json()) == (expected["code"], expected)
    assert reply.headers["content-type"] == "application/json"


def test_the_python_error_example(running: Demo) -> None:
    """The example reads every reply as JSON."""
    text = block("python", "def safe_api_call")
    calls = "".join(
        f"safe_api_call({running.base + path!r})\n" for path in ("/dl/unknown", "/api/info", "/health")
    )
    assert running.python(text + calls) == "File not found\nAuthentication failed\n"


def test_the_python_retry_example_ends_with_the_printed_error(tmp_path: Path) -> None:
    """The address has opened as many links as it may; the example waits and tries again (SB11)."""
    with run_demo(tmp_path) as running, httpx.Client(base_url=running.base, trust_env=False) as client:
        body = {"telegram_url": "https://t.me/channel/123", "user_id": 123456789}
        for _ in range(16):
            made = client.post("/api/v1/links", json=body, headers=HEADERS).json()
            reply = client.get(f"/dl/{made['token']}")
        assert (reply.status_code, reply.json()) == (429, json.loads(blocks("json")[3]))
        imports = "import requests\nfrom requests import RequestException\n"  # the example expects them
        text = imports + block("python", "def api_call_with_retry").replace("time.sleep(wait_time)", "pass")
        url = f"{running.base}/dl/{made['token']}"
        out = running.python(f"{text}\nprint(api_call_with_retry({url!r}))")
        assert out.count("Rate limited, waiting") == 3
