"""The reasons of waiting tasks are polled beside their events, and errors of both are raised."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from saveany.cli import waiting
from saveany.cli.client import Json
from saveany.client.server_events import ServerEvent
from saveany.errors import SaveAnyError, Unavailable


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_POLL_SECONDS", 0.0)


async def _quiet() -> AsyncGenerator[ServerEvent, None]:
    yield ServerEvent("status", {"task_id": "a", "status": "queued"})
    await asyncio.Event().wait()


async def _nothing(ids: Sequence[str]) -> list[Json]:
    return []


async def _read(events: AsyncGenerator[ServerEvent, None], look: waiting.FetchTasks) -> list[str]:
    async with asyncio.timeout(20):
        return [event.type async for event in waiting.with_reasons(events, look)]


@pytest.mark.parametrize("error", [KeyError("status"), SaveAnyError("no"), ValueError("odd")])
async def test_an_error_of_the_event_stream_is_raised(error: Exception) -> None:
    async def broken() -> AsyncGenerator[ServerEvent, None]:
        yield ServerEvent("status", {"task_id": "a", "status": "queued"})
        raise error

    with pytest.raises(type(error)):
        await _read(broken(), _nothing)


@pytest.mark.parametrize("error", [KeyError("tasks"), SaveAnyError("no")])
async def test_an_error_of_the_poll_is_raised(error: Exception) -> None:
    async def broken(ids: Sequence[str]) -> list[Json]:
        raise error

    with pytest.raises(type(error)):
        await _read(_quiet(), broken)


async def test_an_outage_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter([None, Unavailable("no"), Unavailable("no"), None, Unavailable("no"), Unavailable("no")])

    async def look(ids: Sequence[str]) -> list[Json]:
        answer = next(answers, SaveAnyError("the end"))
        if answer is not None:
            raise answer
        return []

    with pytest.raises(SaveAnyError, match="the end"):
        await _read(_quiet(), look)
    assert capsys.readouterr().err.count("trying again") == 2
