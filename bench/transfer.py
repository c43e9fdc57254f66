"""Measures the download of one file: on loopback, with a round trip of 50 ms, and with 6 MB/s per
connection."""

from __future__ import annotations

import json
import os
import tempfile
from statistics import median

from bench import files
from bench.installation import Installation, Saved, installation
from bench.limit import limit
from bench.process import child
from bench.results import MB, MIB, Measurement, compared

_REPETITIONS, _FAR_REPETITIONS = 7, 3
_DELAY = "delay=0.05"
_CAP = 6 * MB  # bytes per second and connection
_CONNECTIONS = 8  # of the downloader's defaults


async def loopback() -> list[Measurement]:
    """CPU time compared with the limit, wall time with `download_media`."""
    number = files.MIB_256
    limits: list[float] = []
    ours: list[Saved] = []
    telethon: list[float] = []
    async with installation() as running:
        sandbox = running.telegram.process
        served = 0.0
        await running.save(files.WARM_UP)
        for _ in range(_REPETITIONS):
            _warm_page_cache(files.size(number))
            limits.append(limit(files.size(number)))
            _warm_page_cache(files.size(number))
            before = sandbox.cpu()
            ours.append(await running.save(number))
            served += sandbox.cpu() - before
            _warm_page_cache(files.size(number))
            telethon.append(await reference(running, number))
    size = files.size(number) / MB
    note = f"the sandbox served {size * _REPETITIONS / served:.0f} MB per CPU-second"
    cpu = size / median(each.cpu for each in ours)
    wall = size / median(each.seconds for each in ours)
    return [
        compared("loopback_cpu", cpu, "MB/CPU-s", median(limits)),
        compared("loopback_wall", wall, "MB/s", size / median(telethon), note),
    ]


async def rtt50() -> list[Measurement]:
    """256 MiB with a round trip of 50 ms."""
    async with installation(_DELAY) as running:
        ours, telethon = await _compare(running, files.MIB_256)
    return [compared("rtt50", ours, "MB/s", telethon)]


async def rtt50_cap6() -> list[Measurement]:
    """64 MiB compared with `download_media`, 256 MiB with the total speed of all connections."""
    async with installation(_DELAY, f"rate={_CAP}") as running:
        ours, telethon = await _compare(running, files.MIB_64)
        large = await _speed(running, files.MIB_256)
    allowed = _CONNECTIONS * _CAP / MB
    return [
        compared("rtt50_cap6", ours, "MB/s", telethon),
        compared("rtt50_cap6_of_cap", large, "MB/s", allowed),
    ]


async def reference(running: Installation, number: int) -> float:
    """Seconds that `download_media` takes for the same file."""
    path = running.folder / "reference.bin"
    facts = json.dumps(running.telegram.facts["telegram"])
    log = running.folder / "reference.log"
    async with child(log, "bench.reference", facts, str(number), str(path)) as telethon:
        report = await telethon.read_json()
    path.unlink()
    if report["sha256"] != files.digest(number):
        raise RuntimeError("download_media downloaded another file than the posted one")
    return float(report["seconds"])


async def _compare(running: Installation, number: int) -> tuple[float, float]:
    """MB/s of SaveAny and of `download_media`. The latter runs once: with a long round trip it spends most of
    a minute waiting, always for the same time."""
    ours = await _speed(running, number)
    return ours, files.size(number) / MB / await reference(running, number)


async def _speed(running: Installation, number: int) -> float:
    """MB/s over warm connections."""
    await running.save(files.WARM_UP)
    runs = [await running.save(number) for _ in range(_FAR_REPETITIONS)]
    return files.size(number) / MB / median(each.seconds for each in runs)


def _warm_page_cache(size: int) -> None:
    """Make the page cache use as much memory as a file of `size` bytes, and release it.

    A virtual machine may return memory to its host after it was free for some seconds, and then writing a
    file is ten times slower. So every measurement starts with memory that was used just before.
    """
    piece = bytes(MIB)
    with tempfile.TemporaryFile() as file:
        for offset in range(0, size, MIB):
            os.pwrite(file.fileno(), piece, offset)
