from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4
from xml.sax.saxutils import escape

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from saveany.errors import NoSpace, StorageError, StorageUnavailable
from saveany.net import trust
from storages.base import Entry, Storage, Usage
from storages.testing import Open
from storages.testing.helpers import HOSTILE_NAMES, MIB, RELAXED, content, fill, key, load, save
from storages.webdav.names import NAMES
from storages.webdav.options import WebdavOptions
from storages.webdav.properties import Multistatus
from storages.webdav.storage import WebdavStorage
from tests.contract.suite import StorageSuite
from tests.fixtures import webdav
from tests.fixtures.certificates import certificate
from tests.fixtures.faultproxy import fault_proxy
from tests.fixtures.servers import free_port
from tests.fixtures.tcp import tcp_server
from tests.fixtures.webdav import DavServer, canned, curl


@pytest.fixture(scope="module")
def wsgidav() -> Iterator[DavServer]:
    with webdav.wsgidav() as server:
        yield server


@pytest.fixture(scope="module")
def rclone() -> Iterator[DavServer]:
    with webdav.rclone() as server:
        yield server


@pytest.fixture(scope="module")
def apache() -> Iterator[DavServer]:
    with webdav.apache() as server:
        yield server


@pytest.fixture(scope="module")
def nginx() -> Iterator[DavServer]:
    with webdav.nginx() as server:
        yield server


@pytest.fixture(scope="module")
def lighttpd() -> Iterator[DavServer]:
    with webdav.lighttpd() as server:
        yield server


class DavSuite(StorageSuite):
    @pytest.fixture
    def server(self) -> DavServer:
        raise NotImplementedError

    @pytest.fixture
    def base(self) -> str:
        return f"b{uuid4().hex[:12]}"

    @pytest.fixture
    def open_storage(self, server: DavServer, base: str) -> Open:
        return lambda: WebdavStorage(server.options(base))

    @pytest.fixture
    def everything(self, server: DavServer, base: str) -> Callable[[], set[str]]:
        return server.everything(base)

    async def test_others_read_what_we_write(self, server: DavServer, base: str, worker: Open) -> None:
        data = content(3 * MIB + 3)
        await save(worker(), "d/ä b#c.bin", data)
        command = curl(server, f"{server.url}/{base}/d/%C3%A4%20b%23c.bin")
        got = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
        assert got.stdout == data

    async def test_we_read_what_others_write(
        self, server: DavServer, base: str, worker: Open, tmp_path: Path
    ) -> None:
        data = content(MIB + 1)
        (tmp_path / "x").write_bytes(data)
        storage = worker()
        await storage.mkdir("d")
        command = curl(server, "-T", str(tmp_path / "x"), f"{server.url}/{base}/d/x%25y.bin")
        await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
        assert await load(storage, "d/x%y.bin") == data

    async def test_unencoded_names_of_other_programs(
        self, server: DavServer, base: str, storage: Storage, everything: Callable[[], set[str]]
    ) -> None:
        await storage.mkdir("")
        name = "what? 100%41 ; x.bin"
        url = f"{server.url}/{base}/{quote(name)}"
        command = curl(server, "-T", str(Path(__file__)), "-o", "/dev/null", url)
        await asyncio.to_thread(subprocess.run, command, check=True)
        assert [entry.name for entry in await storage.list("")] == [name]
        assert await load(storage, name) == Path(__file__).read_bytes()
        await storage.move(name, "a.bin")
        await asyncio.to_thread(subprocess.run, command, check=True)
        await storage.delete(name)
        assert everything() == {"a.bin"}

    async def test_usage(self, storage: Storage) -> None:
        assert await storage.usage() == Usage()

    async def test_broken_connection_is_reported(self, server: DavServer, base: str) -> None:
        async with fault_proxy(server.port) as link:
            storage = WebdavStorage(server.options(base, url=f"http://127.0.0.1:{link.port}"))
            link.cut_after = 6 * MIB
            async with await storage.begin(key(), "a.bin", 20 * MIB) as upload:
                with pytest.raises(StorageUnavailable):
                    await fill(upload, content(20 * MIB), seal=True)
            link.cut_after = None
            assert await storage.stat("a.bin") is None
            assert await storage.list("") == []
            await storage.close()

    async def test_truncated_file_is_reported(self, server: DavServer, base: str, worker: Open) -> None:
        await save(worker(), "a.bin", content(4 * MIB))
        async with fault_proxy(server.port) as link:
            link.cut_reply_after = 2 * MIB
            storage = WebdavStorage(server.options(base, url=f"http://127.0.0.1:{link.port}"))
            with pytest.raises(StorageUnavailable):
                await load(storage, "a.bin")
            await storage.close()

    async def test_common_spellings_of_an_address_are_accepted(
        self, server: DavServer, base: str, worker: Open, everything: Callable[[], set[str]]
    ) -> None:
        await worker().mkdir("Büro & 100%")
        storage = WebdavStorage(server.options("", url=f"{server.url}/{base}/Büro & 100%25"))
        await save(storage, "d/a.bin", b"x")
        assert await load(storage, "d/a.bin") == b"x"
        assert everything() == {"Büro & 100%/d/a.bin"}
        await storage.close()

    async def test_folder_removed_by_others_is_made_again(
        self, server: DavServer, base: str, storage: Storage
    ) -> None:
        await save(storage, "d/a.bin", b"a")
        await save(storage, "e/b.bin", b"b", key(item=1))
        shutil.rmtree(server.files / base / "d")
        for _ in range(2):
            with suppress(StorageError):
                await storage.move("e/b.bin", "d/b.bin")
        assert await load(storage, "d/b.bin") == b"b"

    async def test_wrong_password_is_reported(self, server: DavServer, base: str) -> None:
        storage = WebdavStorage(server.options(base, password="wr0ng"))
        with pytest.raises(StorageError, match="password") as caught:
            await storage.probe()
        assert "wr0ng" not in str(caught.value)
        await storage.close()


