"""Videos that are too large for a message are cut into parts that play by themselves."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.catalogue.rows import file_row, stored_files
from saveany.models import Status
from saveany.sandbox.world import Chat, StoredMessage
from saveany.store import Store
from saveany.telegram.accounts import Accounts
from saveany.telegram.uploads import Uploader
from storages.base import Receipt
from storages.telegram import storage as telegram_storage
from storages.telegram.upload import TelegramUpload
from storages.telegram.video_upload import VideoUpload
from tests.fixtures.browser import Browser
from tests.fixtures.servers import program
from tests.integration.telegram.chat_harness import ChatHarness, Gate
from tests.integration.telegram.conftest import fetch
from tests.integration.telegram.uploads import MIB, Open, content, key, save, sent
from tests.integration.worker.conftest import FilesSource, within

#: In each group of pictures there are some that depend on later ones.
CODING = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-qp", "25", "-c:a", "aac")


_PLAYED = """
(() => {
  const video = document.querySelector("video");
  const frames = video.getVideoPlaybackQuality().totalVideoFrames;
  return { width: video.videoWidth, duration: video.duration, frames, error: video.error?.message ?? null };
})()
"""


def make_film(path: Path, *options: str) -> Path:
    """A video of 8 seconds and between 1 and 3 MiB, with sound. It has few pictures, with noise in
    them, so that it is decoded at once."""
    inputs = ["-filter_threads", "1", "-f", "lavfi", "-i", "testsrc2=size=320x180:duration=8:rate=8"]
    inputs += ["-f", "lavfi", "-i", "sine=duration=8", "-vf", "noise=alls=20:allf=t,format=yuv420p"]
    command = [program("ffmpeg"), "-v", "error", *inputs, "-threads", "1", *options, str(path)]
    subprocess.run(command, check=True)
    assert 1.2 * MIB < path.stat().st_size < 3 * MIB
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "a.mp4", *CODING, "-g", "8")


def pictures(path: Path) -> list[str]:
    """The hashes of all decoded pictures."""
    command = [program("ffmpeg"), "-v", "error", "-threads", "1", "-i", str(path), "-map", "0:v"]
    command += ["-vsync", "passthrough", "-f", "framemd5", "-"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True)
    return [line.rpartition(",")[2] for line in lines.stdout.splitlines() if not line.startswith("#")]


def sounds(path: Path) -> list[str]:
    """The hashes of all packets with sound."""
    command = [program("ffprobe"), "-v", "error", "-select_streams", "a", "-show_data_hash", "md5"]
    command += ["-show_entries", "packet=data_hash", "-of", "csv=p=0", str(path)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.findall(r"MD5:\w+", lines)  # packets with side data have more lines


def names(messages: list[StoredMessage]) -> list[str | None]:
    return [message.file.name if message.file else None for message in messages]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
async def test_the_parts_play_and_have_all_frames_of_the_video(
    opened: Open, inbox: Chat, film: Path, tmp_path: Path, suffix: str
) -> None:
    """Each once. The message of each has its length, its size and a picture."""
    original = tmp_path / f"a.{suffix}"
    copy = ["-i", str(film), "-map", "0", "-c", "copy", str(original)]
    subprocess.run([program("ffmpeg"), "-v", "error", *copy], check=True)
    data = original.read_bytes()
    receipt = await save(opened(split_size_mb=1, split_large_video=True), f"d/a.{suffix}", data)
    messages = sent(inbox)
    assert len(messages) >= 2
    assert names(messages) == [f"a ({n} of {len(messages)}).{suffix}" for n in range(1, len(messages) + 1)]
    assert [message.text for message in messages] == [f"{name}\nd" for name in names(messages)]
    assert len({message.album for message in messages}) == 1
    shapes = [each for m in messages if m.file for each in m.file.attributes]
    assert all(isinstance(each, tl.DocumentAttributeVideo) for each in shapes)
    assert {(each.w, each.h) for each in shapes} == {(320, 180)}
    assert sum(each.duration for each in shapes) == pytest.approx(8, abs=0.5)
    parts = [tmp_path / f"{n}.{suffix}" for n in range(len(messages))]
    for part, message in zip(parts, messages, strict=True):
        part.write_bytes(content(message))
        assert part.stat().st_size <= MIB
    assert [each for part in parts for each in pictures(part)] == pictures(film)
    assert [each for part in parts for each in sounds(part)] == sounds(film)
    assert (receipt.size, str(receipt.note)) == (
        len(data),
        f"It was cut into {len(messages)} parts that play by themselves.",
    )
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_a_browser_plays_the_parts(opened: Open, inbox: Chat, film: Path, tmp_path: Path) -> None:
    """To the end, and with all pictures."""
    await save(opened(split_size_mb=1, split_large_video=True), "a.mp4", film.read_bytes())
    async with Browser(tmp_path / "profile") as browser:
        for number, message in enumerate(sent(inbox)):
            part = tmp_path / f"{number}.mp4"
            part.write_bytes(content(message))
            async with browser.page(part.as_uri()) as page:
                await page.wait("document.querySelector('video')?.readyState >= 3")
                await page.run(
                    "Object.assign(document.querySelector('video'), {playbackRate: 8, loop: false}).play()"
                )
                await page.wait("document.querySelector('video').ended")
                played = await page.run(_PLAYED)
            frames = len(pictures(part))
            assert (played["width"], played["error"]) == (320, None)
            assert played["duration"] == pytest.approx(frames / 8, abs=0.3)
            assert 0 < played["frames"] <= frames


async def test_each_part_is_a_file_in_the_library(
    store: Store, tmp_path: Path, accounts: Accounts, inbox: Chat, film: Path
) -> None:
    """The task has one file."""
    harness = ChatHarness(
        store, tmp_path / "files", accounts, inbox, FilesSource({"a.mp4": film.read_bytes()})
    )
    await harness.worker(split_size_mb=1, split_large_video=True)
    task_id = await harness.post()
    await harness.run()
    task, [item] = await harness.task(task_id), await store.tasks.all_items(task_id)
    assert (task.status, item.size) == (Status.COMPLETED, film.stat().st_size)
    assert not item.sha256, "nothing may take the parts for the film itself, and delete that"
    rows = [file_row(task, each, 0) for each in stored_files(item)]
    messages = harness.sent
    assert [row["name"] for row in rows] == names(messages)
    assert [row["page"] for row in rows] == [f"https://t.me/inbox/{message.id}" for message in messages]
    assert len({row["item"] for row in rows}) == len(messages)
    assert {row["path"].rpartition("/")[0] for row in rows} == {"in"}
    for each, message in zip(stored_files(item), messages, strict=True):
        [source] = each.reference["files"]
        media = await accounts.find(source)
        assert (media.size, bytes((await fetch(accounts, media)).data)) == (each.size, content(message))
    receipt = Receipt(item.final, item.size or 0, reference=item.reference)
    await harness.others["chat"].storage.remove(receipt)  # as a cancel does
    assert harness.sent == []


def _sends_an_album(args: Any) -> bool:
    return isinstance(args[1], fn.messages.SendMultiMediaRequest)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_dead_or_frozen_worker_sends_no_part_twice(
    store: Store,
    tmp_path: Path,
    accounts: Accounts,
    inbox: Chat,
    film: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    """It dies before or after it has sent the parts; the next one cuts the video again."""
    options: dict[str, Any] = {"split_size_mb": 1, "split_large_video": True}
    source = FilesSource({"a.mp4": film.read_bytes()})
    harness = ChatHarness(store, tmp_path / "files", accounts, inbox, source)
    await harness.worker(**options)
    gate = Gate()
    gate.on(monkeypatch, Uploader, "_send_message", _sends_an_album, when)
    task_id = await harness.post()
    frozen = asyncio.create_task((await harness.job()).run())
    await within(gate.reached.wait())
    assert len(sent(inbox)) == (0 if when == "before" else 2)
    await harness.expire_lease(task_id)
    await harness.worker(**options)
    await harness.run()
    assert (await harness.task(task_id)).status is Status.COMPLETED
    gate.opened.set()
    await within(frozen)
    assert names(sent(inbox)) == ["a (1 of 2).mp4", "a (2 of 2).mp4"]


Break = Callable[[pytest.MonkeyPatch], None]


def no_ffmpeg(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("shutil.which", lambda name: None)


def no_room(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(telegram_storage, "_free_bytes", lambda folder: 2 * MIB)


def full_disk(patch: pytest.MonkeyPatch) -> None:
    real = VideoUpload._keep

    def keep(upload: VideoUpload, offset: int, data: bytes) -> None:
        if offset >= MIB:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(upload, offset, data)

    patch.setattr(VideoUpload, "_keep", keep)


def failing_ffmpeg(patch: pytest.MonkeyPatch) -> None:
    async def run_program(program: str, *arguments: str, **more: object) -> tuple[int, bytes]:
        return 1, b""

    patch.setattr("storages.telegram.video_parts.run_program", run_program)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (no_ffmpeg, "ffmpeg is not installed"),
        (no_room, "there is not enough room"),
        (full_disk, "there is not enough room"),
        (failing_ffmpeg, "ffmpeg cannot cut it"),
    ],
)
async def test_a_video_that_cannot_be_cut_becomes_volumes(
    opened: Open, inbox: Chat, film: Path, monkeypatch: pytest.MonkeyPatch, fault: Break, reason: str
) -> None:
    fault(monkeypatch)
    data = film.read_bytes()
    receipt = await save(opened(split_size_mb=1, split_large_video=True), "a.mp4", data)
    assert b"".join(map(content, sent(inbox))) == data
    assert names(sent(inbox))[0] == "a.mp4.001"
    assert reason in str(receipt.note)


async def test_a_video_without_key_frames_becomes_volumes(opened: Open, inbox: Chat, tmp_path: Path) -> None:
    data = make_film(tmp_path / "a.mp4", *CODING, "-g", "1000").read_bytes()
    receipt = await save(opened(split_size_mb=1, split_large_video=True), "a.mp4", data)
    assert b"".join(map(content, sent(inbox))) == data
    assert "too few key frames" in str(receipt.note)


async def test_videos_share_the_room_on_the_disk(
    opened: Open, inbox: Chat, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is free again when the upload ends."""
    data = film.read_bytes()
    monkeypatch.setattr(telegram_storage, "_free_bytes", lambda folder: 3 * len(data))
    storage = opened(split_size_mb=1, split_large_video=True)
    for _ in range(2):
        async with await storage.begin(key(), "a.mp4", len(data)) as first:
            second = await storage.begin(key(item=1), "b.mp4", len(data))
            assert [type(each) for each in (first, second)] == [VideoUpload, TelegramUpload]


@pytest.mark.parametrize("options", [{}, {"split_large_video": True, "force_file": True}])
async def test_videos_are_only_cut_on_request(
    opened: Open, inbox: Chat, film: Path, options: dict[str, bool]
) -> None:
    receipt = await save(opened(split_size_mb=1, **options), "a.mp4", film.read_bytes())
    assert names(sent(inbox))[0] == "a.mp4.001"
    assert receipt.note is None


async def test_other_files_are_split_into_volumes(opened: Open, inbox: Chat, film: Path) -> None:
    """Also one that only claims to be a video."""
    data = os.urandom(2 * MIB)
    for item, name in enumerate(("a.bin", "a.mkv")):
        await save(opened(split_size_mb=1, split_large_video=True), name, data, key(item=item))
    assert names(sent(inbox)) == ["a.bin.001", "a.bin.002", "a.mkv.001", "a.mkv.002"]
    assert b"".join(map(content, sent(inbox))) == data * 2
