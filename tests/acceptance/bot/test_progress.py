"""The progress of a task is shown in one message, also while Telegram limits edits."""

from __future__ import annotations

import time
from itertools import pairwise

from tests.acceptance.bot.conftest import BOT, contains, has_button
from tests.fixtures.stack import Stack
from tests.sandbox.clients import Person, named

EDIT = "messages.editMessage"


async def test_a_slow_file_is_shown_in_one_message(stack: Stack, anna: Person) -> None:
    before = stack.sandbox.counters.requests(method=EDIT)
    stack.sandbox.faults.add("total_rate=400000,method=upload.getFile")
    await anna.send(BOT, named(bytes(1_500_000), "film.bin"))
    card = await anna.receives(has_button("local1"))
    began = time.monotonic()
    await anna.press(card, "local1")
    await anna.receives(has_button("Cancel"))
    flood = stack.sandbox.faults.add(f"flood_wait=1,method={EDIT},count=1")
    await anna.receives(contains("local1:/film.bin"), 30)
    await anna.receives(contains("Saved"), 30)
    shown = [message for message in anna.received if message.id == card.id]
    assert any("▰" in message.text for message in shown)
    assert all(earlier.text != later.text for earlier, later in pairwise(shown))
    assert [button.text for row in shown[-1].buttons or [] for button in row] == ["Link"]
    assert flood.fired == 1
    edits = stack.sandbox.counters.requests(method=EDIT) - before
    assert edits <= time.monotonic() - began + 2  # the card's own, and one more at both ends of the time
