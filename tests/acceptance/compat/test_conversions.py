"""`[convert]`: saved videos become MP4 files that start at once. Old hosts call the jobs converts."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.compat import samples
from tests.acceptance.compat.conftest import Api, Login, add_key
from tests.fixtures.servers import program
from tests.fixtures.stack import Stack
from tests.fixtures.videos import make_video
from tests.fixtures.waiting import until
from workers.sources.convert import starts_at_once

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Gate:
    """A program that runs ffmpeg as soon as it is open."""

    def __init__(self, folder: Path) -> None:
        self._open = folder / "open"
        self.program = folder / "gated-ffmpeg"
        wait = f"while [ ! -e {shlex.quote(str(self._open))} ]; do sleep 0.05; done"
        self.program.write_text(f'#!/bin/sh\n{wait}\nexec {program("ffmpeg")} "$@"\n')
        self.program.chmod(0o755)
        self.open()

    def open(self) -> None:
        self._open.touch()

    def close(self) -> None:
        self._open.unlink()


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> AsyncIterator[Stack]:
    tables = {
        "compat": {"openload": {"enable": True}},
        "convert": {"enable": True, "ffmpeg": str(gate.program)},
    }
    async with Stack(tmp_path_factory.mktemp("stack"), tables=tables) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def login(running: Stack) -> Login:
    return await add_key(running)


@pytest.fixture
def api(running: Stack, login: Login) -> Api:
    return Api(running, login)


async def described(api: Api, file: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.call("file/info", file=file))[file]
    return found


async def converted(api: Api, file: str) -> dict[str, Any]:
    """The file once it is an MP4, and no conversion is left."""
    found: dict[str, Any] = {}

    async def is_done() -> bool:
        nonlocal found
        found = await described(api, file)
        jobs[:] = await api.call("file/runningconverts")
        return bool(found["type"] == "video/mp4" and not jobs)

    jobs: list[Any] = []
    await until(is_done, what=lambda: f"the conversion of {found}; left: {jobs}")
    return found


async def failed(api: Api) -> dict[str, dict[str, Any]]:
    """The failed jobs by file."""
    return {job["linkid"]: job for job in await api.call("file/failedconverts")}


def frames(data: bytes, folder: Path) -> list[str]:
    """The hashes of all packets of a video's streams: they change if anything is encoded anew."""
    file = folder / "probed"
    file.write_bytes(data)
    command = [program("ffmpeg"), "-v", "error", "-i", str(file), "-c", "copy", "-f", "framehash", "-"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted(line.rpartition(",")[2] for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("name", ["film.mkv", "film.mov", "film.mp4", "film.ts"])
async def test_a_video_is_converted_without_loss(running: Stack, api: Api, tmp_path: Path, name: str) -> None:
    film = make_video(tmp_path / name, "-c:v", "mpeg4" if name.endswith("ts") else "libx264")
    assert not starts_at_once(film)
    file = (await api.upload(film, name))["id"]

    async def is_another_copy() -> bool:
        return running.storage_dir.joinpath(await path_of(running, file)).read_bytes() != film

    await until(is_another_copy, what="the converted copy")
    found = await converted(api, file)
    assert (found["name"], found["id"]) == ("film.mp4", file)
    data = await api.read(file)
    assert starts_at_once(data)
    assert found["size"] == len(data)
    if not name.endswith("ts"):  # whose packets have headers that MP4 has elsewhere
        assert frames(data, tmp_path) == frames(film, tmp_path)
    assert (running.storage_dir / await path_of(running, file)).read_bytes() == data
    assert (await running.client.get("/api/v1/files")).json()["files"][0]["file_id"] == file
    await check_old_copy(running, film, name)
    await api.call("file/delete", file=file)


async def path_of(running: Stack, file: str) -> str:
    return str((await running.client.get(f"/api/v1/files/{file}")).json()["path"])


async def check_old_copy(running: Stack, film: bytes, name: str) -> None:
    """The original is in the trash, and can be restored."""
    old = (await running.client.get("/api/v1/trash")).json()["files"][0]
    assert (old["name"], old["size"]) == (name, len(film))
    assert (running.storage_dir / old["path"]).read_bytes() == film
    await running.request("POST", f"/files/{old['file_id']}/restore")
    await running.request("DELETE", f"/files/{old['file_id']}?now=true")


async def test_what_starts_at_once_stays_as_it_is(running: Stack, api: Api, tmp_path: Path) -> None:
    film = make_video(tmp_path / "smooth.mp4", "-movflags", "+faststart")
    file = (await api.upload(film, "smooth.mp4"))["id"]
    await converted(api, file)
    assert await api.read(file) == film
    assert file not in await failed(api)


async def test_jobs_are_listed(running: Stack, api: Api, login: Login, gate: Gate, tmp_path: Path) -> None:
    film = make_video(tmp_path / "listed.mkv")
    gate.close()
    file = (await api.upload(film, "listed.mkv"))["id"]

    async def is_listed() -> bool:
        return bool(await api.call("file/runningconverts"))

    await until(is_listed, what="the job")
    [job] = await api.call("file/runningconverts")
    assert (job["linkid"], job["folderid"], job["retries"]) == (file, "0", 0)
    assert job["status"] in ("new", "pending")
    for prefix in ("/1", "/v1"):
        old = Api(running, login, prefix)
        [job] = await old.call("file/converts", file=file)
        assert (job["linkextid"], job["retries"]) == (file, "0")
        assert await old.call("file/converts", file="other") == []
    reply = await Api(running, login, "/v1").reply("file/converts", id=file)
    assert samples.shape(reply) == samples.shape(samples.pstream()["file/converts"])
    gate.open()
    await converted(api, file)
    assert await api.call("file/runningconverts") == []


async def test_a_failed_job_changes_nothing(running: Stack, api: Api) -> None:
    file = (await api.upload(b"no film", "broken.mkv"))["id"]

    async def has_failed() -> bool:
        return file in await failed(api)

    await until(has_failed, what="the failed job")
    job = (await failed(api))[file]
    assert (job["name"], job["status"]) == ("broken.mkv", "failed")
    assert await api.read(file) == b"no film"
    assert "no film" not in json.dumps(job)
    await api.call("file/delete", file=file)
    assert file not in await failed(api)


async def test_it_can_be_requested(running: Stack, login: Login, api: Api) -> None:
    note = (await api.upload(b"text", "note.txt"))["id"]
    assert await api.status("file/convert", file=note) == 400
    assert await api.status("file/convert", file="missing") == 404
    broken = (await api.upload(b"no film", "again.mkv"))["id"]
    assert await Api(running, login, "/1").call("file/convert", file=broken) is True


async def test_a_video_from_telegram_keeps_its_link(running: Stack, api: Api) -> None:
    before = (await running.client.get("/api/v1/files?limit=200")).json()["files"]
    added = await api.call("remotedl/add", url="https://t.me/channel/123")

    async def ended() -> bool:
        return bool((await api.call("remotedl/status", id=added["id"]))[added["id"]]["status"] == "finished")

    await until(ended, what="the task")
    after = (await running.client.get("/api/v1/files?limit=200")).json()["files"]
    assert len(after) == len(before) + 1
