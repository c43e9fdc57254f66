"""Measures the CPU time of the API per accepted task, compared with a route that only enqueues an arq job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from statistics import median

import httpx

from bench import files
from bench.installation import installation
from bench.process import Child, child
from bench.results import Measurement

_REPETITIONS = 5
_REQUESTS = 400  # per repetition
_CLIENTS = 8


async def api_post() -> list[Measurement]:
    """CPU milliseconds per request."""
    async with (
        installation(workers=0) as running,
        child(running.folder / "minimal_api.log", "bench.minimal_api", running.redis_url) as minimal,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{await minimal.read_json()}", trust_env=False) as plain,
    ):

        async def post() -> None:
            await running.post(files.MIB_64)

        async def enqueue() -> None:
            (await plain.post("/", json={})).raise_for_status()

        await _cost(running.api, post)
        await _cost(minimal, enqueue)
        ours, theirs = [], []
        for _ in range(_REPETITIONS):
            ours.append(await _cost(running.api, post))
            theirs.append(await _cost(minimal, enqueue))
    value, reference = median(ours), median(theirs)
    return [Measurement("api_post", value, "CPU-ms", reference, reference / value)]


async def _cost(server: Child, request: Callable[[], Awaitable[None]]) -> float:
    """CPU milliseconds of the server per request, with several concurrent clients."""

    async def many() -> None:
        for _ in range(_REQUESTS // _CLIENTS):
            await request()

    before = server.cpu()
    await asyncio.gather(*(many() for _ in range(_CLIENTS)))
    return (server.cpu() - before) * 1000 / _REQUESTS
