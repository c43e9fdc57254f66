"""Albums into a chat: what was posted together is sent together, once, whoever dies or is canceled when."""

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
from saveany.models import ItemStatus, Rule, Status, TaskSpec
from saveany.planning.plan import ResolvedFile
from saveany.sandbox import Sandbox
from saveany.sandbox.world import Chat, StoredMessage
from saveany.storage_set import StorageHandle
from saveany.store import Claim, Store
from saveany.telegram.accounts import Accounts
from saveany.telegram.uploads import Uploader
from storages.base import AlbumFile, Services, UploadKey
from storages.telegram.options import TelegramStorageOptions
from storages.telegram.storage import TelegramStorage
from tests.fixtures.films import make_film
from tests.integration.telegram.conftest import LIMITS
from tests.integration.worker.conftest import PART, Bench, Files, within
from workers.item_records import ItemRecords

FILES = {name: random.Random(name).randbytes(700_001) for name in ("a.bin", "b.bin", "c.bin")}
CAPTIONS = {"a.bin": "first", "b.bin": "", "c.bin": "last"}
#: What is in the chat in the end: texts, names and whether it is one album.
ALL = ([("first", "a.bin"), ("", "b.bin"), ("last", "c.bin")], 1)


@dataclass
class Posts(Files):
    """Files that were posted together, with captions."""

    captions: dict[str, str] = field(default_factory=lambda: CAPTIONS)

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        return [
            ResolvedFile(name, len(data), {"name": name}, album="-100/1", caption=self.captions.get(name, ""))
            for name, data in self.files.items()
        ]


