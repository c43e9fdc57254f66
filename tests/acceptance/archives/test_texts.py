"""Texts of all messages are written beside the files, in parts that are never changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from saveany.sandbox import samples
from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _records(harness: ArchiveHarness, folder: str, part: int) -> list[dict[str, Any]]:
    file = harness.stack.storage_dir / folder / f"messages-{part:06}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_every_message_is_in_one_line_with_its_file(harness: ArchiveHarness) -> None:
    chat = harness.channel("Texts", broadcast=False)
    harness.say(chat, 1200, sender=samples.USER.id)
    harness.post(chat, text="A title", name="film.bin", album=77, sender=samples.USER.id)
    last = harness.post(chat, text="", name="b.bin", album=77, sender=samples.USER.id)
    harness.world.edit(chat, 5, text="edited 🎉")
    archive = await harness.archive(chat, dir_path="texts", text=True)
    await harness.reaches(archive)
    await until(lambda: "messages-000002.jsonl" in harness.files("texts"), within=60)
    first, second = _records(harness, "texts", 1), _records(harness, "texts", 2)
    assert [each["id"] for each in first + second] == list(range(1, last + 1))
    assert len(first) == 1000
    assert first[0]["type"] == "service"
    assert (first[4]["text"], "edited_unixtime" in first[4]) == ("edited 🎉", True)
    assert first[4]["from_id"] == f"user{samples.USER.id}"
    film = second[-2]
    assert (film["text"], film["file"], film["file_name"]) == ("A title", "film.bin", "film.bin")
    assert (film["album_id"], film["outcome"], film["file_size"]) == (77, "saved", 9)
    assert film["document_id"] == chat.messages[last - 1].files[0].id
    assert len(film["sha256"]) == 64
    assert film["date_unixtime"] == str(int(chat.messages[last - 1].date.timestamp()))
    assert (await harness.counts(archive))["telegram_total"] == last


async def test_an_archive_in_a_folder_that_has_such_files_overwrites_none(harness: ArchiveHarness) -> None:
    chat = harness.channel("Twice")
    harness.say(chat, 3)
    other = harness.stack.storage_dir / "twice/messages-000001.jsonl"
    other.parent.mkdir()
    other.write_text("mine")
    archive = await harness.archive(chat, dir_path="twice", text=True)
    await harness.reaches(archive)
    name = f"messages-000001-{archive}.jsonl"
    await until(lambda: name in harness.files("twice"), within=60)
    assert other.read_text() == "mine"
    assert len((other.parent / name).read_text().splitlines()) == 4
