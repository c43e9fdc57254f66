"""Writes 1 GiB to each type of storage and reads it back, compared with the best other client of its
server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import pytest

from bench.memory import one_into
from bench.process import child, run_timed
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
class StorageServer:
    """A running server. The commands upload a file as `theirs.bin`, and download it to /dev/null."""

    options: StorageOptions
    put: Sequence[str | Path]
    get: Sequence[str | Path]
    timed: bool = False  # the commands print the seconds; otherwise the duration of the whole process counts


#: Starts a server, given a folder for it and the file to upload.
StartServer = Callable[[Path, Path], AbstractContextManager[StorageServer]]


@contextmanager
def _local(folder: Path, source: Path) -> Iterator[StorageServer]:
    """`cp` and a sync, because SaveAny syncs files, too. For reading, `rclone cat` copies the bytes to its
    caller, as SaveAny does; `cp` to /dev/null would not."""
    options = LocalOptions(name="local", type="local", base_path=folder / "files")
    theirs = folder / "files" / _THEIRS
    put: list[str | Path] = ["sh", "-c", 'cp "$0" "$1" && sync "$1"', source, theirs]
    yield StorageServer(options, put, ["sh", "-c", '"$0" cat "$1" > /dev/null', program("rclone"), theirs])


@contextmanager
def _s3(folder: Path, source: Path) -> Iterator[StorageServer]:
    with s3.rclone(folder) as server:
        bucket = server.bucket()
        options = server.options(bucket, base_path="")
        boto: list[str | Path] = [sys.executable, "-m", "bench.boto"]
        login = [options.endpoint, s3.KEY, s3.SECRET, bucket]
        yield StorageServer(
            options,
            [*boto, "up", *login, source, _THEIRS],
            [*boto, "down", *login, "/dev/null", _THEIRS],
            timed=True,
        )


@contextmanager
def _webdav(folder: Path, source: Path) -> Iterator[StorageServer]:
    with webdav.apache() as server:
        url = f"{server.url}/{_THEIRS}"
        put, get = webdav.curl(server, "-T", str(source), url), webdav.curl(server, "-o", "/dev/null", url)
        yield StorageServer(server.options(""), put, get)


@contextmanager
def _sftp(folder: Path, source: Path) -> Iterator[StorageServer]:
    with sftp.openssh(folder) as server:
        command: list[str | Path] = [program("sftp"), "-q", "-P", str(server.port), "-i", folder / "user"]
        command += ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known"]
        batches = {}
        for way, line in {
            "put": f"put -f {source} {server.root}/{_THEIRS}",  # -f: flush to disk, as SaveAny does
            "get": f"get {server.root}/{_THEIRS} /dev/null",
        }.items():
            batches[way] = folder / way
            batches[way].write_text(f"{line}\n")
        yield StorageServer(
            server.options("", base_path=str(server.root)),
            [*command, "-b", batches["put"], f"{server.login['username']}@127.0.0.1"],
            [*command, "-b", batches["get"], f"{server.login['username']}@127.0.0.1"],
        )


@contextmanager
def _ftp(folder: Path, source: Path) -> Iterator[StorageServer]:
    with ftp.pyftpdlib(folder) as server:
        curl: list[str | Path] = [program("curl"), "-sf", "-u", f"{ftp.USER}:{ftp.PASSWORD}"]
        url = f"ftp://127.0.0.1:{server.port}/{_THEIRS}"
        yield StorageServer(server.options(""), [*curl, "-T", source, url], [*curl, "-o", "/dev/null", url])


@contextmanager
def _rclone(folder: Path, source: Path) -> Iterator[StorageServer]:
    """The server computes no checksums: else it hashes a file when it has been read for the first time, and
    the request that checks for changes after the last byte waits for that, which `rclone cat` never does."""
    with webdav.rclone("--no-checksum") as server, rclone.remotes(folder, {"box": _login(server)}) as remotes:
        command: list[str | Path] = [program("rclone"), "--config", remotes.config]
        yield StorageServer(
            remotes.options("box:", ""),
            [*command, "copyto", "--ignore-times", source, f"box:{_THEIRS}"],
            ["sh", "-c", '"$@" > /dev/null', "sh", *command, "cat", f"box:{_THEIRS}"],
        )


def _login(server: DavServer) -> dict[str, object]:
    """The options of the server in rclone.conf."""
    secret = rclone.obscured(webdav.PASSWORD)
    return {"type": "webdav", "url": server.url, "user": webdav.USER, "pass": secret}


_SERVERS: dict[str, StartServer] = {
    "local": _local,
    "s3": _s3,
    "webdav": _webdav,
    "sftp": _sftp,
    "ftp": _ftp,
    "rclone": _rclone,
}


def names(type_: str) -> tuple[str, str, str]:
    """The names of the measurements of a storage type."""
    return f"store_{type_}_up", f"store_{type_}_down", f"store_{type_}_mem_mb"


def runs() -> dict[tuple[str, ...], Callable[[], Awaitable[list[Measurement]]]]:
    """The measurements of all storage types."""
    return {names(type_): partial(_measured, type_) for type_ in _SERVERS}


async def _measured(type_: str) -> list[Measurement]:
    with tempfile.TemporaryDirectory(prefix="saveany-bench-") as name:
        source = Path(name) / "source.bin"
        _fill(source)
        own = Path(name) / "server"
        own.mkdir()
        try:
            with _SERVERS[type_](own, source) as server:
                return await _compare(type_, server, Path(name) / "log")
        except (pytest.skip.Exception, pytest.fail.Exception) as missing:
            raise RuntimeError(str(missing)) from None


async def _compare(type_: str, server: StorageServer, log: Path) -> list[Measurement]:
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(_ROUNDS):
        for way, command in (("up", server.put), ("down", server.get)):
            seconds.setdefault(("ours", way), []).append(await _run_saveany(server.options, way, log))
            seconds.setdefault(("theirs", way), []).append(await _run_reference(command, timed=server.timed))
    speed = {what: _SIZE / MB / median(took) for what, took in seconds.items()}
    up, down, memory = names(type_)
    return [
        compared(up, speed["ours", "up"], "MB/s", speed["theirs", "up"]),
        compared(down, speed["ours", "down"], "MB/s", speed["theirs", "down"]),
        Measurement(memory, await one_into(table(server.options)), "MB"),
    ]


async def _run_saveany(options: StorageOptions, way: str, log: Path) -> float:
    """Seconds that SaveAny takes."""
    await asyncio.to_thread(os.sync)  # otherwise it would wait for earlier writes
    arguments = way, json.dumps(table(options)), str(_SIZE), _OURS
    async with child(log, "bench.store", *arguments) as process:
        return float(await process.read_json())


async def _run_reference(command: Sequence[str | Path], *, timed: bool) -> float:
    """Seconds that the reference program takes."""
    await asyncio.to_thread(os.sync)
    seconds, out = await run_timed(command)
    return float(json.loads(out)) if timed else seconds


def _fill(file: Path) -> None:
    """Write bytes that cannot be compressed."""
    with Path("/dev/urandom").open("rb") as random_bytes, file.open("wb") as out:
        for _ in range(_SIZE // MIB):
            out.write(random_bytes.read(MIB))
        os.fsync(out.fileno())  # otherwise the first measurement would wait for it