class Gate:
    """Holds the first that comes through until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def hold(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            await self.opened.wait()

    def on(
        self, patch: pytest.MonkeyPatch, owner: type, name: str, when: Callable[[Any], bool], at: str
    ) -> None:
        """Hold who calls the method with such an argument: "before" or "after"."""
        real = getattr(owner, name)

        async def patched(this: Any, *args: Any, **more: Any) -> Any:
            if at == "before" and when(args):
                await self.hold()
            result = await real(this, *args, **more)
            if at == "after" and when(args):
                await self.hold()
            return result

        patch.setattr(owner, name, patched)


class Desk(Bench):
    """A bench whose tasks go into the chat."""

    def __init__(self, store: Store, folder: Path, accounts: Accounts, inbox: Chat) -> None:
        super().__init__(store, folder)
        self.accounts = accounts
        self.inbox = inbox
        self.source = Posts(dict(FILES))

    async def worker(self, **options: Any) -> None:
        """From now on jobs are those of another process."""
        fields = {"name": "chat", "type": "telegram", "chat_id": "@inbox", "rate_limit": 0, **options}
        services = Services(scratch=self.scratch, message_sender=Uploader(self.accounts, LIMITS))
        self.others["chat"] = StorageHandle(
            self.store, TelegramStorage(TelegramStorageOptions.model_validate(fields), services)
        )
        await self.others["chat"].check()
        await self.place.check()

    async def post(self) -> str:
        return await self.accept(rules=(Rule(storage="chat", folder="in"),), path="in")

    async def run(self) -> None:
        await within((await self.job()).run())

    @property
    def sent(self) -> list[StoredMessage]:
        return [message for message in reversed(self.inbox.newest_first()) if not message.service]

    @property
    def shown(self) -> tuple[list[tuple[str, str]], int]:
        """Texts and names, and how many albums."""
        texts = []
        for message in self.sent:
            assert message.file
            assert message.file.name
            texts.append((message.text, message.file.name))
            size = message.file.content.size
            assert message.file.content.read(0, size) == self.source.files[message.file.name]
        return texts, len({message.album for message in self.sent if message.album})

    async def statuses(self, task_id: str) -> list[ItemStatus]:
        return [item.status for item in await self.store.tasks.all_items(task_id)]


@pytest.fixture
async def desk(store: Store, tmp_path: Path, accounts: Accounts, inbox: Chat) -> Desk:
    desk = Desk(store, tmp_path / "files", accounts, inbox)
    await desk.worker()
    return desk


async def test_an_album_is_sent_as_one_album(desk: Desk) -> None:
    task_id = await desk.post()
    await desk.run()
    assert desk.shown == ALL
    assert (await desk.task(task_id)).status is Status.COMPLETED
    items = await desk.store.tasks.all_items(task_id)
    assert [item.url for item in items] == [f"https://t.me/inbox/{message.id}" for message in desk.sent]
    assert all(item.sha256 for item in items)


async def test_nothing_is_visible_before_all_files_are_uploaded(desk: Desk) -> None:
    task_id = await desk.post()
    gate = Gate()

    async def step(name: str, offset: int) -> None:
        if (name, offset) == ("c.bin", PART):
            await gate.hold()

    desk.source.step = step
    running = asyncio.create_task((await desk.job()).run())
    await within(gate.reached.wait())
    assert desk.sent == []
    assert await desk.statuses(task_id) == [ItemStatus.RUNNING] * 3
    gate.opened.set()
    await within(running)
    assert desk.shown == ALL


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


async def test_a_dead_or_frozen_worker_sends_nothing_twice(desk: Desk, gate: Gate) -> None:
    """At every step: who takes over sends what was not sent; who wakes up then changes nothing."""
    task_id = await desk.post()
    frozen = asyncio.create_task((await desk.job()).run())
    await within(gate.reached.wait())
    await desk.lose(task_id)
    await desk.worker()
    await desk.run()
    assert desk.shown == ALL
    assert (await desk.task(task_id)).status is Status.COMPLETED
    gate.opened.set()
    await within(frozen)
    assert desk.shown == ALL
    assert (await desk.task(task_id)).epoch == 2


async def test_sent_files_are_not_downloaded_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    gate.on(monkeypatch, *BOUNDARIES["after-sent"])
    task_id = await desk.post()
    dead = asyncio.create_task((await desk.job()).run())
    await within(gate.reached.wait())
    await desk.lose(task_id)
    await desk.worker()
    desk.source.fetched.clear()
    await desk.run()
    assert (desk.source.fetched, desk.shown) == ([], ALL)
    dead.cancel()
    with suppress(asyncio.CancelledError):
        await dead


async def test_a_cancel_at_any_step_removes_everything(desk: Desk, gate: Gate) -> None:
    """Nothing stays, and a retry sends it all."""
    task_id = await desk.post()
    job = await desk.job()
    running = asyncio.create_task(job.run())
    await within(gate.reached.wait())
    assert await desk.store.tasks.cancel(task_id, []) == "requested"
    job.check_requests()
    gate.opened.set()
    await within(running)
    task = await desk.task(task_id)
    assert task.status is Status.CANCELED
    assert desk.sent == []
    assert await desk.store.tasks.retry(task)
    await desk.run()
    assert desk.shown == ALL
    assert (await desk.task(task_id)).status is Status.COMPLETED


@pytest.mark.parametrize("broken", FILES)
async def test_an_album_is_sent_without_a_missing_file(desk: Desk, broken: str) -> None:
    """The others go without it; a retry sends it by itself, with its caption."""

    async def step(name: str, offset: int) -> None:
        if name == broken:
            raise Permanent("it is gone")

    desk.source.step = step
    task_id = await desk.post()
    await desk.run()
    others = [shown for shown in ALL[0] if shown[1] != broken]
    assert desk.shown == (others, 1)
    task = await desk.task(task_id)
    assert (task.status, "1 of 3 files failed" in task.error) == (Status.FAILED, True)
    desk.source.step = None
    assert await desk.store.tasks.retry(task)
    await desk.run()
    assert desk.shown == ([*others, (CAPTIONS[broken], broken)], 1)
    assert (await desk.task(task_id)).status is Status.COMPLETED


async def test_a_file_missing_after_a_crash_is_sent_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three were sent when the worker died; all three are there now."""
    gate = Gate()
    gate.on(monkeypatch, *BOUNDARIES["after-sent"])

    async def step(name: str, offset: int) -> None:
        if name == "b.bin":
            raise Permanent("it is gone")

    desk.source.step = step
    task_id = await desk.post()
    frozen = asyncio.create_task((await desk.job()).run())
    await within(gate.reached.wait())
    await desk.lose(task_id)
    await desk.worker()
    desk.source.step = None
    await desk.run()
    gate.opened.set()
    await within(frozen)
    assert desk.shown == ([("first", "a.bin"), ("last", "c.bin"), ("", "b.bin")], 1)
    assert (await desk.task(task_id)).status is Status.COMPLETED


