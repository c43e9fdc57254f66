"""A whole SaveAny with its bot, and somebody who writes to it with an unmodified client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from saveany.sandbox import samples
from tests.fixtures.stack import Stack
from tests.sandbox.clients import Person, person

BOT = "sandbox_bot"
OTHER = samples.USER.id


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Any]:
    """What is configured beside the usual; a test may change it before the stack starts."""
    return {
        "users": [{"id": samples.PERSON.id}],
        "storages": [
            {"name": "local1", "type": "local", "base_path": str(tmp_path / "files")},
            {"name": "local2", "type": "local", "base_path": str(tmp_path / "more")},
        ],
    }


@pytest.fixture
async def stack(tmp_path: Path, tables: dict[str, Any]) -> AsyncIterator[Stack]:
    async with Stack(tmp_path, tables=tables) as stack:
        await stack.start_bot()
        yield stack


@pytest.fixture
async def anna(stack: Stack) -> AsyncIterator[Person]:
    async with person(stack.sandbox) as one:
        yield one


def says(part: str) -> Callable[[Any], bool]:
    """Whether there is this in a message."""
    return lambda message: part in (message.text or "")


def offers(label: str) -> Callable[[Any], bool]:
    """Whether a message has a button of that label."""
    return lambda message: any(label in button.text for row in message.buttons or () for button in row)
