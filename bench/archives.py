"""Measures how fast a history is read for an archive, what a long one needs, and how soon new posts are
found."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from telethon import TelegramClient
from telethon.crypto import rsa
from telethon.sessions import StringSession

from bench import files
from bench.filled import p95
from bench.installation import Installation, installation
from bench.process import run_timed
from bench.results import MB, Measurement, compared
from bench.telegram import COPY_ID

#: A filter that accepts no file.
_NOTHING = {"max_size": 1}
_POLL_SECONDS, _SHORT_POLL_SECONDS = 0.5, 0.02
_READ_SECONDS = 1200.0
#: New posts, and the seconds between them.
_POSTS, _PAUSE_SECONDS = 40, 0.3


async def archive_read() -> list[Measurement]:
    """Messages per second of a history of which no file is wanted."""
    async with installation(workers=0) as running:
        await _complete(running, await _archive(running, files.FEW, _NOTHING))  # accounts log in
        count = files.LONG_CHATS[files.LONG]
        began = time.monotonic()
        archive = await _archive(running, files.LONG, _NOTHING)
        while not (record := await running.store.archives.get(archive)) or not record.is_read:
            _check_time(began)
            await asyncio.sleep(_SHORT_POLL_SECONDS)
        seconds = time.monotonic() - began
        facts = json.dumps(running.telegram.facts["telegram"])
        _, out = await run_timed([sys.executable, "-m", "bench.bare_history", facts, files.LONG])
    bare = json.loads(out)
    if bare["messages"] != count:
        raise RuntimeError(f"the bare client has read {bare['messages']} of {count} messages")
    return [compared("archive_read", count / seconds, "1/s", count / bare["seconds"])]


async def archive_redis() -> list[Measurement]:
    """What Redis and the processes need at most while a very long history is archived."""
    async with installation() as running:
        await _complete(running, await _archive(running, files.FEW, {}))
        processes = {"API": running.api, "worker": running.workers[0]}
        idle = {name: each.peak_mb() for name, each in processes.items()}
        redis_idle = await _redis_mb(running)
        redis_peak = redis_idle
        began = time.monotonic()
        archive = await _archive(running, files.LONGEST, {"name": rf"\.{files.WANTED}$"})
        while (found := await _show(running, archive))["state"] != "complete":
            _check_time(began)
            redis_peak = max(redis_peak, await _redis_mb(running))
            await asyncio.sleep(_POLL_SECONDS)
        peak = {name: each.peak_mb() - idle[name] for name, each in processes.items()}
    counts, count = found["counts"], files.LONG_CHATS[files.LONGEST]
    if (counts["saved"], found["unaccounted"]) != (count // files.WANTED_EVERY, 0):
        raise RuntimeError(f"the receipt of {count} messages is {counts}")
    note = ", ".join(f"{name} +{value:.0f} MB" for name, value in peak.items())
    note += f"; {count:,} messages, {counts['saved']:,} files in {time.monotonic() - began:.0f} s"
    return [Measurement("archive_redis_1m", redis_peak - redis_idle, "MB", note=note)]


async def archive_again() -> list[Measurement]:
    """Requests for pages of the history when nothing is new."""
    async with installation(workers=0) as running:
        archive = await _archive(running, files.LONG, _NOTHING, follow=True)
        await _reaches(running, archive, "following")
        before = await running.telegram.served()
        await running.http.post(f"/api/v1/archives/{archive}/pause")
        await running.http.post(f"/api/v1/archives/{archive}/resume")
        began = time.monotonic()
        while (served := await running.telegram.served()).requests == before.requests:
            _check_time(began)
            await asyncio.sleep(_POLL_SECONDS)
        await _reaches(running, archive, "following")
    return [Measurement("archive_again_requests", served.pages - before.pages, "")]


async def archive_follow() -> list[Measurement]:
    """Milliseconds from a post in a followed chat until its task is queued."""
    async with installation(workers=0) as running:
        archive = await _archive(running, files.FEW, {}, follow=True, start="now")
        await _reaches(running, archive, "following")
        since = await running.store.events.last_id()
        sent = await _post(running.telegram.facts["telegram"])
        async with asyncio.timeout(60):
            queued = []
            async for event in running.store.events.follow(since):
                queued += [event.at] if event.type == "task.queued" else []
                if len(queued) == len(sent):
                    break
    spent = [at - begun for begun, at in zip(sent, queued, strict=True)]
    return [Measurement("archive_follow_p95_ms", p95(spent), "ms", note=f"{len(sent)} posts")]


async def copy_by_reference() -> list[Measurement]:
    """Bytes of files that are moved while an archive is copied into another chat by reference."""
    chat = {"type": "telegram", "account": "user", "chat_id": f"-100{COPY_ID}", "rate_limit": 0}
    async with installation(storage=chat) as running:
        before, began = await running.telegram.served(), time.monotonic()
        archive = await _archive(running, files.POSTED, {}, copy="reference")
        await _complete(running, archive)
        seconds, found = time.monotonic() - began, await _show(running, archive)
        served = await running.telegram.served()
    if (found["counts"]["saved"], found["unaccounted"]) != (files.POSTS, 0):
        raise RuntimeError(f"the receipt of {files.POSTS} posts is {found['counts']}")
    moved = served.bytes - before.bytes + served.uploaded - before.uploaded
    note = f"{files.POSTS:,} posts in {seconds:.0f} s"
    return [Measurement("copy_by_reference_bytes", moved, "B", note=note)]


async def _post(facts: Mapping[str, Any]) -> list[float]:
    """Post files one after the other; returns the times, in ms since 1970."""
    key = await asyncio.to_thread(Path(facts["public_key_file"]).read_text)
    rsa.add_key(key, old=False)
    client = TelegramClient(StringSession(facts["user_session"]), 1, "hash", receive_updates=False)
    await client.connect()
    sent = []
    for number in range(_POSTS):
        uploaded = await client.upload_file(b"%d" % number, file_name=f"{number}.bin")
        sent.append(time.time() * 1000)
        await client.send_file(files.FEW, uploaded)
        await asyncio.sleep(_PAUSE_SECONDS)
    await client.disconnect()
    return sent


async def _archive(
    running: Installation,
    chat: str,
    accepts: Mapping[str, Any],
    *,
    follow: bool = False,
    start: str = "first",
    **fields: str,
) -> str:
    body = {"chat": chat, "user_id": running.user, "filter": accepts, "follow": follow, "start": start}
    body |= fields
    reply = await running.http.post("/api/v1/archives", json=body)
    reply.raise_for_status()
    return str(reply.json()["id"])


async def _show(running: Installation, archive: str) -> dict[str, Any]:
    reply = await running.http.get(f"/api/v1/archives/{archive}")
    reply.raise_for_status()
    found: dict[str, Any] = reply.json()
    return found


async def _complete(running: Installation, archive: str) -> None:
    await _reaches(running, archive, "complete")


async def _reaches(running: Installation, archive: str, state: str) -> None:
    began = time.monotonic()
    while (await _show(running, archive))["state"] != state:
        _check_time(began)
        await asyncio.sleep(_POLL_SECONDS)


def _check_time(began: float) -> None:
    if time.monotonic() - began > _READ_SECONDS:
        raise TimeoutError(f"the archive was not complete after {_READ_SECONDS:.0f} s")


async def _redis_mb(running: Installation) -> float:
    return int((await running.store.db.info("memory"))["used_memory"]) / MB
