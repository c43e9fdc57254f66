"""What has come of a live stream stays until it is saved, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from saveany.config import Config
from saveany.errors import Permanent, StorageUnavailable
from saveany.models import Item, ItemStatus, Stage, Status, Task
from saveany.net.guard import AddressGuard
from saveany.store import Store
from saveany.telegram.livestream import LivePart
from tests.fixtures.servers import program
from tests.fixtures.streams import length, make_parts
from tests.fixtures.waiting import until
from tests.integration.worker import conftest as worker
from tests.integration.worker.conftest import within
from workers.ending import cancel_unstarted
from workers.janitor import Janitor
from workers.reconcile import Reconciler
from workers.recovery import remove_leftovers
from workers.sources.base import Tools
from workers.sources.live import LiveSource

SECONDS = 8
SEGMENT = 3
#: An ffmpeg that fails, or waits, as its test says in files beside it.
FFMPEG = """#!/bin/sh
while [ -e "$0.waits" ]; do sleep 0.05; done
reason=$(cat "$0.fails${PWD##*/}" 2>/dev/null) && { echo "error: $reason" >&2; exit 1; }
exec PROGRAM "$@"
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return make_parts(tmp_path_factory.mktemp("parts"), SECONDS)


@dataclass
class Telegram:
    """An account that sees one stream, each part once: Telegram keeps nothing."""

    parts: list[bytes]
    sent: int = 0
    goes_on: asyncio.Event | None = None  # after the last part, until this is set
    ready: list[str] = field(default_factory=lambda: ["main"])
    problems: dict[str, Any] = field(default_factory=dict)
    is_bot: bool = False

    def client(self, name: str) -> Telegram:
        return self

    async def live_parts(
        self, name: str, chat: str, call: int, after_ms: int | None
    ) -> AsyncGenerator[LivePart, None]:
        first = 0 if after_ms is None else after_ms // 1000 + 1
        for number in range(max(first, self.sent), len(self.parts)):
            self.sent += 1
            yield LivePart(number * 1000, self.parts[number])
        if self.goes_on:
            await self.goes_on.wait()


