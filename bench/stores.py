"""1 GiB into each kind of storage and out again, beside the best client that others have for its server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import pytest

from bench.memory import one_into
from bench.process import child
from bench.results import MB, MIB, Measurement, compared
from storages.base import StorageOptions
from storages.local.options import LocalOptions
from tests.fixtures import ftp, rclone, s3, sftp, webdav
from tests.fixtures.servers import program
from tests.fixtures.tables import table
from tests.fixtures.webdav import DavServer

_SIZE = 1024 * MIB
_ROUNDS = 3
_OURS, _THEIRS = "ours.bin", "theirs.bin"


@dataclass(frozen=True)
class Place:
    """A running server. The commands put a file there as `theirs.bin`, and read it back to nowhere."""

    options: StorageOptions
    put: Sequence[str | Path]
    get: Sequence[str | Path]
    timed: bool = False  # the commands print their seconds; else those of the whole process count


#: With a folder for the server, and the file to be put.
Make = Callable[[Path, Path], AbstractContextManager[Place]]


@contextmanager
def _local(folder: Path, source: Path) -> Iterator[Place]:
    """`cp`, and the file on the disk, as ours is. What reads must hand the bytes on, as ours does: `cp` to
    /dev/null hands them to nobody."""
    options = LocalOptions(name="local", type="local", base_path=folder / "files")
    theirs = folder / "files" / _THEIRS
    put: list[str | Path] = ["sh", "-c", 'cp "$0" "$1" && sync "$1"', source, theirs]
    yield Place(options, put, ["sh", "-c", '"$0" cat "$1" > /dev/null', program("rclone"), theirs])


@contextmanager
def _s3(folder: Path, source: Path) -> Iterator[Place]:
    with s3.rclone(folder) as server:
        bucket = server.bucket()
        options = server.options(bucket, base_path="")
        boto: list[str | Path] = [sys.executable, "-m", "bench.boto"]
        login = [options.endpoint, s3.KEY, s3.SECRET, bucket]
        yield Place(
            options,
            [*boto, "up", *login, source, _THEIRS],
            [*boto, "down", *login, "/dev/null", _THEIRS],
            timed=True,
        )


@contextmanager
def _webdav(folder: Path, source: Path) -> Iterator[Place]:
    with webdav.apache() as server:
        url = f"{server.url}/{_THEIRS}"
        put, get = webdav.curl(server, "-T", str(source), url), webdav.curl(server, "-o", "/dev/null", url)
        yield Place(server.options(""), put, get)


@contextmanager
def _sftp(folder: Path, source: Path) -> Iterator[Place]:
    with sftp.openssh(folder) as server:
        command: list[str | Path] = [program("sftp"), "-q", "-P", str(server.port), "-i", folder / "user"]
        command += ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known"]
        batches = {}
        for way, line in {
            "put": f"put -f {source} {server.root}/{_THEIRS}",  # -f: flushed to the disk, as ours is
            "get": f"get {server.root}/{_THEIRS} /dev/null",
        }.items():
            batches[way] = folder / way
            batches[way].write_text(f"{line}\n")
        yield Place(
            server.options("", base_path=str(server.root)),
            [*command, "-b", batches["put"], f"{server.login['username']}@127.0.0.1"],
            [*command, "-b", batches["get"], f"{server.login['username']}@127.0.0.1"],
        )


@contextmanager
def _ftp(folder: Path, source: Path) -> Iterator[Place]:
    with ftp.pyftpdlib(folder) as server:
        curl: list[str | Path] = [program("curl"), "-sf", "-u", f"{ftp.USER}:{ftp.PASSWORD}"]
        url = f"ftp://127.0.0.1:{server.port}/{_THEIRS}"
        yield Place(server.options(""), [*curl, "-T", source, url], [*curl, "-o", "/dev/null", url])


@contextmanager
def _rclone(folder: Path, source: Path) -> Iterator[Place]:
    with webdav.rclone() as server, rclone.remotes(folder, {"box": _login(server)}) as remotes:
        command: list[str | Path] = [program("rclone"), "--config", remotes.config]
        yield Place(
            remotes.options("box:", ""),
            [*command, "copyto", "--ignore-times", source, f"box:{_THEIRS}"],
            ["sh", "-c", '"$@" > /dev/null', "sh", *command, "cat", f"box:{_THEIRS}"],
        )


def _login(server: DavServer) -> dict[str, object]:
    """What rclone.conf has for a server."""
    secret = rclone.obscured(webdav.PASSWORD)
    return {"type": "webdav", "url": server.url, "user": webdav.USER, "pass": secret}


_PLACES: dict[str, Make] = {
    "local": _local,
    "s3": _s3,
    "webdav": _webdav,
    "sftp": _sftp,
    "ftp": _ftp,
    "rclone": _rclone,
}


def names(type_: str) -> tuple[str, str, str]:
    """What is measured of a type of storage."""
    return f"store_{type_}_up", f"store_{type_}_down", f"store_{type_}_mem_mb"


def runs() -> dict[tuple[str, ...], Callable[[], Awaitable[list[Measurement]]]]:
    """The measurements of every type."""
    return {names(type_): partial(_measured, type_) for type_ in _PLACES}


async def _measured(type_: str) -> list[Measurement]:
    with tempfile.TemporaryDirectory(prefix="saveany-bench-") as name:
        source = Path(name) / "source.bin"
        _fill(source)
        own = Path(name) / "server"
        own.mkdir()
        try:
            with _PLACES[type_](own, source) as place:
                return await _beside(type_, place, Path(name) / "log")
        except (pytest.skip.Exception, pytest.fail.Exception) as missing:
            raise RuntimeError(str(missing)) from None


async def _beside(type_: str, place: Place, log: Path) -> list[Measurement]:
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(_ROUNDS):
        for way, command in (("up", place.put), ("down", place.get)):
            seconds.setdefault(("ours", way), []).append(await _ours(place.options, way, log))
            seconds.setdefault(("theirs", way), []).append(await _others(command, timed=place.timed))
    speed = {what: _SIZE / MB / median(took) for what, took in seconds.items()}
    up, down, memory = names(type_)
    return [
        compared(up, speed["ours", "up"], "MB/s", speed["theirs", "up"]),
        compared(down, speed["ours", "down"], "MB/s", speed["theirs", "down"]),
        Measurement(memory, await one_into(table(place.options)), "MB"),
    ]


async def _ours(options: StorageOptions, way: str, log: Path) -> float:
    """Seconds of ours."""
    await asyncio.to_thread(os.sync)  # else it would wait for what was written before
    words = way, json.dumps(table(options)), str(_SIZE), _OURS
    async with child(log, "bench.store", *words) as process:
        return float(await process.said())


async def _others(command: Sequence[str | Path], *, timed: bool) -> float:
    """Seconds of somebody else's program."""
    await asyncio.to_thread(os.sync)
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {err.decode()[-500:]}")
    return float(json.loads(out)) if timed else time.monotonic() - began


def _fill(file: Path) -> None:
    """Bytes that nobody can compress."""
    with Path("/dev/urandom").open("rb") as chance, file.open("wb") as out:
        for _ in range(_SIZE // MIB):
            out.write(chance.read(MIB))
        os.fsync(out.fileno())  # else whoever is measured first waits for it
