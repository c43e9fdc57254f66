"""Files in every position of a message are archived; those beside the posted file only if wanted."""

from __future__ import annotations

from typing import Any

import pytest

from saveany.sandbox.model import StoredFile, Wrapping
from saveany.sandbox.world import Chat, Picture, StoredMessage
from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _photo(harness: ArchiveHarness, **fields: Any) -> StoredFile:
    plain = harness.file(5000)
    picture = Picture("y", 1280, 720, plain.content)
    photo = StoredFile(id=plain.id + 500_000, content=plain.content, pictures=(picture,), **fields)
    return harness.world.add_file(photo)


def _post_all(harness: ArchiveHarness, chat: Chat) -> None:
    def wrap(how: str, *files: StoredFile) -> None:
        wrapping = Wrapping(how=how, files=files)  # type: ignore[arg-type]
        harness.world.send(chat, StoredMessage(id=0, wrapped=wrapping))

    video = harness.world.add_file(_like(harness.file(7000), cover=_photo(harness)))
    harness.post(chat, file=video)
    harness.post(chat, file=_photo(harness, live=harness.file(6000)))
    wrap("preview", harness.file(800))
    wrap("poll", harness.file(900), harness.file(901))
    wrap("paid", harness.file(1000), harness.file(1001))
    wrap("story", harness.file(1100))
    wrap("rich text", harness.file(1200))
    wrap("long rich text", harness.file(1300), harness.file(1301))
    wrap("instant view", harness.file(1400), harness.file(1401))
    wrap("long instant view", harness.file(1500), harness.file(1501))


def _like(file: StoredFile, **fields: Any) -> StoredFile:
    values = {name: getattr(file, name) for name in ("content", "name", "mime")}
    return StoredFile(id=file.id + 700_000, **values, **fields)


async def test_the_posted_files_are_archived_in_every_position(harness: ArchiveHarness) -> None:
    chat = harness.channel("Positions")
    _post_all(harness, chat)
    before = harness.requests("messages.getWebPage")
    archive = await harness.archive(chat, dir_path="positions")
    found = await harness.reaches(archive)
    assert (found["counts"]["saved"], found["counts"]["without_media"]) == (7, 4), found
    assert harness.requests("messages.getWebPage") == before
    assert found["unaccounted"] == 0
    assert len(harness.files("positions")) == 10  # three of the messages have two files


async def test_files_beside_them_are_archived_if_wanted(harness: ArchiveHarness) -> None:
    chat = harness.channel("Extras")
    _post_all(harness, chat)
    extras = ["preview", "cover", "live_video", "instant_view"]
    archive = await harness.archive(chat, dir_path="extras", extras=extras, on_duplicate="save")
    found = await harness.reaches(archive)
    assert (found["counts"]["saved"], found["counts"]["without_media"]) == (10, 1), found
    sizes = sorted(
        (harness.stack.storage_dir / "extras" / each).stat().st_size for each in harness.files("extras")
    )
    posted = [7000, 5000, 900, 901, 1000, 1001, 1100, 1200, 1300, 1301]
    assert sizes == sorted([*posted, 5000, 6000, 800, 1400, 1401, 1500, 1501])
    assert (await harness.stack.saveany("archive", "verify", archive)).code == 0


async def test_a_long_instant_view_is_read_as_a_whole_with_few_requests(harness: ArchiveHarness) -> None:
    """Files that are not sent with the message count for the filter, too. A flood wait in a page repeats no
    request."""
    chat = harness.channel("Views")
    for _ in range(3):
        wrapping = Wrapping(how="long instant view", files=(harness.file(1600), harness.file(9000)))
        harness.world.send(chat, StoredMessage(id=0, wrapped=wrapping))
    before = harness.requests("messages.getWebPage")
    flood = harness.faults.add("flood_wait=12,method=messages.getWebPage,every=2,count=1")
    options = {"extras": ["instant_view"], "filter": {"min_size": 9000}, "on_duplicate": "save"}
    archive = await harness.archive(chat, dir_path="views", **options)
    found = await harness.reaches(archive)
    harness.faults.remove(flood)
    assert (found["counts"]["saved"], found["unaccounted"]) == (3, 0), found
    assert harness.requests("messages.getWebPage") - before <= 1 + 3 + 3, "listed and saved"
    (first, *others) = (harness.stack.storage_dir / "views").iterdir()
    for file in harness.world.files.values():
        harness.world.expire(file)
    first.unlink()
    result = await harness.stack.saveany("archive", "verify", archive, "--repair")
    assert "1 are saved again" in result.out
    await until(first.exists, within=60)
    assert all(each.exists() for each in others)
