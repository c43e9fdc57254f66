"""Damaged records: every kind of key, damaged in every way, affects nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping

import httpx
import msgspec
import pytest

from saveany.api.app import create_app
from saveany.catalogue import HistoryFilter
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.ids import new_id
from saveany.local_files import Version
from saveany.models import Delivery, Item, ItemStatus, Progress, Status, TaskSpec
from saveany.preferences import Preferences
from saveany.store import Store, WorkerInfo
from saveany.store.api_processes import ApiProcess
from saveany.store.archives import Archive
from saveany.store.inboxes import Taken
from saveany.store.keys import KEYS, Key, expected_type, find
from saveany.store.live import Broadcast, LiveWatch
from saveany.store.progress_messages import ProgressMessage
from saveany.store.removals import Removal
from saveany.store.stream_sessions import StreamSession
from saveany.store.telegram import TelegramStore
from saveany.texts import Text
from tests.integration.api.conftest import AUTH, USER, config, data_dir
from tests.integration.store.test_lifecycle import LANE, claim, delivery, spec

__all__ = ["config", "data_dir"]

#: What a value may have become.
GARBAGE: Mapping[str, bytes] = {
    "bytes": b"\xff\x00\xfe",
    "cut": b'{"id":"0',
    "newer": b'{"v":99,"id":7}',
    "huge": b"9" * 40,
}
KINDS = KEYS


@pytest.fixture
async def client(config: Config, store: Store, catalogue: Catalogue) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(config, store, catalogue)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=AUTH) as client:
        yield client


def watch(watch_id: str) -> Archive:
    return Archive(id=watch_id, user_id=USER, chat=-1001, title="t", account="user", created_at=1)


async def create_every_key(store: Store) -> dict[str, str]:
    """Create every kind of key; returns the tasks by their state."""
    names = ("queued", "paused", "late", "failed", "canceled")
    named = {name: spec(id=new_id(), user_id=USER, priority=50) for name in names}
    named["queued"] = spec(id=new_id(), user_id=USER, priority=-50)
    named["running"] = spec(id=new_id(), user_id=USER, priority=100)
    for each in named.values():
        await store.tasks.accept(each, "title", key=each.id, body_hash="h")
    await store.tasks.pause(named["paused"].id)
    running = await claim(store)
    item = Item(index=0, name="a", path="a", size=1)
    told = [delivery(running.task.id, "task.running")]
    await running.plan("planned", [item], Progress(total_files=1), told)
    await running.next_suffix("local1", "a")
    await running.reserve_name(0, "local1", "a")
    await store.db.do("HSET", f"sa:checkpoints:{running.task.id}", 0, "{}")
    await store.db.do("SET", f"sa:room:{USER}", 1)
    await store.db.do("SADD", f"sa:recordings:{USER}", running.task.id)
    await use_live(store)
    await _end(store, named)
    for key in ("sa:history", "sa:recorded"):
        await store.db.do("ZADD", key, 1, named["failed"].id)
    await store.workers.heartbeat(WorkerInfo(id="w1", host="h", pid=1, started_at=1, storages={"local1": ""}))
    await store.workers.establish_storage("local1", "mark")
    await store.workers.lock("tidy", 60_000)
    await use_links(store)
    await use_removals(store)
    await use_sessions(store)
    await use_inboxes(store)
    await store.duplicates.wait_for_turn(USER, running.task.id, 0, 5, 1)
    await use_other_hosts(store)
    await running.item(msgspec.structs.replace(item, status=ItemStatus.FINISHING, final="a"))
    await store.api_processes.heartbeat(ApiProcess("a1", "h", "http://h", ("local1",)))
    await store.archives.add(watch("w"))
    await store.archives.add_task(named["queued"].id, "w")
    await store.archives.remove("removed")
    await store.preferences.change(USER, lambda prefs: Preferences(language="zh"), once="key")
    await store.settings.set({"tasks_per_user": 50})
    await _create_bot_keys(store)
    store.counters.add("downloaded_bytes", 1)
    await store.counters.flush()
    await store.db.check_writable()
    await store.db.check()
    await store.secret("webhook_secret", "whsec_x")
    await _create_telegram_keys(store.telegram)
    lists = ("asks:local1", "answer:1", "duplicates", "resolve:tgfiles")
    await store.db.many([("RPUSH", f"sa:{name}", "{}") for name in lists])
    return {name: each.id for name, each in named.items()}


async def _end(store: Store, named: Mapping[str, TaskSpec]) -> None:
    """Let one task fail, cancel one while it runs, and delay one."""
    for _ in ("late", "failed", "canceled"):
        claimed = await claim(store)
        task_id = claimed.task.id
        if task_id == named["late"].id:
            await claimed.release(3_600_000, "away", "local1")
        elif task_id == named["failed"].id:
            await claimed.finish(Status.FAILED, "why", deliveries=[delivery(task_id)])
        else:
            await store.tasks.cancel(task_id, [])
            await claimed.finish(Status.CANCELED)


async def _create_bot_keys(store: Store) -> None:
    await store.bot.use_for(7)
    await store.bot.receive({"1/1": b"{}"}, b"{}")
    await store.bot.keep_card("token", b"{}")
    await store.bot.first_time("x", 60)
    await store.bot.login_begins(1, 2)
    await store.bot.acquire_lock("me")
    await store.progress_messages.keep(
        ProgressMessage(chat=1, message=2, task_id=new_id(), user_id=USER, language="en")
    )


async def _create_telegram_keys(telegram: TelegramStore) -> None:
    await telegram.keep_access_hashes(1, {-1001: 7})
    await telegram.keep_name(1, "channel", -1001)
    await telegram.keep_addresses("login", [("host", 443)])
    assert await telegram.claim_login("login", "machine", 60)
    assert (await telegram.announce(1, 2, "process", 60_000, 60_000)).processes == 1


async def use_links(store: Store) -> None:
    """Open links, try tokens and passwords, and count what was sent."""
    await store.openings.open("token", "address", 15, 600)
    assert await store.openings.is_open("token", "address")
    assert await store.openings.count_try("token", "address", 600) >= 1
    assert (await store.openings.count_made(USER))[0] >= 1
    await store.openings.changed()
    await store.traffic.add(5)
    await store.traffic.this_month()


async def use_removals(store: Store) -> None:
    """Propose, take and end removals of copies."""
    for path, is_done in (("gone", True), ("taken", False)):
        removal = Removal("local1", path, 5)
        await store.removals.propose(removal, "nonce")
        await store.removals.decide(removal, "nonce", needed=False)
        if await store.removals.take(removal) and is_done:
            await store.removals.end(removal, done=True)
    await store.removals.open([Removal("local1", "taken", 5)])
    await store.removals.ready("local1")
    await store.removals.removed()


async def use_live(store: Store) -> None:
    """Watch a chat, which is live."""
    await store.live.add(LiveWatch(id="l", user_id=USER, chat=-1001, title="t", account="a", created_at=1))
    seen = {"started_at": 1, "seen_at": await store.db.time_ms(), "viewers": 1, "most_viewers": 1}
    await store.live.note("l", Broadcast(call=1, task_id="x", **seen))
    assert "l" in await store.live.broadcasts()
    assert [each.id for each in await store.live.all()] == ["l"]


async def use_inboxes(store: Store) -> None:
    """Remember a file of a watched folder."""
    version = Version(5, 7)
    await store.inboxes.put("h", [("a", Taken(version))])
    assert (await store.inboxes.taken("h"))["a"].version == version


class Permit(msgspec.Struct, tag="permit"):
    """What a ticket of this test permits."""


async def use_other_hosts(store: Store) -> None:
    """Issue tickets, and list tasks by number, as the APIs of other hosts do."""
    assert await store.tickets.take(await store.tickets.issue(Permit(), 600), Permit) == Permit()
    assert await store.tickets.read(await store.tickets.issue(Permit(), 600), Permit) == Permit()
    for number in [await store.remote_uploads.add(USER, task_id) for task_id in ("one", "two")]:
        assert number in await store.remote_uploads.newest(USER, 0)
    assert await store.remote_uploads.find(USER, number) == "two"
    await store.remote_uploads.remove(USER, number)
    await use_stream_sessions(store)


async def use_stream_sessions(store: Store) -> None:
    """Accept the ids of signed requests, and create and find a session, as the API of StreamAPI does."""
    sessions, newer = store.stream_sessions, time.time_ns()
    assert [await sessions.advance("key", each) for each in (newer, newer, newer + 1)] == [True, False, True]
    public = str(time.time_ns())
    made = StreamSession(public_id=public, private_id=f"P{public}", key_id="key", user_id=USER, chat="chat")
    assert await sessions.create(made) == made
    assert await sessions.with_private_id(made.private_id) == made
    assert made in await sessions.of_key("key")


async def use_sessions(store: Store) -> None:
    """Begin a session, read it, offer a code for another one, and revoke; accept a nonce."""
    now, nonce = await store.db.time_ms(), str(time.time_ns())
    accepted = [await store.nonces.accept("key", nonce, now - 1000, now + 60_000) for _ in range(2)]
    assert [is_new for is_new, _ in accepted] == [True, False]
    before = await store.sessions.generation()
    await store.sessions.announce()
    assert await store.sessions.generation() != before
    await store.sessions.begin("id", "key", "proof", 600)
    session, _ = await store.sessions.read("id")
    assert session is not None
    await store.sessions.offer("taken", "key", "proof", 600)
    taken, _ = await store.sessions.take("taken")
    assert taken is not None
    await store.sessions.offer("code", "key", "proof", 600)


async def use_telegram(telegram: TelegramStore) -> None:
    """Call each method for an account with damaged keys."""
    assert await telegram.access_hash(1, -1001) in (7, None)
    await telegram.forget_access_hash(1, -1001, 7)
    assert await telegram.chat_of(1, "channel") in (-1001, None)
    assert await telegram.addresses("login") in ([("host", 443)], [])
    await telegram.claim_login("login", "machine", 60)
    assert (await telegram.announce(1, 2, "process", 60_000, 0)).processes >= 1
    await telegram.leave(1, 2, "process")


async def damage(store: Store, key: bytes, how: bytes | None) -> None:
    """Replace the value of a key; None: by a value of another type."""
    do, kind = store.db.do, (await store.db.do("TYPE", key)).decode()
    if how is None:
        await do("DEL", key)
        await (do("SET", key, "text") if kind != "string" else do("RPUSH", key, "text"))
    elif kind == "string":
        await do("SET", key, how)
    elif kind == "hash":
        for field in await do("HKEYS", key):
            await do("HSET", key, field, how)
        await do("HSET", key, how or b"odd", how)
    elif kind == "zset":
        await do("ZADD", key, -5, how or b"odd")
    elif kind == "set":
        await do("SADD", key, how or b"odd")
    elif kind == "list":
        await do("LPUSH", key, how)
    else:
        await do("XADD", key, "*", "type", how, "task", how)


async def use_the_store(store: Store, catalogue: Catalogue, tasks: Mapping[str, str]) -> None:
    """Perform the regular operations of workers, the API and the bot; none may raise."""
    await store.claims.reconcile(check_leases=True)
    await store.claims.expire_leases("nobody")
    await store.claims.make_room("w1", [LANE], [])
    await store.outbox.claim(50, 1)
    await store.outbox.wait(0)
    await store.claims.storages_recovered(["local1"])
    await store.workers.living()
    await store.api_processes.living()
    await store.workers.leftovers("local1")
    await store.workers.storage_identity("local1")
    await store.settings.sharers("w1")
    await store.settings.changed()
    await catalogue.history.page(HistoryFilter())
    await catalogue.history.page(HistoryFilter(q="x", user_id=USER))
    await catalogue.history.counts()
    await store.tasks.live()
    await store.events.after("0-0")
    await store.archives.all()
    await store.archives.unnotified_tasks()
    assert await store.archives.exist()
    for removed in await store.archives.removed():
        await store.archives.forget(removed)
    await store.archives.set_problem("w", Text("why"), 1)
    await store.preferences.get(USER)
    await store.progress_messages.all()
    await store.bot.inbox()
    await store.bot.position()
    await store.bot.logins()
    await store.bot.use_for(7)
    await store.bot.acquire_lock("me")
    if await store.db.do("EXISTS", "sa:asks:local1"):  # else it would wait for one
        await store.queries.next(["local1"])
    if await store.db.do("EXISTS", "sa:duplicates"):
        await store.duplicates.next()
    if await store.db.do("EXISTS", "sa:resolve:tgfiles"):
        await store.link_queries.next(["tgfiles"])
    await store.duplicates.wait_for_turn(USER, tasks["running"], 0, 5, 1)
    store.counters.add("downloaded_bytes", 1)
    await store.counters.flush()
    await store.counters.read()
    await store.db.check()


async def use_the_api(client: httpx.AsyncClient, tasks: Mapping[str, str]) -> None:
    """Request every page; each must reply."""
    for path in (
        "/api/v1/tasks",
        f"/api/v1/tasks?user_id={USER}",
        "/api/v1/tasks?limit=3",
        "/api/v1/history",
        "/api/v1/history?q=title",
        "/api/v1/workers",
        "/api/v1/storages",
        "/api/v1/task-types",
        "/api/v1/queue",
        "/api/v1/limits",
        "/api/v1/webhooks/deliveries",
        "/metrics",
    ):
        reply = await client.get(path)
        assert reply.status_code == 200, (path, reply.text)
    assert "redis" not in (await client.get("/readyz")).text
    for name, task_id in tasks.items():
        assert (await client.get(f"/api/v1/tasks/{task_id}")).status_code in (200, 404)
        if name == "running":  # the API would wait for its worker
            continue
        assert (await client.post(f"/api/v1/tasks/{task_id}/pause")).status_code in (200, 404, 409)
        assert (await client.post(f"/api/v1/tasks/{task_id}/resume")).status_code in (200, 404, 409)


async def complete_a_new_task(client: httpx.AsyncClient, store: Store) -> None:
    await store.settings.resume()
    body = {"telegram_url": "https://t.me/channel/1", "user_id": USER, "storage_name": "local1"}
    reply = await client.post("/api/v1/tasks", json=body)
    assert reply.status_code == 201, reply.text
    wanted = reply.json()["task_id"]
    for _ in range(30):
        claimed = await store.claims.claim("w1", [LANE])
        assert claimed is not None, "it is not handed out"
        if claimed.task.id == wanted:
            break
        await claimed.finish(Status.FAILED, "not this one")
    assert claimed is not None
    told = delivery(wanted)
    await claimed.finish(Status.COMPLETED, deliveries=[told])
    assert (await client.get(f"/api/v1/tasks/{wanted}")).json()["status"] == "completed"
    assert wanted in (await client.get("/api/v1/history")).text
    assert told.id in [each.id for each in await store.outbox.claim(100, 60_000)]
    assert (await client.delete(f"/api/v1/tasks/{wanted}")).status_code == 409


@pytest.mark.parametrize("how", [None, *GARBAGE])
@pytest.mark.parametrize("kind", KINDS, ids=[key.pattern for key in KINDS])
async def test_a_damaged_key_affects_nothing_else(
    kind: Key, how: str | None, client: httpx.AsyncClient, store: Store, catalogue: Catalogue
) -> None:
    if (kind.pattern, how) == ("meta", "huge"):
        pytest.skip("a great number there is the schema of a newer version, which is refused at the start")
    tasks = await create_every_key(store)
    keys = [key for key in await store.db.do("KEYS", "sa:*") if find(key.decode()) is kind]
    assert keys, f"no key of this kind: {kind.pattern}"
    for key in keys:
        await damage(store, key, GARBAGE[how] if how else None)
    await use_the_store(store, catalogue, tasks)
    await use_telegram(store.telegram)
    await use_links(store)
    await use_removals(store)
    await use_sessions(store)
    await use_inboxes(store)
    await use_other_hosts(store)
    await use_the_api(client, tasks)
    await complete_a_new_task(client, store)
    await store.tasks.cancel(tasks.pop("running"), [])
    for task_id in tasks.values():
        assert (await client.delete(f"/api/v1/tasks/{task_id}")).status_code in (200, 404, 409)


async def test_every_key_is_known(store: Store) -> None:
    """A new kind of key must be added to `saveany/store/keys.py`, and so to these tests."""
    await create_every_key(store)
    for key in await store.db.do("KEYS", "sa:*"):
        found = (await store.db.do("TYPE", key)).decode()
        assert expected_type(key.decode()) == found, key


async def test_a_queue_of_a_wrong_type_is_rebuilt_from_the_tasks(store: Store, catalogue: Catalogue) -> None:
    tasks = await create_every_key(store)
    for name in ("queued", "users", "leases", "running", "paused", "record"):
        await damage(store, f"sa:{name}".encode(), None)
    await store.claims.reconcile(check_leases=False)
    names = {task_id: name for name, task_id in tasks.items()}
    live = {names[each.id] for each in await store.tasks.live()}
    assert live == {"queued", "paused", "late", "running"}
    ended = (await catalogue.history.page(HistoryFilter())).tasks
    assert {each.id for each in ended} == {tasks["failed"], tasks["canceled"]}
    assert await store.db.do("GET", "sa:damaged:queued") == b"text"


async def test_a_skipped_record_is_counted_and_logged_once(
    client: httpx.AsyncClient, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    await store.archives.add(watch("good"))
    await store.db.do("HSET", "sa:watches", "newer", GARBAGE["newer"])
    await store.db.do("HSET", "sa:watches", "bad", GARBAGE["cut"])
    for _ in range(3):
        assert [each.id for each in await store.archives.all()] == ["good"]
    assert 'saveany_unreadable_records_total{kind="watch"} 2' in (await client.get("/metrics")).text
    lines = [line for line in capsys.readouterr().out.splitlines() if "unreadable_record_skipped" in line]
    assert len(lines) == 2
    assert "newer version" in "".join(lines)


@pytest.mark.parametrize("how", ["cut", "newer", "huge", "bytes"])
async def test_a_task_with_an_unreadable_specification_can_be_listed_and_canceled(
    how: str, client: httpx.AsyncClient, store: Store, catalogue: Catalogue
) -> None:
    """It is also handed to a worker together with the reason."""
    task_ids = []
    for _ in range(2):
        wish = spec(user_id=USER)
        await store.tasks.accept(wish, "title")
        await store.db.do("HSET", f"sa:task:{wish.id}", "spec", GARBAGE[how])
        task_ids.append(wish.id)
    listed = (await client.get("/api/v1/tasks")).json()["tasks"]
    assert [each["task_id"] for each in listed] == task_ids
    reply = await client.patch(f"/api/v1/tasks/{task_ids[1]}", json={"priority": 1})
    assert reply.status_code == 409
    assert "cannot be read" in reply.json()["message"]
    kept = await store.db.do("HGET", f"sa:task:{task_ids[1]}", "spec")
    assert kept == GARBAGE[how], "it may be of a newer version, which can read it"
    assert (await client.delete(f"/api/v1/tasks/{task_ids[0]}")).status_code == 200
    claimed = await claim(store)
    assert claimed.task.id == task_ids[1]
    assert ("newer version" in claimed.task.unreadable) == (how == "newer")
    assert claimed.task.spec.user_id == USER


async def test_a_damaged_delivery_is_set_aside_and_one_of_a_newer_version_waits(store: Store) -> None:
    wish = spec()
    await store.tasks.accept(wish, "title")
    events = ("bad", "newer", "good")
    told = [Delivery(id=name, task_id=wish.id, event=name, url="http://x/", body="{}") for name in events]
    await store.tasks.cancel(wish.id, told)
    await store.db.do("SET", "sa:delivery:bad", GARBAGE["cut"])
    await store.db.do("SET", "sa:delivery:newer", GARBAGE["newer"])
    assert [each.id for each in await store.outbox.claim(10, 1)] == ["good"]
    assert await store.db.do("ZSCORE", "sa:outbox", "bad") is None
    assert await store.db.do("ZSCORE", "sa:outbox", "newer") is not None


async def test_preferences_of_a_newer_version_are_not_overwritten(store: Store) -> None:
    kept = json.dumps({"v": 2, "language": 7}).encode()
    await store.db.do("HSET", "sa:people", 5, kept)
    assert await store.preferences.get(5) == Preferences()
    with pytest.raises(Exception, match="newer version"):
        await store.preferences.change(5, lambda prefs: prefs)
    assert await store.db.do("HGET", "sa:people", 5) == kept
