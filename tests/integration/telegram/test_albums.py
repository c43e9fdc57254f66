"""Files posted together are sent to a chat together and once, also when workers die or tasks are canceled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.errors import Permanent
from saveany.models import ItemStatus, Status, TaskSpec
from saveany.planning.plan import ResolvedFile
from saveany.sandbox import Sandbox
from saveany.sandbox.world import Chat
from saveany.store import Claim, Store
from saveany.telegram.accounts import Accounts
from saveany.telegram.uploads import Uploader
from storages.base import AlbumFile, UploadKey
from tests.fixtures.videos import make_video
from tests.integration.telegram.chat_harness import ChatHarness, Gate
from tests.integration.worker.conftest import PART, FilesSource, within
from workers.item_records import ItemRecords

FILES = {name: random.Random(name).randbytes(700_001) for name in ("a.bin", "b.bin", "c.bin")}
CAPTIONS = {"a.bin": "first", "b.bin": "", "c.bin": "last"}
#: What is in the chat in the end: texts, names and whether it is one album.
ALL = ([("first", "a.bin"), ("", "b.bin"), ("last", "c.bin")], 1)


@dataclass
class PostedAlbums(FilesSource):
    """Files that were posted together, with captions."""

    captions: dict[str, str] = field(default_factory=lambda: CAPTIONS)

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        return [
            ResolvedFile(name, len(data), {"name": name}, album="-100/1", caption=self.captions.get(name, ""))
            for name, data in self.files.items()
        ]


@pytest.fixture
async def harness(store: Store, tmp_path: Path, accounts: Accounts, inbox: Chat) -> ChatHarness:
    harness = ChatHarness(store, tmp_path / "files", accounts, inbox, PostedAlbums(dict(FILES)))
    await harness.worker()
    return harness


async def test_an_album_is_sent_as_one_album(harness: ChatHarness) -> None:
    task_id = await harness.post()
    await harness.run()
    assert harness.sent_albums == ALL
    assert (await harness.task(task_id)).status is Status.COMPLETED
    items = await harness.store.tasks.all_items(task_id)
    assert [item.url for item in items] == [f"https://t.me/inbox/{message.id}" for message in harness.sent]
    assert all(item.sha256 for item in items)


async def test_nothing_is_visible_before_all_files_are_uploaded(harness: ChatHarness) -> None:
    task_id = await harness.post()
    gate = Gate()

    async def step(name: str, offset: int) -> None:
        if (name, offset) == ("c.bin", PART):
            await gate.hold()

    harness.source.step = step
    running = asyncio.create_task((await harness.job()).run())
    await within(gate.reached.wait())
    assert harness.sent == []
    assert await harness.statuses(task_id) == [ItemStatus.RUNNING] * 3
    gate.opened.set()
    await within(running)
    assert harness.sent_albums == ALL


def _finishing(args: Any) -> bool:
    return bool(args[0].status is ItemStatus.FINISHING)


def _many(args: Any) -> bool:
    return isinstance(args[1], fn.messages.SendMultiMediaRequest)


def _one_made(args: Any) -> bool:
    return isinstance(args[1], fn.messages.UploadMediaRequest)


def _completed(args: Any) -> bool:
    return bool(args[0] is Status.COMPLETED)


BOUNDARIES: dict[str, tuple[type, str, Callable[[Any], bool], str]] = {
    "before-finishing-recorded": (ItemRecords, "put", _finishing, "before"),
    "after-finishing-recorded": (ItemRecords, "put", _finishing, "after"),
    "one-made-of-its-parts": (Uploader, "_send_message", _one_made, "after"),
    "before-sent": (Uploader, "_send_message", _many, "before"),
    "after-sent": (Uploader, "_send_message", _many, "after"),
    "before-finish-recorded": (Claim, "finish", _completed, "before"),
}


@pytest.fixture(params=BOUNDARIES)
def gate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    gate.on(monkeypatch, *BOUNDARIES[request.param])
    return gate


async def test_a_dead_or_frozen_worker_sends_nothing_twice(harness: ChatHarness, gate: Gate) -> None:
    """At every step: the next worker sends what is missing, and a worker that wakes up changes nothing."""
    task_id = await harness.post()
    frozen = asyncio.create_task((await harness.job()).run())
    await within(gate.reached.wait())
    await harness.expire_lease(task_id)
    await harness.worker()
    await harness.run()
    assert harness.sent_albums == ALL
    assert (await harness.task(task_id)).status is Status.COMPLETED
    gate.opened.set()
    await within(frozen)
    assert harness.sent_albums == ALL
    assert (await harness.task(task_id)).epoch == 2


async def test_sent_files_are_not_downloaded_again(
    harness: ChatHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    gate.on(monkeypatch, *BOUNDARIES["after-sent"])
    task_id = await harness.post()
    dead = asyncio.create_task((await harness.job()).run())
    await within(gate.reached.wait())
    await harness.expire_lease(task_id)
    await harness.worker()
    harness.source.fetched.clear()
    await harness.run()
    assert (harness.source.fetched, harness.sent_albums) == ([], ALL)
    dead.cancel()
    with suppress(asyncio.CancelledError):
        await dead


async def test_a_cancel_at_any_step_removes_everything(harness: ChatHarness, gate: Gate) -> None:
    """A retry then sends all files."""
    task_id = await harness.post()
    job = await harness.job()
    running = asyncio.create_task(job.run())
    await within(gate.reached.wait())
    assert await harness.store.tasks.cancel(task_id, []) == "requested"
    job.check_requests()
    gate.opened.set()
    await within(running)
    task = await harness.task(task_id)
    assert task.status is Status.CANCELED
    assert harness.sent == []
    assert await harness.store.tasks.retry(task)
    await harness.run()
    assert harness.sent_albums == ALL
    assert (await harness.task(task_id)).status is Status.COMPLETED


@pytest.mark.parametrize("broken", FILES)
async def test_an_album_is_sent_without_a_missing_file(harness: ChatHarness, broken: str) -> None:
    """A retry sends that file alone, with its caption."""

    async def step(name: str, offset: int) -> None:
        if name == broken:
            raise Permanent("it is gone")

    harness.source.step = step
    task_id = await harness.post()
    await harness.run()
    others = [shown for shown in ALL[0] if shown[1] != broken]
    assert harness.sent_albums == (others, 1)
    task = await harness.task(task_id)
    assert (task.status, "1 of 3 files failed" in task.error) == (Status.FAILED, True)
    harness.source.step = None
    assert await harness.store.tasks.retry(task)
    await harness.run()
    assert harness.sent_albums == ([*others, (CAPTIONS[broken], broken)], 1)
    assert (await harness.task(task_id)).status is Status.COMPLETED


async def test_a_file_missing_after_a_crash_is_sent_later(
    harness: ChatHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three files were sent when the worker died; now all three are available."""
    gate = Gate()
    gate.on(monkeypatch, *BOUNDARIES["after-sent"])

    async def step(name: str, offset: int) -> None:
        if name == "b.bin":
            raise Permanent("it is gone")

    harness.source.step = step
    task_id = await harness.post()
    frozen = asyncio.create_task((await harness.job()).run())
    await within(gate.reached.wait())
    await harness.expire_lease(task_id)
    await harness.worker()
    harness.source.step = None
    await harness.run()
    gate.opened.set()
    await within(frozen)
    assert harness.sent_albums == ([("first", "a.bin"), ("last", "c.bin"), ("", "b.bin")], 1)
    assert (await harness.task(task_id)).status is Status.COMPLETED


