"""Acceptance case 1, with a small chat and with one of the size that it names."""

from __future__ import annotations

import pytest

from tests.acceptance.archives.harness import ArchiveHarness

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("messages", "files"), [(1_234, 50), (12_345, 2_000), (2_345, 300)], ids=["short", "long", "medium"]
)
async def test_case_01_a_chat_is_saved_completely_and_oldest_first(
    harness: ArchiveHarness, messages: int, files: int
) -> None:
    chat, expected = harness.channel("Long"), []
    for number in range(1, messages):
        if number * files // messages == (number + 1) * files // messages:
            harness.say(chat)
        else:
            expected.append(harness.post(chat, name=f"{number:05}.bin"))
    folder = f"long{messages}"
    archive = await harness.archive(f"https://t.me/{chat.username}", dir_path=folder)
    found = await harness.reaches(archive, within=600)
    assert {name: n for name, n in found["counts"].items() if n} == {
        "telegram_total": messages,
        "without_media": messages - files,
        "saved": files,
    }
    assert (found["unaccounted"], found["bytes"]) == (0, 9 * files)
    assert len(harness.files(folder)) == files
    rows = await harness.messages(archive)
    assert [each["message"] for each in rows] == expected
    assert all(each["file_id"] for each in rows)
    order = [each["task_id"] for each in rows]
    assert order == sorted(order)
