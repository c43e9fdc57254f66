"""Measures links: files from Telegram beside our own downloader, and a local file beside nginx. The client is
curl."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import httpx

from bench import files
from bench.installation import Installation, free_port, installation
from bench.process import Child, child, program_child
from bench.results import MB, MIB, Measurement, compared

_RTT = 0.05
_DELAY = f"delay={_RTT}"
_REPETITIONS, _LOCAL_REPETITIONS, _SEEKS = 5, 15, 50
_READERS, _READER_SPEED, _READER_SECONDS = 100, 1 * MB, 20.0
_POSTS = 500
#: Exit code of curl at the end of --max-time.
_TIMED_OUT = 28


@dataclass(frozen=True)
class Fetched:
    """What curl reports about one request, in seconds."""

    first_byte: float
    seconds: float


async def telegram_cpu() -> list[Measurement]:
    """MB per CPU-second of one GET, compared with the downloader."""
    number = files.MIB_256
    size = files.size(number) / MB
    async with installation(workers=0) as running:
        url = await _link(running, number)
        await _fetch(await _link(running, files.WARM_UP))
        spent, reference = [], []
        for _ in range(_REPETITIONS):
            before = running.api.cpu()
            await _fetch(url)
            spent.append(running.api.cpu() - before)
            reference.append((await _downloader(running, number))["cpu"])
    return [compared("dl_cpu", size / median(spent), "MB/CPU-s", size / median(reference))]


async def telegram_rtt50() -> list[Measurement]:
    """With a round trip of 50 ms: speed, time to the first byte, and seeks."""
    number = files.MIB_256
    size = files.size(number) / MB
    cold = [await _cold() for _ in range(3)]
    async with installation(_DELAY, workers=0) as running:
        url = await _link(running, number)
        await _fetch(await _link(running, files.WARM_UP))
        await _fetch(url)  # opens all connections
        runs, reference = [], []
        for _ in range(_REPETITIONS):
            runs.append((await _fetch(url)).seconds)
            reference.append((await _downloader(running, number))["seconds"])
        chance = random.Random(1)
        offsets = [chance.randrange(2 * MIB, files.size(number) - 2 * MIB) for _ in range(_SEEKS)]
        seeks = [(await _fetch(url, f"{offset}-{offset + 256 * 1024}")).first_byte for offset in offsets]
    p95 = quantiles(seeks, n=20)[-1]
    return [
        compared("dl_rtt50", size / median(runs), "MB/s", size / median(reference)),
        Measurement("dl_first_byte_rtt", median(cold) / _RTT, "RTT"),
        Measurement("dl_warm_rtt", median(seeks) / _RTT, "RTT"),
        Measurement("dl_seek_p95_ms", p95 * 1000, "ms"),
    ]


async def local_cpu() -> list[Measurement]:
    """A local file, compared with nginx that serves the same file.

    The least CPU time counts, of both: on loopback, one and the same download costs nginx 10 or 50 ms,
    depending on the processor on which the client happens to run."""
    number = files.MIB_256
    size = files.size(number) / MB
    async with installation() as running:
        task_id = await running.post(number)
        await running.ended(task_id, "0")
        saved = running.folder / "files" / (await running.completed(task_id, number)).final
        [file] = (await running.http.get("/api/v1/files")).json()["files"]
        url = await _link(running, file_id=file["file_id"])
        async with _nginx(running.folder, saved.parent) as (server, base):
            ours: list[float] = []
            theirs: list[float] = []
            for _ in range(_LOCAL_REPETITIONS):
                for address, process, spent in (
                    (url, running.api, ours),
                    (base + saved.name, server, theirs),
                ):
                    before = process.family_cpu()
                    await _fetch(address)
                    spent.append(process.family_cpu() - before)
    return [compared("dl_local_cpu", size / min(ours), "MB/CPU-s", size / min(theirs))]


async def many_readers() -> list[Measurement]:
    """100 readers at 1 MB/s: the memory of the API, and how long it takes to accept a task meanwhile."""
    async with installation(workers=0) as running:
        urls = [await _link(running, number) for number in files.EIGHT]
        await _posts(running)
        idle = await _posts(running)
        readers = [asyncio.create_task(_read_slowly(urls[n % len(urls)], n * MIB)) for n in range(_READERS)]
        await asyncio.sleep(_READER_SECONDS / 2)
        busy = await _posts(running)
        speed = sum(await asyncio.gather(*readers)) / _READER_SECONDS / MB
        peak = running.api.peak_mb()
    return [
        Measurement("dl_100_readers_mb", peak, "MB", note=f"{speed:.0f} MB/s in all"),
        compared("api_under_streams", _p95(busy) * 1000, "ms", _p95(idle) * 1000),
    ]


async def _cold() -> float:
    """Seconds to the first byte of a link whose message is known, before any connection for files exists."""
    async with installation(_DELAY, workers=0) as running:
        return (await _fetch(await _link(running, files.MIB_256), "100000000-100100000")).first_byte


async def _link(running: Installation, number: int = 0, *, file_id: str = "") -> str:
    target = {"file_id": file_id} if file_id else {"telegram_url": files.link(number)}
    reply = await running.http.post("/api/v1/links", json={"user_id": running.user, **target})
    reply.raise_for_status()
    return str(reply.json()["url"])


async def _fetch(url: str, range_: str = "") -> Fetched:
    """Fetch a file, or a range of it, and drop it."""
    limited = ("-r", range_) if range_ else ()
    first, total = await _curl("%{time_starttransfer} %{time_total}", url, *limited)
    return Fetched(first, total)


async def _read_slowly(url: str, start: int) -> float:
    """Read a file from `start` on at 1 MB/s for a while; returns the number of bytes."""
    limits = ("--limit-rate", str(_READER_SPEED), "--max-time", str(_READER_SECONDS))
    (read,) = await _curl("%{size_download}", url, *limits, "-r", f"{start}-")
    return read


async def _curl(report: str, url: str, *options: str) -> list[float]:
    """Fetch with curl, and drop what comes; returns the numbers of its report."""
    fixed = ("-sSf", "--noproxy", "*", "-o", "/dev/null", "-w", report)
    process = await asyncio.create_subprocess_exec(
        "curl", *fixed, *options, url, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    if process.returncode not in (0, _TIMED_OUT):
        raise RuntimeError(f"curl: {err.decode()}")
    return [float(each) for each in out.split()]


async def _downloader(running: Installation, number: int) -> dict[str, float]:
    """Seconds and CPU seconds of our own downloader for a file, over open connections."""
    config, log = str(running.folder / "config.toml"), running.folder / "downloader.log"
    async with child(log, "bench.downloader", config, str(number)) as process:
        report: dict[str, float] = await process.read_json()
        return report


async def _posts(running: Installation) -> list[float]:
    """Seconds that each of several requests for a task took."""
    taken = []
    for _ in range(_POSTS):
        began = time.monotonic()
        await running.post(files.WARM_UP)
        taken.append(time.monotonic() - began)
    return taken


@asynccontextmanager
async def _nginx(folder: Path, root: Path) -> AsyncIterator[tuple[Child, str]]:
    """nginx that serves a folder, with its usual settings."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        raise RuntimeError("nginx is not installed")
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off; user root; pid {folder}/nginx.pid; worker_processes 1; error_log {folder}/nginx.log;\n"
        "events {}\nhttp { sendfile on; tcp_nopush on; access_log off; "
        f"server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
    )
    async with program_child(folder / "nginx.log", program, "-c", str(file)) as process:
        await _until_it_listens(port)
        yield process, f"http://127.0.0.1:{port}/"


async def _until_it_listens(port: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(10):
        while True:
            try:
                await client.get(f"http://127.0.0.1:{port}/")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


def _p95(times: list[float]) -> float:
    return quantiles(times, n=20)[-1]
