"""Callers share the listing of a folder, but never one that was begun before they asked."""

from __future__ import annotations

import asyncio

import pytest

from storages.listings import SharedListings


class Folders:
    """Counts readings; each waits for `gate`."""

    def __init__(self) -> None:
        self.readings: list[str] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def read(self, folder: str) -> int:
        self.readings.append(folder)
        number = len(self.readings)
        await self.gate.wait()
        if self.error:
            raise self.error
        return number


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_during_a_reading_gets_the_next_one() -> None:
    folders = Folders()
    listings = SharedListings(folders.read)
    first = [asyncio.create_task(listings.of("a")) for _ in range(3)]
    await settle()
    later = [asyncio.create_task(listings.of("a")) for _ in range(3)]
    other = asyncio.create_task(listings.of("b"))
    await settle()
    assert folders.readings == ["a", "b"]
    folders.gate.set()
    assert await asyncio.gather(*first, other, *later) == [1, 1, 1, 2, 3, 3, 3]
    assert await listings.of("a") == 4


async def test_an_error_does_not_outlive_its_reading() -> None:
    folders = Folders()
    folders.gate.set()
    folders.error = OSError("broken")
    listings = SharedListings(folders.read)
    found = await asyncio.gather(*(listings.of("a") for _ in range(2)), return_exceptions=True)
    assert found == [folders.error] * 2
    folders.error = None
    assert await listings.of("a") == 2


async def test_a_canceled_caller_takes_the_listing_from_no_other() -> None:
    folders = Folders()
    listings = SharedListings(folders.read)
    canceled, other = (asyncio.create_task(listings.of("a")) for _ in range(2))
    await settle()
    canceled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await canceled
    folders.gate.set()
    assert await other == 1