async def test_parts_lost_by_telegram_are_uploaded_again(
    desk: Desk, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    gate.on(monkeypatch, *BOUNDARIES["after-finishing-recorded"])
    await desk.post()
    running = asyncio.create_task((await desk.job()).run())
    await within(gate.reached.wait())
    sandbox.world.uploads.clear()
    gate.opened.set()
    await within(running)
    assert desk.shown == ALL


async def test_a_long_flood_wait_gives_the_slot_away(desk: Desk, sandbox: Sandbox) -> None:
    """The task gives its slot to others meanwhile; nothing is fetched again when its time has come."""
    fault = sandbox.faults.add("flood_wait=300,method=messages.sendMultiMedia")
    task_id = await desk.post()
    await desk.run()
    assert (await desk.task(task_id)).status is Status.QUEUED
    assert await desk.statuses(task_id) == [ItemStatus.FINISHING] * 3
    sandbox.faults.remove(fault)
    desk.source.fetched.clear()
    await desk.store.db.do("HSET", f"sa:task:{task_id}", "wake", 0)
    await desk.store.db.do("ZADD", "sa:delayed", "XX", 1, task_id)
    assert (await desk.store.claims.reconcile(check_leases=True)).woken == 1
    await desk.run()
    assert (desk.source.fetched, desk.shown) == ([], ALL)


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
    desk: Desk, sandbox: Sandbox, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.telegram.client.CALL_SECONDS", 1.0)
    made = sandbox.faults.add(fault)
    task_id = await desk.post()
    await within((await desk.job()).run(), 60)
    assert made.fired
    assert (await desk.task(task_id)).status is Status.COMPLETED
    assert desk.shown == ALL


async def test_a_refused_album_is_sent_file_by_file(desk: Desk, sandbox: Sandbox) -> None:
    sandbox.faults.add("error=400:MEDIA_GROUPED_INVALID,method=messages.sendMultiMedia")
    task_id = await desk.post()
    await desk.run()
    assert desk.shown == (ALL[0], 0)
    assert (await desk.task(task_id)).status is Status.COMPLETED
    items = await desk.store.tasks.all_items(task_id)
    assert [item.url for item in items] == [f"https://t.me/inbox/{message.id}" for message in desk.sent]


async def test_a_chat_that_refuses_every_file_is_reported_per_file(desk: Desk, sandbox: Sandbox) -> None:
    """What is wrong is said, once for each file, and nothing is said to be saved."""
    for method in ("sendMultiMedia", "sendMedia"):
        sandbox.faults.add(f"error=403:CHAT_WRITE_FORBIDDEN,method=messages.{method}")
    task_id = await desk.post()
    await desk.run()
    assert desk.sent == []
    items = await desk.store.tasks.all_items(task_id)
    assert ["may not write" in item.error for item in items] == [True] * 3


async def test_a_split_file_is_an_album_of_its_own(desk: Desk) -> None:
    await desk.worker(split_size_mb=1)
    desk.source.files["b.bin"] = FILES["b.bin"] * 2
    task_id = await desk.post()
    await desk.run()
    assert (await desk.task(task_id)).status is Status.COMPLETED
    names = [message.file and message.file.name for message in desk.sent]
    assert names == ["a.bin", "c.bin", "b.bin.001", "b.bin.002"]
    assert [message.text for message in desk.sent][:3] == ["first", "last", "b.bin.001\nin"]
    assert len({message.album for message in desk.sent}) == 2


async def test_videos_are_sent_as_videos_unless_mixed_with_files(desk: Desk, tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4")

    def films() -> list[bool]:
        return [
            any(isinstance(each, tl.DocumentAttributeVideo) for each in message.file.attributes)
            for message in desk.sent
            if message.file
        ]

    desk.source.files = {"a.mp4": film, "b.mp4": film}
    await desk.post()
    await desk.run()
    assert films() == [True, True]
    desk.source.files = {"a.mp4": film, "b.jpg": FILES["b.bin"]}
    await desk.post()
    await desk.run()
    assert films() == [True, True, False, False]
    assert len({message.album for message in desk.sent}) == 2


async def test_long_captions_are_truncated(desk: Desk) -> None:
    desk.source.captions = {"a.bin": "x" + "😀" * 1024, "b.bin": "é" * 2000}  # type: ignore[attr-defined]
    await desk.post()
    await desk.run()
    assert [message.text for message in desk.sent] == ["x" + "😀" * 511, "é" * 1024, ""]


async def test_other_storages_save_the_files_separately(desk: Desk) -> None:
    task_id = await desk.accept(path="in")
    await desk.run()
    assert {path: data for path, data in desk.files().items() if path.endswith(".bin")} == {
        f"in/{name}": data for name, data in FILES.items()
    }
    assert (await desk.task(task_id)).status is Status.COMPLETED


async def test_files_already_sent_in_another_album_are_left_out(desk: Desk) -> None:
    """Telegram refuses an album of which it has taken one before."""
    storage = desk.others["chat"].storage
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
        assert [message.text for message in desk.sent] == ["first", "last", ""]
