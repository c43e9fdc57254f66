"""Many files of one task are uploaded to a chat at the same time, and sent in order, each once."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from telethon.tl import functions as fn

from saveany.errors import Permanent, Retryable
from saveany.models import ItemStatus, Status, TaskSpec
from saveany.planning.plan import ResolvedFile
from saveany.sandbox import Sandbox
from saveany.sandbox.faults import Fault
from saveany.sandbox.world import Chat
from saveany.store import Claim, Store
from saveany.telegram.accounts import Accounts
from saveany.telegram.uploads import Uploader
from tests.fixtures.waiting import until
from tests.integration.telegram.chat_harness import ChatHarness, Gate
from tests.integration.worker.conftest import FilesSource, within
from workers import retries
from workers.item_records import ItemRecords
from workers.recovery import remove_leftovers

#: Files that a chat takes at the same time.
AT_ONCE = 16
NAMES = [f"{number:02}.bin" for number in range(40)]


class PostedFiles(FilesSource):
    """Files of which `album` posts so many together; 0: each alone."""

    album = 0

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        found = await super().resolve(spec)
        if not self.album:
            return found
        return [
            ResolvedFile(each.name, each.size, each.source, album=f"-100/{index // self.album}", caption="")
            for index, each in enumerate(found)
        ]


class Held:
    """Stops every caller until it is opened, and counts them."""

    def __init__(self) -> None:
        self.waiting = 0
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def wait(self) -> None:
        self.waiting += 1
        await self._opened.wait()


@pytest.fixture
async def harness(store: Store, tmp_path: Path, accounts: Accounts, inbox: Chat) -> ChatHarness:
    files = {name: random.Random(name).randbytes(70_001) for name in NAMES}
    harness = ChatHarness(store, tmp_path / "files", accounts, inbox, PostedFiles(files, concurrent=True))
    await harness.worker()
    return harness


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Held:
    """Holds all parts on their way to Telegram."""
    held, real = Held(), Uploader.upload

    async def upload(this: Uploader, *args: Any) -> None:
        await held.wait()
        await real(this, *args)

    monkeypatch.setattr(Uploader, "upload", upload)
    return held


def albums(harness: ChatHarness, size: int) -> list[list[str]]:
    """Have the source post the files in albums of this size (0: each alone). Returns their names as they
    must be sent."""
    harness.source.album = size  # type: ignore[attr-defined]
    return [NAMES[start : start + (size or 1)] for start in range(0, len(NAMES), size or 1)]


def sent_as_albums(harness: ChatHarness) -> list[list[str]]:
    """The names in each album, or each message that is in none, in the order of the chat."""
    found: dict[object, list[str]] = {}
    for message, name in zip(harness.sent, harness.sent_names, strict=True):
        found.setdefault(message.album or message.id, []).append(name)
    return list(found.values())


async def test_files_are_uploaded_at_the_same_time_and_sent_in_order(
    harness: ChatHarness, parts: Held
) -> None:
    task_id = await harness.post()
    running = asyncio.create_task(harness.run())
    await until(lambda: parts.waiting == AT_ONCE)
    assert len(harness.source.fetched) == AT_ONCE
    parts.open()
    await within(running)
    assert harness.sent_names == NAMES
    assert (await harness.task(task_id)).status is Status.COMPLETED
    items = await harness.store.tasks.all_items(task_id)
    assert [item.url for item in items] == [f"https://t.me/inbox/{message.id}" for message in harness.sent]


async def test_later_files_wait_for_a_slow_one(harness: ChatHarness, sandbox: Sandbox) -> None:
    """Their bytes are with Telegram by then; no further ones are received."""
    held = Held()

    async def step(name: str, offset: int) -> None:
        if name == NAMES[2]:
            await held.wait()

    harness.source.step = step
    await harness.post()
    running = asyncio.create_task(harness.run())
    await until(lambda: len(sandbox.world.uploads) == AT_ONCE - 1 and len(harness.sent) == 2)
    assert len(harness.source.fetched) == AT_ONCE + 2
    held.open()
    await within(running)
    assert harness.sent_names == NAMES


@pytest.mark.parametrize("album", [0, 4])
async def test_a_file_that_fails_delays_no_other(
    harness: ChatHarness, album: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is gone, and one works only after the others have been sent."""
    monkeypatch.setattr(retries, "asyncio", Pauses(until_open := Held()))
    failed = Counter[str]()

    async def step(name: str, offset: int) -> None:
        if name == NAMES[5]:
            raise Permanent("it is gone")
        if name == NAMES[9] and not failed[name]:
            failed[name] += 1
            raise Retryable("not now")

    albums(harness, album)
    harness.source.step = step
    task_id = await harness.post()
    running = asyncio.create_task(harness.run())
    late = NAMES[8:12] if album else [NAMES[9]]
    rest = [name for name in NAMES if name != NAMES[5] and name not in late]
    await until(lambda: len(harness.sent) == len(rest), within=20)
    assert sorted(harness.sent_names) == rest
    # The album of the one that is gone may be sent after others that were complete before it failed.
    free = NAMES[4:8] if album else []
    assert [name for name in harness.sent_names if name not in free] == [n for n in rest if n not in free]
    until_open.open()
    await within(running)
    assert harness.sent_names[len(rest) :] == late
    assert "1 of 40 files failed" in (await harness.task(task_id)).error