class TestWsgidav(DavSuite):
    @pytest.fixture
    def server(self, wsgidav: DavServer) -> DavServer:
        return wsgidav

    async def test_usage(self, storage: Storage) -> None:
        await storage.mkdir("")
        usage = await storage.usage()
        assert usage.used
        assert usage.free
        assert usage.total == usage.used + usage.free


class TestRclone(DavSuite):
    @pytest.fixture
    def server(self, rclone: DavServer) -> DavServer:
        return rclone


class TestApache(DavSuite):
    @pytest.fixture
    def server(self, apache: DavServer) -> DavServer:
        return apache

    async def test_login_happens_before_a_put(self, server: DavServer, base: str, worker: Open) -> None:
        await worker().mkdir("")
        storage = WebdavStorage(server.options(base, auth="auto"))
        await save(storage, "a.bin", content(3 * MIB))
        await storage.close()

    async def test_a_server_behind_a_tls_proxy_is_supported(
        self, server: DavServer, base: str, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        pem = certificate(tmp_path)
        request.addfinalizer(partial(trust.add, None))
        trust.add(Path(pem))
        async with fault_proxy(server.port, pem) as link:
            storage = WebdavStorage(server.options(base, url=f"https://127.0.0.1:{link.port}"))
            await save(storage, "d/a.bin", b"x")
            assert await load(storage, "d/a.bin") == b"x"
            await storage.close()

    @pytest.mark.parametrize("auth", ["auto", "digest"])
    async def test_put_is_never_challenged(self, server: DavServer, base: str, auth: str) -> None:
        """A stream cannot be sent twice, so an expired nonce is replaced in advance."""
        storage = WebdavStorage(server.options(base, auth=auth))
        async with await storage.begin(key(), "a.bin", 3 * MIB) as upload:
            login = storage._login._known["digest"]
            assert isinstance(login, httpx.DigestAuth)
            assert login._last_challenge
            login._last_challenge = login._last_challenge._replace(nonce=b"bm9uY2U=" + b"0" * 40)
            await fill(upload, content(3 * MIB))
            await upload.commit("a.bin", 3 * MIB, replace=False)
        assert await storage.size("a.bin") == 3 * MIB
        await storage.close()


class TestLighttpd(DavSuite):
    @pytest.fixture
    def server(self, lighttpd: DavServer) -> DavServer:
        return lighttpd


class TestNginx(DavSuite):
    @pytest.fixture
    def server(self, nginx: DavServer) -> DavServer:
        return nginx

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    async def test_unusual_names_are_kept(
        self, storage: Storage, name: str, everything: Callable[[], set[str]]
    ) -> None:
        if not name.startswith("."):
            await super().test_unusual_names_are_kept(storage, name, everything)
            return
        await save(storage, name, b"x")  # nginx lists no such names
        assert await load(storage, name) == b"x"
        assert everything() == {name}

    async def test_file_above_the_limit_of_the_server_is_reported(self, server: DavServer, base: str) -> None:
        storage = WebdavStorage(server.options(base))
        async with await storage.begin(key(), "a.bin", 65 * MIB) as upload:
            with pytest.raises(StorageError, match="client_max_body_size"):
                await fill(upload, bytes(65 * MIB), seal=True)
        await storage.close()


async def ask(url: str, **more: str) -> Entry | None:
    fields = {"name": "dav", "type": "webdav", "url": url, **more}
    storage = WebdavStorage(WebdavOptions.model_validate(fields))
    try:
        return await storage.stat("a b.bin")
    finally:
        await storage.close()


def response(href: str, size: int = 5) -> str:
    return (
        f"<d:response><d:href>{escape(href)}</d:href><d:propstat><d:prop><d:resourcetype/>"
        f"<d:getcontentlength>{size}</d:getcontentlength></d:prop></d:propstat></d:response>"
    )


def multistatus(*responses: str, before: str = "") -> bytes:
    head = f'<?xml version="1.0"?>{before}<d:multistatus xmlns:d="DAV:">'
    return f"{head}{''.join(responses)}</d:multistatus>".encode()


@pytest.mark.parametrize(
    "href",
    ["/a%20b.bin", "/a b.bin", "https://other.example/dav/a%20b.bin", "http://x/a b.bin", "a%20b.bin/"],
)
async def test_every_spelling_of_an_href_is_understood(href: str) -> None:
    async with canned(207, multistatus(response(href))) as url:
        entry = await ask(url)
    assert entry == Entry("a b.bin", "a b.bin", 5, False, 0)


@RELAXED
@given(
    names=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1), unique=True),
    step=st.integers(1, 50),
)
def test_names_survive_a_listing(names: list[str], step: int) -> None:
    names = [name for name in names if name not in (".", "..")]
    hrefs = [f"/base/{quote(NAMES.encode(name), safe='')}" for name in names]
    data, listing = multistatus(response("/base/"), *map(response, hrefs)), Multistatus()
    for start in range(0, len(data), step):
        listing.feed(data[start : start + step])
    listing.feed(b"", last=True)
    assert [each.name for each in listing.found[1:]] == names
    assert {each.depth - listing.found[0].depth for each in listing.found[1:]} <= {1}


