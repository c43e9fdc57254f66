"""Event streams, over a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from saveany.api import hub as hub_module
from saveany.api.app import create_app
from saveany.api.hub import End, Hub, Subscription
from saveany.api.models import EventView
from saveany.api.server import ApiServer
from saveany.api.sse import encode
from saveany.api.views import event_view
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.embedded import EmbeddedRedis
from saveany.models import Progress, Stage, Status
from saveany.store import Event, Store, connect
from tests.fixtures.waiting import until
from tests.integration.api.conftest import check_error, claim, create, over_tcp, serving


@dataclass
class ReceivedEvent:
    """One event as a client sees it."""

    type: str
    id: str
    data: dict[str, Any]


class Stream:
    """A client of server-sent events."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> ReceivedEvent | None:
        """The next event; None at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self._lines:
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields.pop("", None) is None and fields:
                    return ReceivedEvent(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
        return None

    async def until(self, type_: str) -> list[ReceivedEvent]:
        """Events up to and including the first of that type."""
        found = [await self._some()]
        while found[-1].type != type_:
            found.append(await self._some())
        return found

    async def rest(self) -> list[ReceivedEvent]:
        found = []
        while event := await self.next():
            found.append(event)
        return found

    async def _some(self) -> ReceivedEvent:
        event = await self.next()
        assert event is not None, "the stream has ended"
        return event


@asynccontextmanager
async def streaming(live: httpx.AsyncClient, path: str, last_id: str = "") -> AsyncIterator[Stream]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with live.stream("GET", path, headers=headers) as response:
        yield Stream(response)


def of_task(task_id: str) -> str:
    return f"/api/v1/tasks/{task_id}/events"


async def test_a_stream_reports_a_task_from_its_snapshot_to_its_end(
    live: httpx.AsyncClient, store: Store
) -> None:
    task_id = await create(live)
    other = await create(live)
    async with streaming(live, of_task(task_id)) as stream:
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        snapshot = await stream.next()
        assert snapshot is not None
        assert (snapshot.type, snapshot.data["task_id"]) == ("snapshot", task_id)
        assert snapshot.data["status"] == "queued"
        assert snapshot.data["progress"]["percent"] == 0
        working = await claim(store)
        await working.progress(
            Stage.DOWNLOADING, Progress(total_bytes=100, downloaded_bytes=40, total_files=1)
        )
        [*_, progress] = await stream.until("task.progress")
        assert progress.id == ""
        assert (progress.data["stage"], progress.data["progress"]["percent"]) == ("downloading", 40.0)
        await live.delete(f"/api/v1/tasks/{other}")
        await working.finish(Status.FAILED, "no such message")
        [*before, last] = await stream.rest()
        # Progress does not pass through the log of events, so it may be told before the task is running.
        assert {each.type for each in before} <= {"task.running", "task.progress"}
        assert {each.data["task_id"] for each in before} <= {task_id}
        assert (last.type, last.data["error"]) == ("task.failed", "no such message")
        assert last.data["at"].endswith("Z")


async def test_the_stream_of_an_ended_task_closes_after_its_snapshot(live: httpx.AsyncClient) -> None:
    task_id = await create(live)
    await live.delete(f"/api/v1/tasks/{task_id}")
    async with streaming(live, of_task(task_id)) as stream:
        [only] = await stream.rest()
    assert (only.type, only.data["status"]) == ("snapshot", "canceled")
    # Browsers come back with the last id; 204 makes them stop.
    reply = await live.get(of_task(task_id), headers={"Last-Event-ID": only.id})
    assert (reply.status_code, reply.content) == (204, b"")


async def test_a_resumed_stream_sends_exactly_the_missed_events(
    live: httpx.AsyncClient, store: Store
) -> None:
    task_id = await create(live)
    async with streaming(live, of_task(task_id)) as stream:
        snapshot = await stream.next()
        assert snapshot is not None
    working = await claim(store)
    await create(live)
    await working.finish(Status.COMPLETED)
    async with streaming(live, of_task(task_id), snapshot.id) as stream:
        missed = await stream.rest()
    assert [event.type for event in missed] == ["task.running", "task.completed"]
    async with streaming(live, of_task(task_id), missed[0].id) as stream:
        assert [event.type for event in await stream.rest()] == ["task.completed"]
    assert (await live.get(of_task(task_id), headers={"Last-Event-ID": missed[1].id})).status_code == 204


async def test_the_stream_of_all_tasks_can_be_resumed(live: httpx.AsyncClient, store: Store) -> None:
    async with streaming(live, "/api/v1/events") as stream:
        first = await create(live)
        second = await create(live)
        seen = [await stream.next(), await stream.next()]
    assert [event and event.data["task_id"] for event in seen] == [first, second]
    assert seen[0] is not None
    await live.delete(f"/api/v1/tasks/{first}")
    async with streaming(live, "/api/v1/events", seen[0].id) as stream:
        missed = await stream.until("task.canceled")
        third = await create(live)
        coming = await stream.next()
    assert [(event.type, event.data["task_id"]) for event in missed] == [
        ("task.queued", second),
        ("task.canceled", first),
    ]
    assert coming is not None
    assert coming.data["task_id"] == third


@pytest.mark.parametrize("last_id", ["1-1", "99999999999999-0"], ids=["trimmed", "from another store"])
async def test_a_reset_and_snapshots_replace_discarded_events(
    live: httpx.AsyncClient, store: Store, last_id: str
) -> None:
    tasks = [await create(live), await create(live)]
    await store.db.do("XTRIM", "sa:events", "MAXLEN", 1)
    async with streaming(live, "/api/v1/events", last_id) as stream:
        told = [await stream.next() for _ in range(3)]
        new = await create(live)
        coming = await stream.next()
    assert [event and event.type for event in told] == ["reset", "snapshot", "snapshot"]
    assert [event and event.data.get("task_id") for event in told[1:]] == tasks
    assert [bool(event and event.id) for event in told] == [False, False, True]
    assert coming is not None
    assert (coming.type, coming.data["task_id"]) == ("task.queued", new)


async def test_the_stream_of_one_task_can_be_reset(live: httpx.AsyncClient) -> None:
    task_id = await create(live)
    async with streaming(live, of_task(task_id), "1-1") as stream:
        told = [await stream.next(), await stream.next()]
    assert [event and event.type for event in told] == ["reset", "snapshot"]


async def test_progress_is_sent_at_most_twice_a_second(
    live: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hub_module.PROGRESS_INTERVAL == 0.5
    monkeypatch.setattr(hub_module, "PROGRESS_INTERVAL", 0.1)
    task_id = await create(live)
    working = await claim(store)
    async with streaming(live, of_task(task_id)) as stream:
        await stream.next()
        begin = asyncio.get_running_loop().time()
        for done in range(1, 101):
            await working.progress(Stage.DOWNLOADING, Progress(total_bytes=100, downloaded_bytes=done))
        told = [await stream.until("task.progress")]
        while told[-1][-1].data["progress"]["downloaded_bytes"] < 100:
            told.append(await stream.until("task.progress"))
        seconds = asyncio.get_running_loop().time() - begin
        assert len(told) <= 2 + seconds / 0.1
        await working.finish(Status.COMPLETED)
        await stream.rest()


async def test_a_quiet_stream_is_kept_open(live: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub_module.PING_SECONDS == 15
    monkeypatch.setattr(hub_module, "PING_SECONDS", 0.05)
    async with live.stream("GET", "/api/v1/events") as response:
        lines = response.aiter_lines()
        assert [await anext(lines) for _ in range(4)] == [": ping", "", ": ping", ""]


@pytest.mark.parametrize("last_id", ["x", "1", "1-", "1-2-3", "1" * 30 + "-0", "1-" + "9" * 20])
@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/tasks/x/events"])
async def test_an_invalid_last_event_id_is_refused(
    client: httpx.AsyncClient, path: str, last_id: str
) -> None:
    error = check_error(await client.get(path, headers={"Last-Event-ID": last_id}), 400)
    assert error["details"][0]["field"] == "Last-Event-ID"


async def test_streams_require_the_token(live: httpx.AsyncClient) -> None:
    check_error(await live.get("/api/v1/events", headers={"Authorization": "Bearer x"}), 401)


async def test_a_disconnected_client_is_removed(server: ApiServer, live: httpx.AsyncClient) -> None:
    clients = server.config.app.state.services.hub._clients  # type: ignore[union-attr] # it is our FastAPI

    async def gone() -> bool:
        return not clients

    async with streaming(live, of_task(await create(live))) as stream:
        await stream.next()
        assert len(clients) == 1
    await until(gone)


async def test_streams_continue_after_a_restart_of_redis(config: Config, tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path)
    store = Store(connect(redis.start()))
    catalogue = Catalogue("", tmp_path, store)
    app = create_app(config, store, catalogue)
    async with serving(app) as server, over_tcp(server) as live:
        task_id = await create(live)
        async with streaming(live, of_task(task_id)) as stream:
            await stream.next()
            with capture_logs() as logs:
                redis.stop()
                await until(lambda: _contains(logs, "waiting_for_redis"))
            redis.start()
            working = await claim(store)
            assert (await stream.until("task.running"))[-1].data["task_id"] == task_id

            async def received() -> bool:
                return bool((await store.db.do("PUBSUB", "NUMSUB", "sa:progress"))[1])

            await until(received)
            await working.progress(Stage.DOWNLOADING, Progress(total_bytes=1))
            await stream.until("task.progress")
            await working.finish(Status.COMPLETED)
            assert [told.type for told in await stream.rest()] == ["task.completed"]
    await catalogue.close()
    await store.db.close()
    redis.stop()


def _contains(logs: Sequence[Mapping[str, Any]], words: str) -> bool:
    return any(words in str(entry["event"]) for entry in logs)


async def test_an_emptied_store_closes_all_streams(store: Store) -> None:
    hub = Hub(store.events, encode)
    await store.db.do("XADD", "sa:events", "99-1", "type", "x")
    await hub._find_position()
    with hub.subscription() as client:
        await store.db.do("DEL", "sa:events")
        await hub._find_position()
        (end,) = await client.next()
    assert isinstance(end, End)
    assert end.reason


def told(number: int, *, progress: bool = False, task: str = "t") -> hub_module.EncodedEvent:
    happened = event(number, progress=progress, task=task)
    return hub_module.EncodedEvent(happened, encode(happened))


def event(number: int, *, progress: bool = False, task: str = "t") -> Event:
    return Event(type="x", task_id=task, user_id=1, id="" if progress else f"{number}-0", status="running")


async def test_a_slow_client_loses_progress_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "QUEUE_SIZE", 4)
    client = Subscription("")
    for n in range(5):
        client.offer(told(n, progress=True))
    for n in (1, 2):
        client.offer(told(n))
    got = await client.next()
    assert [isinstance(e, hub_module.EncodedEvent) and e.event.id for e in got] == ["", "", "1-0", "2-0"]


async def test_a_client_that_is_too_slow_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "QUEUE_SIZE", 4)
    client = Subscription("")
    for n in range(6):
        client.offer(told(n))
    (end,) = await client.next()
    assert isinstance(end, End)
    assert "too slowly" in end.reason


async def test_a_closed_hub_ends_new_streams_as_well(store: Store) -> None:
    hub = Hub(store.events, encode)
    hub.close()
    with hub.subscription() as client:
        assert await client.next() == [End()]


async def test_an_event_is_encoded_once_for_all_clients(
    app: FastAPI, live: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = app.state.services.hub
    encoded: list[Event] = []

    def counted(event: Event) -> bytes:
        encoded.append(event)
        return encode(event)

    monkeypatch.setattr(hub, "_encode", counted)
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(streaming(live, "/api/v1/events")) for _ in range(20)]
        made = [await create(live) for _ in range(3)]
        for stream in streams:
            got = [await stream.next() for _ in made]
            assert [each and each.data["task_id"] for each in got] == made
    assert [event.task_id for event in encoded] == made


async def test_an_event_that_many_missed_is_encoded_once(
    live: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        await create(live)
    first = (await store.events.after("0-0"))[0].id
    views: list[Event] = []

    def counted(event: Event) -> EventView:
        views.append(event)
        return event_view(event)

    monkeypatch.setattr("saveany.api.sse.event_view", counted)
    encode.cache_clear()
    for _ in range(4):
        async with streaming(live, "/api/v1/events", first) as stream:
            assert [each.type for each in [await stream.next() for _ in range(4)] if each] == [
                "task.queued"
            ] * 4
    assert len(views) == 4


async def test_no_progress_is_sent_after_the_end(store: Store) -> None:
    hub = Hub(store.events, encode)
    for n in range(2000):
        done = Event(type="task.completed", task_id=f"t{n}", user_id=1, id=f"{n + 1}-0", status="completed")
        hub._remember(done)
    assert len(hub._ended) == 1000
    assert "t1999" in hub._ended
    hub._remember(event(3000, task="t1999"))
    assert "t1999" not in hub._ended