class Pauses:
    """Pauses between attempts that last until the test ends them."""

    def __init__(self, held: Held) -> None:
        self._held = held

    async def sleep(self, seconds: float) -> None:
        await self._held.wait()


async def test_albums_are_uploaded_at_the_same_time_and_sent_whole_and_in_order(
    harness: ChatHarness, parts: Held
) -> None:
    expected = albums(harness, 10)
    task_id = await harness.post()
    running = asyncio.create_task(harness.run())
    await until(lambda: parts.waiting == AT_ONCE)
    assert len(harness.source.fetched) == AT_ONCE
    parts.open()
    await within(running)
    assert sent_as_albums(harness) == expected
    assert (await harness.task(task_id)).status is Status.COMPLETED
    items = await harness.store.tasks.all_items(task_id)
    assert [item.url for item in items] == [f"https://t.me/inbox/{message.id}" for message in harness.sent]


async def test_more_albums_than_files_at_once_do_not_wait_for_each_other(harness: ChatHarness) -> None:
    expected = albums(harness, 2)
    assert len(expected) > AT_ONCE
    await harness.post()
    await harness.run()
    assert sent_as_albums(harness) == expected


async def test_albums_of_a_source_that_gives_one_file_at_a_time(harness: ChatHarness) -> None:
    expected = albums(harness, 10)
    harness.source.concurrent = False
    await harness.post()
    await harness.run()
    assert sent_as_albums(harness) == expected


def _finishing(args: Any) -> bool:
    return bool(args[0].status is ItemStatus.FINISHING and args[0].index == 20)


def _sends(args: Any) -> bool:
    return isinstance(args[1], fn.messages.SendMediaRequest | fn.messages.SendMultiMediaRequest)


#: Where a worker stops after 20 files were sent.
BOUNDARIES: dict[str, tuple[type, str, Callable[[Any], bool], str]] = {
    "uploaded": (ItemRecords, "put", _finishing, "before"),
    "before-sent": (Uploader, "_send_message", _sends, "before"),
    "after-sent": (Uploader, "_send_message", _sends, "after"),
    "before-end-recorded": (
        Claim,
        "finish",
        lambda args: args[0] in (Status.COMPLETED, Status.FAILED),
        "before",
    ),
}