class Recorder(worker.JobHarness):
    """Jobs that record the stream of `telegram`."""

    def __init__(self, store: Store, folder: Path, parts: list[bytes]) -> None:
        super().__init__(store, folder)
        self.ffmpeg = folder.parent / "ffmpeg"
        self.ffmpeg.write_text(FFMPEG.replace("PROGRAM", program("ffmpeg")))
        self.ffmpeg.chmod(0o755)
        self.telegram = Telegram(parts)
        config = Config()
        config = config.model_copy(
            update={
                "convert": config.convert.model_copy(update={"ffmpeg": str(self.ffmpeg)}),
                "live": config.live.model_copy(update={"segment_seconds": SEGMENT}),
            }
        )
        self.tools = Tools(
            config=config,
            scratch=self.scratch,
            guard=AddressGuard([]),
            accounts=cast(Any, self.telegram),
            storage=lambda name: self.storage,
            on_wait=lambda seconds: None,
            take=cast(Any, None),
            rate=cast(Any, None),
        )
        self.source = cast(Any, LiveSource(self.tools))

    def fail(self, reason: str, *, only_in: str = "") -> None:
        """Let ffmpeg fail for this reason, where parts or `segments` are joined; for "" it works."""
        for folder in [only_in] if only_in else ["parts", "segments"]:
            file = self.ffmpeg.with_name(f"ffmpeg.fails{folder}")
            if reason:
                file.write_text(reason)
            else:
                file.unlink()

    def wait(self, does: bool) -> None:
        """Let ffmpeg wait until this is called again."""
        file = self.ffmpeg.with_name("ffmpeg.waits")
        if does:
            file.touch()
        else:
            file.unlink()

    async def record(self) -> str:
        """Begin a recording."""
        return await self.accept(type="live", links=("@channel",), params={"title": "News", "call": 1})

    async def claim(self) -> Any:
        (claim,) = await self.store.claims.claim_several(
            "w", slot_lanes=[], slots=0, live_lanes=["live/local1"], recordings=1
        )
        return claim

    async def run(self, task_id: str) -> Task:
        await within((await self.job()).run())
        return await self.task(task_id)

    async def interrupt(self, task_id: str) -> None:
        """Begin a recording, and return it to the queue when all of its full segments are saved."""
        running = asyncio.create_task((await self.job()).run())

        async def has_segments() -> bool:
            items = await self.store.tasks.all_items(task_id)
            return [item.status for item in items] == [ItemStatus.COMPLETED] * (SECONDS // SEGMENT)

        await until(has_segments, within=20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert (await self.task(task_id)).status is Status.QUEUED

    async def retry(self, task_id: str) -> None:
        task = await self.task(task_id)
        assert await self.store.tasks.retry(task)

    async def shows(self, task_id: str, stage: Stage, size: int) -> bool:
        """Whether the progress of a task is that."""
        task = await self.task(task_id)
        return (task.stage, task.progress.downloaded_bytes) == (stage, size)

    async def end_wait(self, task_id: str) -> None:
        """The time is over for which a task waits."""
        await self.store.db.do("ZADD", "sa:delayed", "XX", 1, task_id)
        await self.store.claims.reconcile(check_leases=False)

    async def tidy(self) -> None:
        """What a worker does from time to time."""
        runner = cast(Any, SimpleNamespace(running=[]))
        await Janitor(
            self.store, runner, storages=cast(Any, None), sources={"live": self.source}
        ).tidy_sources()

    def seconds(self) -> dict[str, int]:
        """The files in the storage, with their lengths; 0 for a playlist."""
        return {name: length(self.folder / name) if name.endswith(".mp4") else 0 for name in self.files()}


@pytest.fixture
async def recorder(store: Store, tmp_path: Path, parts: list[bytes]) -> Recorder:
    return Recorder(store, tmp_path / "files", parts)


async def test_speed_limits_apply_to_what_telegram_has_recorded(recorder: Recorder) -> None:
    """What was recorded here was received at the speed of the stream, and is only copied."""
    copied = Item(index=0, name="a.mp4", path="a.mp4", source={"file": "a.mp4"})
    downloaded = Item(index=0, name="a.ogg", path="a.ogg", source={"message": 7})
    assert recorder.source.is_local(copied)
    assert not recorder.source.is_local(downloaded)


async def test_a_full_disk_delays_the_recording_and_loses_nothing(recorder: Recorder) -> None:
    task_id = await recorder.record()
    recorder.fail("No space left on device")
    task = await recorder.run(task_id)
    assert task.status is Status.QUEUED
    assert "has no space left on this machine's disk; free some" in str(task.reason_text)
    assert recorder.telegram.sent == SECONDS, "the stream was recorded to its end"
    recorder.fail("")
    await recorder.end_wait(task_id)
    assert (await recorder.run(task_id)).status is Status.COMPLETED
    assert sum(recorder.seconds().values()) == SECONDS


@pytest.mark.parametrize("stopped", [False, True])
async def test_without_ffmpeg_what_has_come_waits_for_it(
    stopped: bool, recorder: Recorder, tmp_path: Path
) -> None:
    """Also if a worker of another machine has the task meanwhile."""
    absent = recorder.ffmpeg.rename(tmp_path / "absent")
    over = recorder.telegram.goes_on = asyncio.Event()
    task_id = await recorder.record()
    running = asyncio.create_task(recorder.run(task_id))
    await until(partial(recorder.shows, task_id, Stage.DOWNLOADING, sum(map(len, recorder.telegram.parts))))
    over.set()
    task = await running
    assert (task.status, recorder.telegram.sent) == (Status.QUEUED, SECONDS)
    assert (
        "ffmpeg is not installed on the worker; on Debian and Ubuntu: apt install ffmpeg; what comes"
        in str(task.reason_text)
    )
    await recorder.tidy()
    if stopped:
        await recorder.store.tasks.stop(task_id)
    else:
        await recorder.end_wait(task_id)
        here = recorder.scratch.rename(tmp_path / "here")
        task = await recorder.run(task_id)
        assert (task.status, "on the disk of another machine" in str(task.reason_text)) == (
            Status.QUEUED,
            True,
        )
        shutil.rmtree(recorder.scratch)
        here.rename(recorder.scratch)
    await recorder.end_wait(task_id)
    absent.rename(recorder.ffmpeg)
    assert (await recorder.run(task_id)).status is Status.COMPLETED
    assert sum(recorder.seconds().values()) == SECONDS


async def test_what_has_come_is_shown_before_it_is_in_a_file(recorder: Recorder, parts: list[bytes]) -> None:
    """And while one file is made of it, that is the stage."""
    recorder.telegram.parts = parts[: SEGMENT - 1]
    recorder.telegram.goes_on = asyncio.Event()
    task_id = await recorder.record()
    running = asyncio.create_task(recorder.run(task_id))
    come = sum(map(len, parts[: SEGMENT - 1]))
    await until(partial(recorder.shows, task_id, Stage.DOWNLOADING, come))
    progress = (await recorder.task(task_id)).progress
    assert (progress.grows, progress.total_bytes, progress.percent, progress.eta_seconds) == (
        True,
        0,
        0.0,
        None,
    )
    recorder.wait(True)
    recorder.telegram.goes_on.set()  # it ends
    await until(partial(recorder.shows, task_id, Stage.JOINING, come))
    recorder.wait(False)
    task = await running
    (size,) = (len(data) for data in recorder.files().values())
    assert task.progress.downloaded_bytes == task.progress.total_bytes == size
    assert not task.progress.grows


async def test_a_failed_recording_keeps_its_parts_and_continues_when_it_is_retried(
    recorder: Recorder, parts: list[bytes]
) -> None:
    recorder.telegram.parts = parts[:4]
    task_id = await recorder.record()
    recorder.fail("it is broken")
    task = await recorder.run(task_id)
    assert (task.status, "it is broken" in task.error) == (Status.FAILED, True)
    await recorder.tidy()
    recorder.fail("")
    recorder.telegram.parts = parts  # it goes on
    await recorder.retry(task_id)
    assert (await recorder.run(task_id)).status is Status.COMPLETED
    assert sum(recorder.seconds().values()) == SECONDS
    assert not recorder.scratch.joinpath(task_id).exists()


async def test_a_segment_that_failed_is_saved_by_a_retry(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only then are the segments joined."""
    copy, failing = LiveSource.fetch, True

    async def fetch(self: LiveSource, item: Item, write: Any, have: Any = ()) -> None:
        if failing and "part 2" in item.name:
            raise Permanent("refused")
        await copy(self, item, write, have)

    monkeypatch.setattr(LiveSource, "fetch", fetch)
    task_id = await recorder.record()
    task = await recorder.run(task_id)
    assert (task.status, "refused" in task.error) == (Status.FAILED, True)
    assert sorted(recorder.seconds().values()) == [2, 3]
    failing = False
    await recorder.retry(task_id)
    assert (await recorder.run(task_id)).status is Status.COMPLETED
    assert list(recorder.seconds().values()) == [SECONDS]


@pytest.mark.parametrize("died", [False, True])
async def test_a_cancel_without_a_worker_removes_the_segments(
    died: bool, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the recording is queued or its worker has died; also after an outage of the storage."""
    task_id = await recorder.record()
    recorder.telegram.goes_on = asyncio.Event()
    await recorder.interrupt(task_id)
    if died:
        await recorder.claim()
    await recorder.store.tasks.cancel(task_id, [])
    if died:
        end = partial(cancel_unstarted, build_deliveries=recorder.announce)
        await Reconciler(recorder.store, end).recover_worker("w")
    ((_, epoch),) = await recorder.store.workers.leftovers("local1")

    async def is_down(path: str) -> None:
        raise StorageUnavailable("it is down")

    with monkeypatch.context() as outage:
        outage.setattr(recorder.storage, "stat", is_down)
        outage.setattr(recorder.storage, "delete", is_down)
        with pytest.raises(StorageUnavailable):
            await remove_leftovers(recorder.store, recorder.storage, task_id, epoch)
    await remove_leftovers(recorder.store, recorder.storage, task_id, epoch)
    assert recorder.files() == {}
    await recorder.tidy()
    assert not recorder.scratch.joinpath(task_id).exists()
    items = await recorder.store.tasks.all_items(task_id)
    assert [(item.status, item.final) for item in items] == [(ItemStatus.QUEUED, "")] * 2


@pytest.mark.parametrize("refused_by", ["ffmpeg", "storage"])
async def test_segments_that_cannot_be_joined_stay_with_a_playlist(
    refused_by: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = LiveSource.fetch

    async def fetch(self: LiveSource, item: Item, write: Any, have: Any = ()) -> None:
        if item.name.endswith(".mp4") and " part " not in item.name:
            raise Permanent("too large")
        await copy(self, item, write, have)

    if refused_by == "storage":
        monkeypatch.setattr(LiveSource, "fetch", fetch)
    else:
        recorder.fail("it is broken", only_in="segments")
    task_id = await recorder.record()
    task = await recorder.run(task_id)
    assert (task.status, task.error) == (Status.COMPLETED, "")
    *segments, playlist = sorted(recorder.seconds(), key=lambda name: (name.endswith(".m3u8"), name))
    assert [recorder.seconds()[name] for name in segments] == [3, 3, 2]
    lines = recorder.files()[playlist].decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == segments


async def test_another_machine_joins_segments_that_it_reads_from_the_storage(recorder: Recorder) -> None:
    """What was in progress on the first one is lost."""
    recorder.telegram.goes_on = asyncio.Event()
    task_id = await recorder.record()
    await recorder.interrupt(task_id)
    shutil.rmtree(recorder.scratch / task_id)
    recorder.telegram.goes_on = None
    assert (await recorder.run(task_id)).status is Status.COMPLETED
    assert list(recorder.seconds().values()) == [2 * SEGMENT]