@pytest.mark.parametrize(
    "body",
    [
        multistatus(response("/a"), before='<!DOCTYPE x [<!ENTITY a "aaaa">]>'),
        b"<html><p>Welcome</html>",
        b"",
        multistatus(response("/a"))[:-20],
    ],
)
async def test_other_service_than_webdav_is_reported(body: bytes) -> None:
    async with canned(207, body) as url:
        with pytest.raises(StorageError, match="not WebDAV"):
            await ask(url)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (301, StorageError, "https://files.example/dav; correct url"),
        (403, StorageError, "permissions of the user"),
        (405, StorageError, "does not support WebDAV"),
        (418, StorageError, "418"),
        (429, StorageUnavailable, "too many requests"),
        (502, StorageUnavailable, "502"),
        (507, NoSpace, "free some space"),
    ],
)
async def test_errors_of_the_server_are_reported(status: int, kind: type[StorageError], words: str) -> None:
    headers = {"Location": "https://me:secret@files.example/dav?key=secret"}
    async with canned(status, b"no", headers) as url:
        with pytest.raises(kind, match=words) as caught:
            await ask(url)
    assert "secret" not in str(caught.value)
    assert "dav" in str(caught.value)


async def test_probe_reports_a_server_that_cannot_move(
    monkeypatch: pytest.MonkeyPatch, wsgidav: DavServer
) -> None:
    storage = WebdavStorage(wsgidav.options(f"b{uuid4().hex}"))
    send = storage._send

    async def without(method: str, *args: Any, **kwargs: Any) -> int:
        if method == "MOVE":
            raise StorageError("405")
        return await send(method, *args, **kwargs)

    monkeypatch.setattr(storage, "_send", without)
    with pytest.raises(StorageError, match="405"):
        await storage.probe()
    assert await storage._scan("") == []
    await storage.close()


