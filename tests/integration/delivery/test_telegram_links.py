"""Links to files of messages that were never saved: streamed from Telegram, whatever goes wrong there."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import httpx
import pytest

from saveany.api.app import create_app
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.sandbox import Sandbox
from saveany.sandbox.content import ContentStream
from saveany.sandbox.samples import PERSON, SHA256, USER
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from saveany.store import Store
from saveany.telegram.accounts import Accounts
from saveany.telegram.file import PART
from tests.fixtures.waiting import until
from tests.integration.api.conftest import check_error, serving
from tests.integration.delivery.conftest import link

SIZE = 12 * PART + 4321
FILE = 2002
POST = "https://t.me/files/5"
GET = {"method": "upload.getFile"}


@pytest.fixture
def file(sandbox: Sandbox) -> StoredFile:
    world = sandbox.world
    chat = Chat(id=1600000000, title="files", username="files", members={USER.id, 7000000001})
    channel = world.add_chat(chat)
    made = world.add_file(
        StoredFile(id=FILE, content=ContentStream(FILE, SIZE), name="film.mkv", dc=sandbox.dc_id)
    )
    world.post(channel, StoredMessage(id=5, file=made))
    return made


@pytest.fixture
async def made(live: httpx.AsyncClient, file: StoredFile) -> dict[str, Any]:
    return await link(live, POST)


async def test_a_file_that_was_never_saved_is_delivered(
    live: httpx.AsyncClient,
    public: httpx.AsyncClient,
    sandbox: Sandbox,
    file: StoredFile,
    made: dict[str, Any],
) -> None:
    """SB7, DL3."""
    assert (made["name"], made["file_id"], made["state"]) == ("film.mkv", None, "active")
    head = await public.head(made["url"], headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.headers["content-length"]) == (200, str(SIZE))
    assert sandbox.counters.requests(**GET) == 0
    whole = await public.get(made["url"])
    assert (whole.status_code, whole.content) == (200, file.content.read(0, SIZE))
    for start, end in ((0, 1), (PART - 3, PART + 3), (SIZE - 500, SIZE)):
        part = await public.get(made["stream_url"], headers={"Range": f"bytes={start}-{end - 1}"})
        assert (part.status_code, part.content) == (206, file.content.read(start, end - start))
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
        assert part.headers["etag"] == head.headers["etag"]
    assert (await live.get("/api/v1/files")).json()["files"] == []


@pytest.mark.parametrize(
    ("message", "mime", "name", "sha256"),
    [
        (130, "image/jpeg", "Sunset over the harbour.jpg", SHA256[1008]),
        (132, "image/jpeg", "photo_2024-01-02_05-16-05_132.jpg", SHA256[1010]),  # of an album
        (141, "audio/ogg", "voice_2024-01-02_05-25-05_141.ogg", SHA256[1019]),
        (143, "image/webp", "sticker_2024-01-02_05-27-05_143.webp", SHA256[1021]),
        (124, "application/octet-stream", "one-byte.bin", SHA256[1002]),
        (135, "application/octet-stream", "second-dc.bin", SHA256[1013]),
    ],
)
async def test_every_kind_of_file(
    live: httpx.AsyncClient, public: httpx.AsyncClient, message: int, mime: str, name: str, sha256: str
) -> None:
    """SB19."""
    made = await link(live, f"https://t.me/channel/{message}")
    assert made["name"] == name
    reply = await public.get(made["url"])
    assert (reply.status_code, reply.headers["content-type"]) == (200, mime)
    assert hashlib.sha256(reply.content).hexdigest() == sha256


async def test_an_empty_file(
    live: httpx.AsyncClient, public: httpx.AsyncClient, sandbox: Sandbox, file: StoredFile
) -> None:
    """SB19."""
    empty = StoredFile(id=2003, content=ContentStream(2003, 0), name="empty.txt", dc=sandbox.dc_id)
    sandbox.world.add_file(empty)
    sandbox.world.post(sandbox.world.chats[1600000000], StoredMessage(id=6, file=empty))
    made = await link(live, "https://t.me/files/6")
    reply = await public.get(made["url"])
    assert (reply.status_code, reply.headers["content-length"], reply.content) == (200, "0", b"")
    refused = await public.get(made["url"], headers={"Range": "bytes=0-"})
    assert (refused.status_code, refused.headers["content-range"]) == (416, "bytes */0")


@pytest.mark.parametrize(
    ("url", "status", "reason"),
    [
        ("https://t.me/channel/199", 404, "does not exist"),
        ("https://t.me/channel/144", 404, "no file"),
        ("https://t.me/channel/123-125", 400, "several messages"),
        ("https://t.me/nosuchchannelatall/1", 404, ""),
        ("https://example.com/a", 400, "not a Telegram link"),
        ("", 400, "not a Telegram link"),
    ],
)
async def test_links_that_cannot_be_made(live: httpx.AsyncClient, url: str, status: int, reason: str) -> None:
    reply = await live.post("/api/v1/links", json={"telegram_url": url, "user_id": USER.id})
    error = check_error(reply, status)
    assert reason in error["message"]
    assert [each["field"] for each in error.get("details", [])] == ["telegram_url"] * (status == 400)


async def test_nobody_has_links_to_what_others_sent_to_the_bot(live: httpx.AsyncClient) -> None:
    url = f"tg://openmessage?user_id={PERSON.id}&message_id=1"
    reply = await live.post("/api/v1/links", json={"telegram_url": url, "user_id": USER.id})
    assert "another user's private chat" in check_error(reply, 403)["message"]


async def test_exactly_one_target_is_given(live: httpx.AsyncClient) -> None:
    for body in ({}, {"telegram_url": POST, "folder_id": 1}):
        check_error(await live.post("/api/v1/links", json={"user_id": USER.id, **body}), 400)


async def test_only_configured_users_have_links_to_messages(live: httpx.AsyncClient) -> None:
    check_error(await live.post("/api/v1/links", json={"telegram_url": POST, "user_id": 999}), 403)


@pytest.mark.parametrize("after", [0, 2 * PART])
@pytest.mark.parametrize("count", [1, 2])
async def test_a_file_reference_expires(
    public: httpx.AsyncClient,
    sandbox: Sandbox,
    file: StoredFile,
    made: dict[str, Any],
    after: int,
    count: int,
) -> None:
    """Before the stream and within it; once and twice in a row (SB17, DL6: L10)."""
    fault = sandbox.faults.add(f"expire,file={FILE},after={after},count={count}")
    assert (await public.get(made["url"])).content == file.content.read(0, SIZE)
    assert fault.fired == count


async def test_another_account_continues_at_the_same_byte(
    public: httpx.AsyncClient, sandbox: Sandbox, file: StoredFile, made: dict[str, Any]
) -> None:
    """It reads the message itself: the access hash and the file reference of the first one are not valid
    for it (SB17)."""
    fault = sandbox.faults.add(f"flood_wait=600,file={FILE},account=7000000001,after={3 * PART}")
    assert (await public.get(made["url"])).content == file.content.read(0, SIZE)
    assert fault.fired
    assert sandbox.counters.bytes(account=USER.id, **GET) > 3 * PART


async def test_a_body_never_ends_early(
    public: httpx.AsyncClient, sandbox: Sandbox, file: StoredFile, made: dict[str, Any]
) -> None:
    """All accounts must wait: the connection breaks off, and the client can continue later (SB17, DL6)."""
    flood = sandbox.faults.add(f"flood_wait=600,file={FILE},after={3 * PART}")
    got = b""

    async def collect() -> None:
        nonlocal got
        async with public.stream("GET", made["url"]) as reply:
            assert reply.status_code == 200
            async for piece in reply.aiter_raw():
                got += piece

    with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"):
        await collect()
    assert 0 < len(got) < SIZE
    assert got == file.content.read(0, len(got))
    refused = await public.get(made["url"], headers={"Range": f"bytes={len(got)}-"})
    assert check_error(refused, 503)["error"] == "Service unavailable"
    assert 300 < int(refused.headers["retry-after"]) <= 600
    assert flood.fired


@pytest.mark.parametrize(
    "fault", ["drop,every=3,count=3", "timeout,every=4,count=2", "short=17,every=4,count=2"]
)
async def test_temporary_faults_are_overcome(
    public: httpx.AsyncClient, sandbox: Sandbox, file: StoredFile, made: dict[str, Any], fault: str
) -> None:
    """SB17."""
    added = sandbox.faults.add(f"{fault},file={FILE}")
    assert (await public.get(made["url"])).content == file.content.read(0, SIZE)
    assert added.fired


async def test_requests_stop_when_the_client_leaves(
    public: httpx.AsyncClient, sandbox: Sandbox, file: StoredFile, made: dict[str, Any]
) -> None:
    """SB18, DL6: L2."""
    sandbox.faults.add(f"delay=30,file={FILE},after={PART}")
    async with public.stream("GET", made["url"]) as reply:
        await anext(reply.aiter_raw())
        await until(lambda: len(_fetches()) > 1)
    assert await until(lambda: not _fetches(), within=5) < 1


def _fetches() -> list[str]:
    """The requests for parts of files that this process makes."""
    tasks = (getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
    return [name for name in tasks if "fetch" in name]


async def test_a_message_that_is_deleted_or_edited_is_not_mixed(
    public: httpx.AsyncClient, sandbox: Sandbox, file: StoredFile, made: dict[str, Any]
) -> None:
    sandbox.faults.add(f"delete,file={FILE},after={3 * PART},count=1")
    with pytest.raises(httpx.RemoteProtocolError):
        await public.get(made["url"])
    check_error(await public.get(made["url"], headers={"Range": f"bytes={4 * PART}-"}), 404)


async def test_an_api_that_served_telegram_lately_is_ready_for_it_when_it_starts(
    public: httpx.AsyncClient,
    config: Config,
    store: Store,
    catalogue: Catalogue,
    made: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others do not load what reads Telegram: that costs memory."""
    start, started = Accounts.start, list[list[str]]()

    async def noted(accounts: Accounts) -> None:
        await start(accounts)
        started.append(accounts.ready)

    monkeypatch.setattr(Accounts, "start", noted)
    assert not await catalogue.links.served_telegram(0)
    assert (await public.get(made["url"])).status_code == 200
    now = await store.db.time_ms()
    assert await catalogue.links.served_telegram(now - 60_000)
    assert not await catalogue.links.served_telegram(now + 60_000)
    async with serving(create_app(config, store, catalogue)):
        await until(lambda: started, within=30, what="accounts that are ready")
    assert set(started[0]) == {"bot", "me"}
