"""Script calls that share a round trip do not share their errors."""

from __future__ import annotations

import asyncio

import pytest

from saveany.store import Store


async def test_a_call_that_cannot_be_encoded_fails_alone(store: Store) -> None:
    good = [asyncio.create_task(store.db.script("count", f"c{n}", 1)) for n in range(3)]
    bad = asyncio.create_task(store.db.script("count", "\ud800", 1))
    await asyncio.gather(*good)
    with pytest.raises(UnicodeEncodeError):
        await bad