async def test_server_that_is_down_is_reported() -> None:
    with pytest.raises(StorageUnavailable, match="refused"):
        await ask(f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    "url",
    [
        "files.example",
        "http://me:secret@files.example",
        "ftp://files.example",
        "http://",
        "http://files.example:port",
        "http://files.example/?dir=/films",
        "http://files.example/#/films",
    ],
)
async def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        await ask(url)


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ("<d:quota-used-bytes>7</d:quota-used-bytes>", Usage(7, None, None)),
        (
            "<d:quota-used-bytes>7</d:quota-used-bytes><d:quota-available-bytes>-3</d:quota-available-bytes>",
            Usage(7, None, None),
        ),
        (
            "<d:quota-used-bytes>7</d:quota-used-bytes><d:quota-available-bytes>5</d:quota-available-bytes>",
            Usage(7, 5, 12),
        ),
    ],
)
async def test_quotas_are_understood(body: str, usage: Usage) -> None:
    answer = multistatus(
        f"<d:response><d:href>/</d:href><d:propstat><d:prop>{body}</d:prop></d:propstat></d:response>"
    )
    async with canned(207, answer) as url:
        storage = WebdavStorage(WebdavOptions(name="dav", type="webdav", url=url))
        assert await storage.usage() == usage
        await storage.close()


@pytest.mark.parametrize(
    ("repeated", "most", "words"),
    [
        (b"<response><href>/a</href></response>", 1 << 20, "does not end"),
        (b"x" * 4096, 1 << 30, "not WebDAV"),
    ],
    ids=["files", "text"],
)
async def test_an_endless_listing_is_aborted(
    repeated: bytes, most: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither read nor kept."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 207 Multi-Status\r\nConnection: close\r\n\r\n")
        writer.write(b'<multistatus xmlns="DAV:"><response><href>')
        if repeated.startswith(b"<"):
            writer.write(b"/</href></response>")
        while True:
            writer.write(repeated * 64)
            await writer.drain()

    monkeypatch.setattr("storages.webdav.storage._MAX_LISTING", most)
    async with tcp_server(answer) as server:
        options = WebdavOptions.model_validate({"name": "dav", "type": "webdav", "url": server.url("/")})
        storage = WebdavStorage(options)
        with pytest.raises(StorageError, match=words):
            await storage.list("", after="", limit=10)
        await storage.close()


@pytest.mark.parametrize("location", ["http://xn--a/", "http://a:b/", "http://[", "//"])
async def test_a_redirect_to_an_invalid_url_is_reported(location: str) -> None:
    async with canned(302, b"", {"Location": location}) as url:
        storage = WebdavStorage(WebdavOptions(name="cloud", type="webdav", url=url))
        with pytest.raises(StorageError):
            await storage.probe()
        await storage.close()