@pytest.mark.parametrize("album", [0, 10])
@pytest.mark.parametrize("at", BOUNDARIES)
async def test_a_dead_or_frozen_worker_sends_nothing_twice(
    harness: ChatHarness, at: str, album: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next worker sends what is missing, and one that wakes up changes nothing."""
    gate, (owner, name, when, side) = Gate(), BOUNDARIES[at]
    least = 21 if at == "after-sent" else 20
    gate.on(monkeypatch, owner, name, lambda args: when(args) and len(harness.sent) >= least, side)
    expected = albums(harness, album)
    task_id = await harness.post()
    frozen = asyncio.create_task((await harness.job()).run())
    await within(gate.reached.wait())
    before = {"uploaded": 20, "before-sent": 20, "after-sent": 20 + max(album, 1)}
    assert len(harness.sent) == before.get(at, len(NAMES))
    await harness.expire_lease(task_id)
    await harness.worker()
    await harness.run()
    assert sent_as_albums(harness) == expected
    gate.opened.set()
    await within(frozen)
    assert sent_as_albums(harness) == expected
    assert (await harness.task(task_id)).status is Status.COMPLETED


@pytest.mark.parametrize("album", [0, 10])
async def test_a_short_flood_wait_keeps_the_order(harness: ChatHarness, sandbox: Sandbox, album: int) -> None:
    for method in ("messages.sendMedia", "messages.sendMultiMedia", "upload.saveFilePart"):
        sandbox.faults.add(f"flood_wait=1,method={method},every=3,count=1")
    expected = albums(harness, album)
    await harness.post()
    await harness.run()
    assert sent_as_albums(harness) == expected


@pytest.mark.parametrize("album", [0, 10])
async def test_a_long_flood_wait_gives_the_slot_away(
    harness: ChatHarness, sandbox: Sandbox, album: int
) -> None:
    faults = [
        sandbox.faults.add(f"flood_wait=300,method=messages.{method},every={every}")
        for method, every in (("sendMedia", 20), ("sendMultiMedia", 2))
    ]
    expected = albums(harness, album)
    task_id = await harness.post()
    await harness.run()
    assert (await harness.task(task_id)).status is Status.QUEUED
    assert len(harness.sent) == (10 if album else 19)
    for fault in faults:
        sandbox.faults.remove(fault)
    await harness.store.db.do("HSET", f"sa:task:{task_id}", "wake", 0)
    await harness.store.db.do("ZADD", "sa:delayed", "XX", 1, task_id)
    assert (await harness.store.claims.reconcile(check_leases=True)).woken == 1
    await harness.run()
    assert sent_as_albums(harness) == expected
    assert (await harness.task(task_id)).status is Status.COMPLETED


@pytest.mark.parametrize("album", [0, 10])
async def test_a_cancel_and_a_pause_take_effect_within_a_second(
    harness: ChatHarness, parts: Held, album: int
) -> None:
    expected = albums(harness, album)
    task_id = await harness.post()
    for stop in ("pause", "cancel"):
        parts.waiting = 0
        job = await harness.job()
        running = asyncio.create_task(job.run())
        await until(lambda: parts.waiting == AT_ONCE)
        tasks = harness.store.tasks
        await (tasks.pause(task_id) if stop == "pause" else tasks.cancel(task_id, []))
        started = time.monotonic()
        job.check_requests()
        await within(running)
        assert time.monotonic() - started < 10  # a flood wait takes longer
        assert harness.sent == []
        if stop == "pause":
            assert (await harness.task(task_id)).stage == "paused"
            await harness.store.tasks.resume(task_id)
    task = await harness.task(task_id)
    assert task.status is Status.CANCELED
    parts.open()
    assert await harness.store.tasks.retry(task)
    await harness.run()
    assert sent_as_albums(harness) == expected


def _more_fired(faults: list[Fault], before: int) -> bool:
    return sum(fault.fired for fault in faults) > before


@pytest.mark.parametrize("album", [0, 10])
@pytest.mark.parametrize("seconds", [5, 20])
@pytest.mark.parametrize("removed", [False, True])
async def test_a_cancel_and_a_pause_do_not_wait_for_a_flood_wait(
    harness: ChatHarness, sandbox: Sandbox, album: int, seconds: int, removed: bool
) -> None:
    """A retry sends everything, before and after the leftovers of the canceled task were removed."""
    methods = ("sendMedia", "sendMultiMedia")
    faults = [sandbox.faults.add(f"flood_wait={seconds},method=messages.{each}") for each in methods]
    expected = albums(harness, album)
    task_id = await harness.post()
    job = await harness.job()
    for status in (Status.QUEUED, Status.CANCELED):
        running = asyncio.create_task(job.run())
        fired = sum(fault.fired for fault in faults)
        await until(partial(_more_fired, faults, fired), within=20)
        if status is Status.QUEUED:
            await harness.store.tasks.pause(task_id)
        else:
            assert await harness.store.tasks.cancel(task_id, []) == "requested"
        started = time.monotonic()
        job.check_requests()
        await within(running)
        assert time.monotonic() - started < 10  # a flood wait takes longer
        assert (await harness.task(task_id)).status is status
        if status is Status.QUEUED:
            await harness.store.tasks.resume(task_id)
            job = await harness.job()
    for fault in faults:
        sandbox.faults.remove(fault)
    if removed:  # as the janitor does
        await remove_leftovers(harness.store, harness.others["chat"].storage, task_id, epoch=2)
        assert harness.sent == []
    assert await harness.store.tasks.retry(await harness.task(task_id))
    await harness.run()
    assert sent_as_albums(harness) == expected


async def test_files_are_grouped_as_albums_if_the_storage_does_so(harness: ChatHarness) -> None:
    """The last album is smaller. Each file has the caption of a single one."""
    await harness.worker(group_files=True)
    names = NAMES[:34]
    harness.source.files = {name: harness.source.files[name] for name in names}
    task_id = await harness.post()
    await harness.run()
    assert sent_as_albums(harness) == [names[start : start + 10] for start in range(0, 34, 10)]
    assert [message.text for message in harness.sent] == [f"{name}\nin" for name in names]
    assert all(message.album for message in harness.sent)
    items = await harness.store.tasks.all_items(task_id)
    assert [item.url for item in items] == [f"https://t.me/inbox/{message.id}" for message in harness.sent]


async def test_a_single_file_is_grouped_with_none(harness: ChatHarness) -> None:
    await harness.worker(group_files=True)
    harness.source.files = {NAMES[0]: harness.source.files[NAMES[0]]}
    task_id = await harness.post()
    await harness.run()
    (message,) = harness.sent
    assert (message.text, message.album) == (f"{NAMES[0]}\nin", None)
    assert (await harness.task(task_id)).status is Status.COMPLETED


async def test_posted_albums_stay_apart_from_grouped_files(harness: ChatHarness) -> None:
    await harness.worker(group_files=True)
    expected = albums(harness, 4)
    await harness.post()
    await harness.run()
    assert sent_as_albums(harness) == expected


@pytest.mark.parametrize("at", BOUNDARIES)
async def test_grouped_files_are_sent_once_if_a_worker_dies(
    harness: ChatHarness, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file is gone, and sent alone when it is there again."""
    await harness.worker(group_files=True)
    gate, (owner, name, when, side) = Gate(), BOUNDARIES[at]
    gate.on(monkeypatch, owner, name, lambda args: when(args) and len(harness.sent) >= 19, side)

    async def step(name: str, offset: int) -> None:
        if name == NAMES[5]:
            raise Permanent("it is gone")

    harness.source.step = step
    task_id = await harness.post()
    frozen = asyncio.create_task((await harness.job()).run())
    await within(gate.reached.wait())
    await harness.expire_lease(task_id)
    await harness.worker(group_files=True)
    await harness.run()
    gate.opened.set()
    await within(frozen)
    first = [name for name in NAMES[:10] if name != NAMES[5]]
    expected = [first, NAMES[10:20], NAMES[20:30], NAMES[30:]]
    assert sent_as_albums(harness) == expected
    task = await harness.task(task_id)
    assert (task.status, "1 of 40 files failed" in task.error) == (Status.FAILED, True)
    harness.source.step = None
    assert await harness.store.tasks.retry(task)
    await harness.run()
    assert sent_as_albums(harness) == [*expected, [NAMES[5]]]
    assert (await harness.task(task_id)).status is Status.COMPLETED
