"""The webhook of StreamBot's documentation (`000-streambot-api-examples.txt`), received by its program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from saveany.programs import die_with_parent
from saveany.sandbox import samples
from tests.fixtures.servers import free_port
from tests.fixtures.stack import STORAGE, USER_ID, Stack
from tests.fixtures.waiting import blocking_until, until
from tests.sandbox.clients import named, person

SEED = (Path(__file__).parent / "000-streambot-api-examples.txt").read_text()
RECEIVER = SEED.partition("### Webhook Integration")[2].partition("```python\n")[2].partition("```")[0]
PRINTED = re.compile(
    r"New file uploaded: (?P<name>.+) by user (?P<user>\d+)\n"
    r"Download link: https://your-domain\.com(?P<path>/dl/\w+)\n"
)


@dataclass(frozen=True)
class Announced:
    """What the program has printed about one file."""

    name: str
    user_id: int
    path: str  # of the link


class FlaskReceiver:
    """The program, served on a free port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._log = folder / "receiver.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhook"

    def announced(self) -> list[Announced]:
        found = PRINTED.finditer(self._log.read_text())
        return [Announced(each["name"], int(each["user"]), each["path"]) for each in found]

    def is_serving(self) -> bool:
        try:
            return httpx.get(self.url, trust_env=False).status_code == httpx.codes.METHOD_NOT_ALLOWED
        except httpx.TransportError:
            return False


@contextmanager
def flask_receiver(folder: Path) -> Iterator[FlaskReceiver]:
    (folder / "receiver.py").write_text(RECEIVER)
    receiver = FlaskReceiver(folder)
    command = [sys.executable, "-m", "flask", "--app", "receiver", "run", "--port", str(receiver.port)]
    with (folder / "receiver.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            preexec_fn=die_with_parent(9),
        )
    try:
        blocking_until(receiver.is_serving, what="the receiver")
        yield receiver
    finally:
        process.kill()
        process.wait()


def test_the_program_is_found() -> None:
    assert RECEIVER.startswith("from flask import Flask, request, jsonify")
    assert RECEIVER.endswith("app.run(port=5000)\n")


async def test_every_file_that_enters_is_announced_with_a_link_that_works(tmp_path: Path) -> None:
    """SB16, X1, X3."""
    with flask_receiver(tmp_path) as receiver:
        tables = {
            "api": {"webhook_url": receiver.url, "webhook_events": ["file_uploaded"]},
            "users": [{"id": USER_ID}, {"id": samples.PERSON.id}],
        }
        async with Stack(tmp_path, tables=tables) as stack:
            await stack.start_bot()

            async def announced(count: int) -> Announced:
                await until(lambda: len(receiver.announced()) >= count, what=f"webhook {count}")
                assert len(receiver.announced()) == count
                return receiver.announced()[-1]

            async def download(path: str) -> bytes:
                async with httpx.AsyncClient(base_url=stack.url, trust_env=False, timeout=60) as anybody:
                    reply = await anybody.get(path)
                assert reply.status_code == httpx.codes.OK, reply.text
                return reply.content

            task = await stack.add("https://t.me/channel/123")  # by the API
            first = await announced(1)
            assert (first.name, first.user_id) == ("file.pdf", USER_ID)
            assert await download(first.path) == (stack.storage_dir / "file.pdf").read_bytes()

            async with person(stack.sandbox) as anna:  # by the bot
                await anna.send("sandbox_bot", named(b"from the bot", "notes.txt"))
                card = await anna.receives(lambda message: bool(message.buttons))
                await anna.press(card, STORAGE)
                second = await announced(2)
                assert (second.name, second.user_id) == ("notes.txt", samples.PERSON.id)
                assert await download(second.path) == b"from the bot"

                await anna.send("sandbox_bot", named(b"only a link", "more.txt"))  # not saved
                card = await anna.receives(lambda message: "more.txt" in (message.text or ""))
                for _ in range(2):  # the second time, nothing is new
                    await anna.press(card, "Link")
                third = await announced(3)
            assert (third.name, third.user_id) == ("more.txt", samples.PERSON.id)
            assert await download(third.path) == b"only a link"

            files = {"file": ("mine.txt", b"uploaded")}  # by an upload
            reply = await stack.client.post("/api/v1/files", params={"user_id": USER_ID}, files=files)
            assert reply.status_code == httpx.codes.CREATED, reply.text
            fourth = await announced(4)
            assert (fourth.name, fourth.user_id) == ("mine.txt", USER_ID)
            assert await download(fourth.path) == b"uploaded"

            assert (await stack.ended(task["task_id"]))["status"] == "completed"
            listed = (await stack.client.get("/api/v1/links", params={"user_id": USER_ID})).json()["links"]
            assert {f"/dl/{link['token']}" for link in listed} == {first.path, fourth.path}
            assert all(link["expires_at"] for link in listed)
