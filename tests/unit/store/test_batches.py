"""Commands that wait at the same time share a round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from saveany.store import batches as module
from saveany.store.batches import CommandBatches


class Server:
    """Replies to a batch when it is told to."""

    def __init__(self) -> None:
        self.received: list[list[str]] = []
        self.gates: list[asyncio.Event] = []

    async def send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        self.received.append([command[0] for command in commands])
        gate = asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        return [KeyError(name) if name.startswith("bad") else name.upper() for (name,) in commands]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_waits_during_a_round_trip_is_one_batch() -> None:
    server = Server()
    batches = CommandBatches(server.send)
    first = [asyncio.create_task(batches.run((name,))) for name in "ab"]
    await settle()
    later = [asyncio.create_task(batches.run((name,))) for name in "cde"]
    await settle()
    assert server.received == [["a", "b"]]
    server.gates[0].set()
    await settle()
    assert server.received == [["a", "b"], ["c", "d", "e"]]
    server.gates[1].set()
    assert await asyncio.gather(*first, *later) == ["A", "B", "C", "D", "E"]


async def test_an_error_belongs_to_its_own_command() -> None:
    server = Server()
    batches = CommandBatches(server.send)
    calls = [asyncio.create_task(batches.run((name,))) for name in ("a", "bad", "b")]
    await settle()
    server.gates[0].set()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert (found[0], found[2]) == ("A", "B")
    assert isinstance(found[1], KeyError)


async def test_an_error_of_the_connection_is_raised_to_all_and_the_next_batch_is_sent() -> None:
    sent: list[int] = []

    async def send(commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        sent.append(len(commands))
        if len(sent) == 1:
            raise ConnectionError
        return ["ok"] * len(commands)

    batches = CommandBatches(send)
    found = await asyncio.gather(*(batches.run(("x",)) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in found] == [ConnectionError] * 3
    assert await batches.run(("x",)) == "ok"
    assert sent == [3, 1]


async def test_a_command_whose_caller_was_canceled_is_not_sent() -> None:
    server = Server()
    batches = CommandBatches(server.send)
    first = asyncio.create_task(batches.run(("a",)))
    await settle()
    canceled, other = (asyncio.create_task(batches.run((name,))) for name in "bc")
    await settle()
    canceled.cancel()
    await settle()
    server.gates[0].set()
    await settle()
    server.gates[1].set()
    assert (await first, await other) == ("A", "C")
    assert server.received == [["a"], ["c"]]


async def test_a_batch_without_a_reply_does_not_hold_up_others_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    server = Server()
    batches = CommandBatches(server.send)
    stuck = asyncio.create_task(batches.run(("a",)))
    await settle()
    other = asyncio.create_task(batches.run(("b",)))
    await asyncio.sleep(0.05)
    server.gates[1].set()
    assert await other == "B"
    server.gates[0].set()
    assert await stuck == "A"
