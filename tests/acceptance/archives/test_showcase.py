"""The channel of the demo is worth archiving: its receipt has every kind of outcome, and adds up."""

from __future__ import annotations

import pytest

from saveany.sandbox import Sandbox
from saveany.sandbox.showcase import USERNAME, add_showcase
from tests.acceptance.archives.harness import ArchiveHarness

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_receipt_of_the_channel_adds_up(harness: ArchiveHarness) -> None:
    chat = add_showcase(harness.world)
    group = harness.world.chats[chat.linked or 0]
    archive = await harness.archive(f"https://t.me/{USERNAME}", dir_path="club", comments=True)
    found = await harness.reaches(archive, within=300)
    assert found["unaccounted"] == 0, found
    counts = found["counts"]
    assert counts["telegram_total"] == len(chat.messages) + len(group.messages) - 2  # without service, post
    assert min(counts[name] for name in ("saved", "locked", "expired", "without_media")) > 0, counts
    assert len(harness.files("club")) == counts["saved"]


async def test_it_is_the_same_after_a_restart() -> None:
    first, second = (add_showcase(Sandbox().world) for _ in range(2))
    assert [(id_, m.text, [f.id for f in m.files]) for id_, m in first.messages.items()] == [
        (id_, m.text, [f.id for f in m.files]) for id_, m in second.messages.items()
    ]
