"""Button ids that stand for a choice, and calls repeated after flood waits."""

from __future__ import annotations

import pytest

from saveany.bot import context
from saveany.bot.context import choice_id, find_choice, folder_button, retry_flood_waits, storage_button
from saveany.bot.texts import CommandError
from saveany.errors import Permanent, Retryable


def test_a_button_id_means_the_same_choice_in_a_changed_list() -> None:
    assert find_choice(["c", "b"], choice_id("b")) == "b"
    with pytest.raises(CommandError, match="no longer exists"):
        find_choice(["c", "b"], choice_id("a"))


@pytest.mark.parametrize("name", ["", "x" * 300, "片" * 300, "a/" * 100 + "end"])
def test_button_data_fits_for_every_name(name: str) -> None:
    button = folder_button(name, f"in:{'0' * 16}:{choice_id(name)}")
    assert len(button.data.encode()) <= 64
    assert button.label.removeprefix("📁 ")
    assert len(button.label) <= 52
    assert storage_button(name, button.data).data == button.data


async def test_a_call_is_retried_while_telegram_asks_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_PAUSE_SECONDS", 0.0)
    errors: list[Exception] = [Retryable("wait", after=0.01), Retryable("wait")]

    async def step() -> str:
        if errors:
            raise errors.pop()
        return "said"

    assert await retry_flood_waits(step) == "said"
    errors += [Permanent("blocked")]
    with pytest.raises(Permanent):
        await retry_flood_waits(step)
    errors += [Retryable("wait")] * 5
    with pytest.raises(Retryable):
        await retry_flood_waits(step)
    assert not errors