async def test_parts_lost_by_telegram_are_uploaded_again(
    harness: ChatHarness, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    gate.on(monkeypatch, *BOUNDARIES["after-finishing-recorded"])
    await harness.post()
    running = asyncio.create_task((await harness.job()).run())
    await within(gate.reached.wait())
    sandbox.world.uploads.clear()
    gate.opened.set()
    await within(running)
    assert harness.sent_albums == ALL


async def test_a_long_flood_wait_gives_the_slot_away(harness: ChatHarness, sandbox: Sandbox) -> None:
    """Other tasks use the slot meanwhile; nothing is downloaded again afterwards."""
    fault = sandbox.faults.add("flood_wait=300,method=messages.sendMultiMedia")
    task_id = await harness.post()
    await harness.run()
    assert (await harness.task(task_id)).status is Status.QUEUED
    assert await harness.statuses(task_id) == [ItemStatus.FINISHING] * 3
    sandbox.faults.remove(fault)
    harness.source.fetched.clear()
    await harness.store.db.do("HSET", f"sa:task:{task_id}", "wake", 0)
    await harness.store.db.do("ZADD", "sa:delayed", "XX", 1, task_id)
    assert (await harness.store.claims.reconcile(check_leases=True)).woken == 1
    await harness.run()
    assert (harness.source.fetched, harness.sent_albums) == ([], ALL)


@pytest.mark.parametrize(
    "fault",
    [
        "lose,method=messages.sendMultiMedia,count=1",
        "drop,method=messages.sendMultiMedia,count=1",
        "lose,method=messages.uploadMedia,count=1",
        "flood_wait=1,method=messages.uploadMedia,count=1",
        "error=500:INTERNAL,method=messages.sendMultiMedia,count=1",
    ],
)
async def test_passing_faults_are_overcome(
    harness: ChatHarness, sandbox: Sandbox, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.telegram.client.CALL_SECONDS", 1.0)
    made = sandbox.faults.add(fault)
    task_id = await harness.post()
    await within((await harness.job()).run(), 60)
    assert made.fired
    assert (await harness.task(task_id)).status is Status.COMPLETED
    assert harness.sent_albums == ALL


async def test_a_refused_album_is_sent_file_by_file(harness: ChatHarness, sandbox: Sandbox) -> None:
    sandbox.faults.add("error=400:MEDIA_GROUPED_INVALID,method=messages.sendMultiMedia")
    task_id = await harness.post()
    await harness.run()
    assert harness.sent_albums == (ALL[0], 0)
    assert (await harness.task(task_id)).status is Status.COMPLETED
    items = await harness.store.tasks.all_items(task_id)
    assert [item.url for item in items] == [f"https://t.me/inbox/{message.id}" for message in harness.sent]


async def test_a_chat_that_refuses_every_file_is_reported_per_file(
    harness: ChatHarness, sandbox: Sandbox
) -> None:
    """The problem is reported once for each file, and no file is reported as saved."""
    for method in ("sendMultiMedia", "sendMedia"):
        sandbox.faults.add(f"error=403:CHAT_WRITE_FORBIDDEN,method=messages.{method}")
    task_id = await harness.post()
    await harness.run()
    assert harness.sent == []
    items = await harness.store.tasks.all_items(task_id)
    assert ["may not write" in item.error for item in items] == [True] * 3


async def test_a_split_file_is_an_album_of_its_own(harness: ChatHarness) -> None:
    await harness.worker(split_size_mb=1)
    harness.source.files["b.bin"] = FILES["b.bin"] * 2
    task_id = await harness.post()
    await harness.run()
    assert (await harness.task(task_id)).status is Status.COMPLETED
    names = [message.file and message.file.name for message in harness.sent]
    assert names == ["a.bin", "c.bin", "b.bin.001", "b.bin.002"]
    assert [message.text for message in harness.sent][:3] == ["first", "last", "b.bin.001\nin"]
    assert len({message.album for message in harness.sent}) == 2


async def test_videos_are_sent_as_videos_unless_mixed_with_files(
    harness: ChatHarness, tmp_path: Path
) -> None:
    film = make_video(tmp_path / "film.mp4")

    def films() -> list[bool]:
        return [
            any(isinstance(each, tl.DocumentAttributeVideo) for each in message.file.attributes)
            for message in harness.sent
            if message.file
        ]

    harness.source.files = {"a.mp4": film, "b.mp4": film}
    await harness.post()
    await harness.run()
    assert films() == [True, True]
    harness.source.files = {"a.mp4": film, "b.jpg": FILES["b.bin"]}
    await harness.post()
    await harness.run()
    assert films() == [True, True, False, False]
    assert len({message.album for message in harness.sent}) == 2


async def test_long_captions_are_truncated(harness: ChatHarness) -> None:
    harness.source.captions = {"a.bin": "x" + "😀" * 1024, "b.bin": "é" * 2000}  # type: ignore[attr-defined]
    await harness.post()
    await harness.run()
    assert [message.text for message in harness.sent] == ["x" + "😀" * 511, "é" * 1024, ""]


async def test_other_storages_save_the_files_separately(harness: ChatHarness) -> None:
    task_id = await harness.accept(path="in")
    await harness.run()
    assert {path: data for path, data in harness.files().items() if path.endswith(".bin")} == {
        f"in/{name}": data for name, data in FILES.items()
    }
    assert (await harness.task(task_id)).status is Status.COMPLETED


async def test_files_already_sent_in_another_album_are_left_out(harness: ChatHarness) -> None:
    """Telegram refuses an album that contains a file it has already accepted in another one."""
    storage = harness.others["chat"].storage
    members = []
    for index, (name, data) in enumerate(FILES.items()):
        key = UploadKey("task", index, 1)
        async with await storage.begin(key, name, len(data)) as upload:
            await upload.write(0, data)
            await upload.seal(len(data))
        members.append(AlbumFile(key, name, len(data), CAPTIONS[name]))
    assert await storage.publish_album([members[0], members[2]])
    for _ in range(2):
        receipts = await storage.publish_album(members)
        assert [each.path for each in receipts or ()] == list(FILES)
        assert [message.text for message in harness.sent] == ["first", "last", ""]
