"""Uploads that can be resumed, by tus 1.0 and all extensions that the server lists."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from fastapi import FastAPI

from saveany.api.app import create_app
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.errors import StoreUnavailable
from saveany.service import OPERATOR, Principal
from saveany.store import Store
from tests.fixtures.tcp import connection
from tests.fixtures.waiting import until
from tests.integration.api.conftest import TOKEN, USER, check_error
from tests.integration.api.test_uploads import port_of, uploads

URL = "/api/v1/uploads"
DATA = bytes(range(256)) * 1000
VERSION = {"Tus-Resumable": "1.0.0"}


def metadata(**pairs: str) -> dict[str, str]:
    encoded = (f"{name} {base64.b64encode(text.encode()).decode()}" for name, text in pairs.items())
    return {"Upload-Metadata": ",".join(encoded)}


class TusClient:
    """One upload."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.url = ""

    async def begin(self, length: int = len(DATA), **pairs: str) -> httpx.Response:
        headers = VERSION | {"Upload-Length": str(length)} | metadata(**{"filename": "film.mkv", **pairs})
        reply = await self._client.post(URL, headers=headers)
        self.url = urljoin(URL, reply.headers.get("location", ""))
        return reply

    async def offset(self) -> int:
        reply = await self._client.head(self.url, headers=VERSION)
        assert reply.status_code == 200
        assert reply.headers["cache-control"] == "no-store"
        return int(reply.headers["upload-offset"])

    async def send(self, offset: int, content: Any, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._client.patch(
            self.url,
            content=content,
            headers=VERSION
            | {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
            | named,
        )

    @property
    def id(self) -> str:
        return self.url.rpartition("/")[2]


@pytest.fixture
def tus(client: httpx.AsyncClient) -> TusClient:
    return TusClient(client)


def stored(data_dir: Path, id_: str) -> bytes:
    return (data_dir / "uploads" / id_).read_bytes()


async def test_the_server_says_what_it_can(client: httpx.AsyncClient) -> None:
    reply = await client.options(URL)
    assert reply.status_code == 204
    assert reply.headers["tus-version"] == reply.headers["tus-resumable"] == "1.0.0"
    assert reply.headers["tus-max-size"] == "1000000"
    assert "creation-with-upload" in reply.headers["tus-extension"]
    assert "sha1" in reply.headers["tus-checksum-algorithm"]


async def test_an_upload_in_parts_becomes_a_task(tus: TusClient, store: Store, data_dir: Path) -> None:
    reply = await tus.begin(filetype="video/x-matroska", folder="films", storage="local2", user_id=str(USER))
    assert reply.status_code == 201
    assert "upload-expires" in reply.headers
    assert await store.tasks.get(tus.id) is None
    for offset in range(0, len(DATA), 100_000):
        reply = await tus.send(offset, DATA[offset : offset + 100_000])
        assert reply.status_code == 204, reply.text
        assert reply.headers["tus-resumable"] == "1.0.0"
        assert await tus.offset() == int(reply.headers["upload-offset"])
    assert reply.headers["task-id"] == tus.id
    task = await store.tasks.get(tus.id)
    assert task is not None
    spec = task.spec
    assert (spec.user_id, spec.storage, spec.path) == (USER, "local2", "films")
    assert (spec.params["name"], spec.params["mime"]) == ("film.mkv", "video/x-matroska")
    assert stored(data_dir, tus.id) == DATA


async def test_all_of_it_may_come_with_the_creation(
    client: httpx.AsyncClient,
    store: Store,
    data_dir: Path,
) -> None:
    headers = {"Upload-Length": str(len(DATA)), "Content-Type": "application/offset+octet-stream"}
    reply = await client.post(URL, headers=VERSION | headers | metadata(filename="a"), content=DATA)
    assert (reply.status_code, reply.headers["upload-offset"]) == (201, str(len(DATA)))
    task = await store.tasks.get(reply.headers["task-id"])
    assert task is not None
    assert task.spec.params["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert stored(data_dir, task.id) == DATA


async def test_an_empty_file_is_complete_at_once(tus: TusClient, store: Store) -> None:
    assert (await tus.begin(0)).status_code == 201
    assert await store.tasks.get(tus.id)


async def test_what_arrived_before_the_connection_broke_is_kept(
    tus: TusClient,
    live: httpx.AsyncClient,
    server: Any,
    data_dir: Path,
    store: Store,
) -> None:
    tus = TusClient(live)
    await tus.begin()
    head = (
        f"PATCH {tus.url} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {TOKEN}\r\nTus-Resumable: 1.0.0\r\n"
        "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
        f"Content-Length: {len(DATA)}\r\n\r\n"
    )
    async with connection("127.0.0.1", port_of(server)) as (_, writer):
        writer.write(head.encode() + DATA[:70_000])
        await writer.drain()

    async def has_arrived() -> bool:
        return await tus.offset() == 70_000

    await until(has_arrived)
    assert (await tus.send(70_000, DATA[70_000:])).status_code == 204
    assert stored(data_dir, tus.id) == DATA
    assert await store.tasks.get(tus.id)


async def test_a_wrong_offset_changes_nothing(tus: TusClient) -> None:
    await tus.begin()
    await tus.send(0, DATA[:1000])
    for offset in (0, 999, 1001):
        check_error(await tus.send(offset, b"x"), 409)
    assert await tus.offset() == 1000


async def test_more_than_was_stated_is_refused(tus: TusClient, data_dir: Path) -> None:
    await tus.begin(10)
    check_error(await tus.send(0, b"x" * 11), 413)
    assert await tus.offset() in range(11)


async def test_a_checksum_is_compared(tus: TusClient, data_dir: Path) -> None:
    def checksum(algorithm: str, data: bytes) -> str:
        return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"

    await tus.begin()
    assert (await tus.send(0, DATA[:500], Upload_Checksum=checksum("sha1", DATA[:500]))).status_code == 204
    check_error(await tus.send(500, DATA[500:900], Upload_Checksum=checksum("sha256", b"other")), 460)
    assert await tus.offset() == 500
    check_error(await tus.send(500, b"x", Upload_Checksum="crc32 AAAA"), 400)
    check_error(await tus.send(500, b"x", Upload_Checksum="sha1 ?"), 400)
    rest = DATA[500:]
    assert (await tus.send(500, rest, Upload_Checksum=checksum("md5", rest))).status_code == 204
    assert stored(data_dir, tus.id) == DATA


async def test_requests_that_are_not_tus_are_refused(client: httpx.AsyncClient, tus: TusClient) -> None:
    reply = await client.post(URL, headers={"Upload-Length": "5"})
    assert (reply.status_code, reply.headers["tus-version"]) == (412, "1.0.0")
    for headers in (
        {},
        {"Upload-Length": "-1"},
        {"Upload-Length": "9" * 30},
        {"Upload-Length": "5", "Upload-Metadata": "filename ä"},
        {"Upload-Length": "5", "Upload-Metadata": "a YQ==,a YQ=="},
        {"Upload-Length": "5"} | metadata(user_id="x"),
        {"Upload-Length": "5"} | metadata(user_id="0" * 19 + "9" * 5000),
        {"Upload-Length": "5"} | metadata(on_conflict="x"),
        {"Upload-Length": "5"} | metadata(folder="../x"),
    ):
        sent: dict[str, str] = VERSION | headers
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
        check_error(await client.post(URL, headers=encoded), 400)
    await tus.begin()
    reply = await client.patch(tus.url, content=b"x", headers=VERSION | {"Upload-Offset": "0"})
    check_error(reply, 415)
    check_error(await client.patch(tus.url, content=b"x", headers={"Upload-Offset": "0"}), 412)


@pytest.mark.parametrize(
    ("length", "pairs", "status"),
    [(1_000_001, {}, 413), (5, {"storage": "nowhere"}, 404), (5, {"user_id": "7"}, 403)],
)
async def test_what_cannot_be_saved_is_refused_at_once(
    tus: TusClient,
    data_dir: Path,
    length: int,
    pairs: dict[str, str],
    status: int,
) -> None:
    check_error(await tus.begin(length, **pairs), status)
    assert uploads(data_dir) == set()


async def test_an_upload_can_be_given_up(
    client: httpx.AsyncClient,
    tus: TusClient,
    data_dir: Path,
) -> None:
    await tus.begin()
    await tus.send(0, DATA[:1000])
    assert (await client.delete(tus.url, headers=VERSION)).status_code == 204
    assert uploads(data_dir) == set()
    for method in ("HEAD", "DELETE"):
        assert (await client.request(method, tus.url, headers=VERSION)).status_code == 404
    check_error(await tus.send(1000, b"x"), 404)


@pytest.mark.parametrize("name", ["x", "..", "0" * 20, "%2e%2e%2fcatalogue.db", "0" * 5000])
async def test_unknown_uploads(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.head(f"{URL}/{name}", headers=VERSION)).status_code in (404, 405)


async def test_clients_without_patch_can_use_post(
    client: httpx.AsyncClient, tus: TusClient, store: Store
) -> None:
    await tus.begin(5)
    headers = VERSION | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    reply = await client.post(
        tus.url, content=b"12345", headers=headers | {"X-HTTP-Method-Override": "PATCH"}
    )
    assert reply.status_code == 204
    assert await store.tasks.get(tus.id)
    check_error(await client.post(tus.url, headers=VERSION), 404)


async def test_two_requests_cannot_write_at_the_same_time(
    tus: TusClient, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tus.begin()
    begun, go = asyncio.Event(), asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        yield DATA[:1000]
        begun.set()
        await go.wait()
        yield DATA[1000:]

    monkeypatch.setattr("saveany.service.uploads._BUSY_SECONDS", 0.0)
    first = asyncio.create_task(tus.send(0, content()))
    await begun.wait()
    check_error(await tus.send(0, DATA), 423)
    go.set()
    assert (await first).status_code == 204
    assert stored(data_dir, tus.id) == DATA


async def test_the_length_may_be_told_later(
    client: httpx.AsyncClient, tus: TusClient, store: Store, data_dir: Path
) -> None:
    """For what is made while it is sent: its length comes with the last part."""
    reply = await client.post(
        URL, headers=VERSION | {"Upload-Defer-Length": "1"} | metadata(filename="a.bin")
    )
    assert reply.status_code == 201
    tus.url = urljoin(URL, reply.headers["location"])
    assert (await tus.send(0, DATA[:1000])).headers["upload-offset"] == "1000"
    head = await client.head(tus.url, headers=VERSION)
    assert (head.headers["upload-defer-length"], "upload-length" in head.headers) == ("1", False)
    check_error(await tus.send(1000, b"", Upload_Length="999"), 400)
    check_error(await tus.send(1000, b"", Upload_Length=str(10**12)), 413)
    assert await store.tasks.get(tus.id) is None
    reply = await tus.send(1000, DATA[1000:], Upload_Length=str(len(DATA)))
    assert reply.headers["task-id"] == tus.id
    assert stored(data_dir, tus.id) == DATA
    assert (await client.head(tus.url, headers=VERSION)).headers["upload-length"] == str(len(DATA))


async def test_a_length_that_was_stated_while_a_request_waited_counts_for_it(
    client: httpx.AsyncClient, tus: TusClient, monkeypatch: pytest.MonkeyPatch, app: FastAPI
) -> None:
    reply = await client.post(URL, headers=VERSION | {"Upload-Defer-Length": "1"})
    tus.url = urljoin(URL, reply.headers["location"])
    before = await app.state.services.uploads.get(OPERATOR, tus.id)
    assert (await tus.send(0, b"ab", Upload_Length="5")).status_code == 204

    async def get(principal: Principal, id_: str) -> Any:
        return before

    with monkeypatch.context() as patch:
        patch.setattr(app.state.services.uploads, "get", get)
        check_error(await tus.send(2, DATA), 413)
        check_error(await tus.send(2, b"", Upload_Length="6"), 400)
    assert await tus.offset() == 2


async def test_an_upload_of_unknown_length_has_the_limit_of_all(
    client: httpx.AsyncClient, tus: TusClient, monkeypatch: pytest.MonkeyPatch, app: FastAPI
) -> None:
    monkeypatch.setattr(app.state.services.uploads, "max_bytes", 1000)
    reply = await client.post(URL, headers=VERSION | {"Upload-Defer-Length": "1"})
    tus.url = urljoin(URL, reply.headers["location"])
    check_error(await tus.send(0, DATA[:1001]), 413)


async def test_an_upload_continues_with_another_process(
    tus: TusClient,
    config: Config,
    store: Store,
    catalogue: Catalogue,
    data_dir: Path,
) -> None:
    await tus.begin()
    await tus.send(0, DATA[:100_000])
    transport = httpx.ASGITransport(create_app(config, store, catalogue))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
        other = TusClient(client)
        other.url = tus.url
        assert await other.offset() == 100_000
        assert (await other.send(100_000, DATA[100_000:])).status_code == 204
    assert stored(data_dir, tus.id) == DATA
    task = await store.tasks.get(tus.id)
    assert task is not None
    assert "sha256" not in task.spec.params  # no process has seen all of it; the worker computes it


async def test_an_outage_at_the_end_loses_nothing(
    app: FastAPI,
    tus: TusClient,
    store: Store,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await tus.begin()
    with monkeypatch.context() as patch:

        async def fail(*args: Any, **options: Any) -> None:
            raise StoreUnavailable

        patch.setattr(app.state.services.tasks, "submit", fail)
        check_error(await tus.send(0, DATA), 503)
    await app.state.services.uploads.tidy()
    assert await store.tasks.get(tus.id)
    assert await tus.offset() == len(DATA)
    assert stored(data_dir, tus.id) == DATA


async def test_unfinished_uploads_expire(
    app: FastAPI,
    tus: TusClient,
    client: httpx.AsyncClient,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await tus.begin()
    await tus.send(0, DATA[:1000])
    service = app.state.services.uploads
    await service.tidy()
    assert await tus.offset() == 1000
    monkeypatch.setattr("saveany.service.uploads.EXPIRE_SECONDS", -1.0)
    monkeypatch.setattr("saveany.uploads.folder._age", lambda path: 1e5 if path.exists() else None)
    assert (await client.head(tus.url, headers=VERSION)).status_code == 404
    await service.tidy()
    assert uploads(data_dir) == set()


async def test_the_record_of_a_finished_upload_expires_and_its_file_stays(
    app: FastAPI,
    tus: TusClient,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await tus.begin(5)
    await tus.send(0, b"12345")
    monkeypatch.setattr("saveany.service.uploads.EXPIRE_SECONDS", -1.0)
    await app.state.services.uploads.tidy()
    assert uploads(data_dir) == {tus.id}
