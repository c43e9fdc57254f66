"""Uploaded files arrive once and whole, whatever is killed: with curl, and with a client that resumes."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.servers import program
from tests.fixtures.stack import STORAGE, Stack
from tests.fixtures.waiting import until
from tests.integration.api.test_tus import TusClient

FILES = "/api/v1/files"
DATA = os.urandom(3 << 20)


async def curl(stack: Stack, *words: str) -> dict[str, Any]:
    """Run curl; returns the reply, which must be a 201."""
    process = await asyncio.create_subprocess_exec(
        *(program("curl"), "--silent", "--show-error", "--fail-with-body", "--noproxy", "*"),
        *("--header", f"Authorization: Bearer {stack.token}", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, (out, err)
    reply: dict[str, Any] = httpx.Response(200, content=out).json()
    return reply


def uploads(stack: Stack) -> list[str]:
    """The uploaded files of the stack, with unfinished ones."""
    return sorted(path.name for path in (stack.data_dir / "uploads").glob("*[0-9a-v].part")) + sorted(
        path.name for path in (stack.data_dir / "uploads").glob("[0-9a-v]*")
    )


async def saved_files(stack: Stack) -> list[dict[str, Any]]:
    reply = await stack.client.get(FILES)
    found: list[dict[str, Any]] = reply.json()["files"]
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "film one.mkv"
    file.write_bytes(DATA)
    return file


async def test_files_uploaded_with_curl_are_saved(tmp_path: Path, source: Path) -> None:
    async with Stack(tmp_path) as stack:
        raw = await curl(
            stack,
            *("--data-binary", f"@{source}", "--header", "Content-Type: video/x-matroska"),
            f"{stack.url}{FILES}?name=raw.mkv&folder=films",
        )
        form = await curl(
            stack, "--form", f"anything=@{source}", f"{stack.url}{FILES}?storage_name={STORAGE}"
        )
        chunked = await curl(
            stack,
            *("--upload-file", str(source), "--request", "POST", "--header", "Transfer-Encoding: chunked"),
            f"{stack.url}{FILES}?name=chunked",
        )
        for reply in (raw, form, chunked):
            task = await stack.ended(reply["task_id"])
            assert (task["status"], task["type"]) == ("completed", "upload"), task
        for name in ("films/raw.mkv", "film one.mkv", "chunked"):
            assert (stack.storage_dir / name).read_bytes() == DATA
        assert uploads(stack) == []
        listed = {file["name"]: file for file in await saved_files(stack)}
        assert listed["raw.mkv"]["mime_type"] == "video/x-matroska"
        assert listed["raw.mkv"]["folder"] == "/films"
        assert {file["sha256"] for file in listed.values()} == {hashlib.sha256(DATA).hexdigest()}


async def test_an_upload_survives_the_death_of_the_api(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        tus = TusClient(stack.client)
        assert (await tus.begin(len(DATA), filename="film.mkv")).status_code == 201
        hanging = asyncio.Event()

        async def half() -> Any:
            for offset in range(0, 2 << 20, 1 << 16):
                yield DATA[offset : offset + (1 << 16)]
            await hanging.wait()

        sending = asyncio.create_task(tus.send(0, half()))
        part = stack.data_dir / "uploads" / f".saveany-{tus.id}.part"
        await until(lambda: part.stat().st_size >= 1 << 20)
        assert stack.api
        await stack.kill(stack.api)
        hanging.set()
        with pytest.raises(httpx.TransportError):
            await sending
        await stack.start_api()
        await stack.ready()
        offset = await tus.offset()
        assert 1 << 20 <= offset <= 2 << 20
        assert (await tus.send(offset, DATA[offset:])).status_code == 204
        assert (await stack.ended(tus.id))["status"] == "completed"
        assert (stack.storage_dir / "film.mkv").read_bytes() == DATA
        assert [file["name"] for file in await saved_files(stack)] == ["film.mkv"]


async def test_an_upload_survives_the_death_of_workers(tmp_path: Path, source: Path) -> None:
    async with Stack(tmp_path) as stack:
        ids = [
            (await curl(stack, "--form", f"file=@{source}", f"{stack.url}{FILES}"))["task_id"]
            for _ in range(5)
        ]
        for _ in range(3):
            await stack.kill(stack.workers[0])
            await stack.start_worker()
        for task_id in ids:
            assert (await stack.ended(task_id))["status"] == "completed"
        assert len(stack.files()) == 6  # and the marker
        contents = [path.read_bytes() for path in stack.storage_dir.glob("film*")]
        assert contents == [DATA] * 5
        assert uploads(stack) == []
        assert len(await saved_files(stack)) == 5
