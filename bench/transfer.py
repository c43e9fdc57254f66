"""One file, as fast as it goes: on loopback, 50 ms away, and 50 ms away with 6 MB/s per connection."""

from __future__ import annotations

import json
import os
import tempfile
from statistics import median

from bench import files
from bench.limit import limit
from bench.process import child
from bench.results import MB, MIB, Measurement, compared
from bench.site import Saved, Site, site

_REPETITIONS, _FAR_REPETITIONS = 7, 3
_DELAY = "delay=0.05"
_CAP = 6 * MB  # bytes per second and connection
_CONNECTIONS = 8  # of the downloader's defaults


async def loopback() -> list[Measurement]:
    """CPU beside the limit, wall time beside `download_media`."""
    number = files.MIB_256
    limits: list[float] = []
    ours: list[Saved] = []
    telethon: list[float] = []
    async with site() as running:
        sandbox = running.telegram.process
        served = 0.0
        await running.save(files.WARM_UP)
        for _ in range(_REPETITIONS):
            _stir_memory(files.size(number))
            limits.append(limit(files.size(number)))
            _stir_memory(files.size(number))
            before = sandbox.cpu()
            ours.append(await running.save(number))
            served += sandbox.cpu() - before
            _stir_memory(files.size(number))
            telethon.append(await reference(running, number))
    size = files.size(number) / MB
    note = f"the sandbox served {size * _REPETITIONS / served:.0f} MB per CPU-second of its own"
    cpu = size / median(each.cpu for each in ours)
    wall = size / median(each.seconds for each in ours)
    return [
        compared("loopback_cpu", cpu, "MB/CPU-s", median(limits)),
        compared("loopback_wall", wall, "MB/s", size / median(telethon), note),
    ]


async def rtt50() -> list[Measurement]:
    """256 MiB, 50 ms away."""
    async with site(_DELAY) as running:
        ours, telethon = await _beside(running, files.MIB_256)
    return [compared("rtt50", ours, "MB/s", telethon)]


async def rtt50_cap6() -> list[Measurement]:
    """64 MiB beside `download_media`, 256 MiB beside what the connections allow, all together."""
    async with site(_DELAY, f"rate={_CAP}") as running:
        ours, telethon = await _beside(running, files.MIB_64)
        large = await _speed(running, files.MIB_256)
    allowed = _CONNECTIONS * _CAP / MB
    return [
        compared("rtt50_cap6", ours, "MB/s", telethon),
        compared("rtt50_cap6_of_cap", large, "MB/s", allowed),
    ]


async def reference(running: Site, number: int) -> float:
    """Seconds that `download_media` takes for the same file."""
    path = running.folder / "reference.bin"
    facts = json.dumps(running.telegram.facts["telegram"])
    log = running.folder / "reference.log"
    async with child(log, "bench.reference", facts, str(number), str(path)) as telethon:
        said = await telethon.said()
    path.unlink()
    if said["sha256"] != files.digest(number):
        raise RuntimeError("download_media brought another file than was posted")
    return float(said["seconds"])


async def _beside(running: Site, number: int) -> tuple[float, float]:
    """MB/s of ours and of `download_media`, which is asked once: far away it only ever waits, for most of a
    minute, and always the same."""
    ours = await _speed(running, number)
    return ours, files.size(number) / MB / await reference(running, number)


async def _speed(running: Site, number: int) -> float:
    """MB/s over warm connections."""
    await running.save(files.WARM_UP)
    runs = [await running.save(number) for _ in range(_FAR_REPETITIONS)]
    return files.size(number) / MB / median(each.seconds for each in runs)


def _stir_memory(size: int) -> None:
    """Have the page cache use as much memory as a file of that size takes, and let go of it.

    A virtual machine may give memory that was free for some seconds back to its host, and then writing a file
    is ten times slower. So whatever is compared begins with memory that was just in use.
    """
    piece = bytes(MIB)
    with tempfile.TemporaryFile() as file:
        for offset in range(0, size, MIB):
            os.pwrite(file.fileno(), piece, offset)
