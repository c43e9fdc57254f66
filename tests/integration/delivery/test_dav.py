"""The drive: the files of a user as a read-only WebDAV."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from xml.etree.ElementTree import Element, fromstring

import httpx
import pytest
from msgspec.structs import replace

from saveany.api.app import create_app
from saveany.api.server import ApiServer
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.dav import reading
from saveany.delivery import delivery
from saveany.models import Item, ItemStatus, Progress, Status
from saveany.store import Store
from tests.fixtures.waiting import until
from tests.integration.api.conftest import TOKEN, USER, claim, create, serving, url_of
from tests.integration.api.keys import make_key

OTHER = 42
MOVIE = bytes(range(256)) * 4096
NAMES = [
    "100% & <more> #1 + x; y=z?.mkv",
    unicodedata.normalize("NFC", "Ärger im Büro 日本.mkv"),
    'quote\'s "double" [x].txt',
]
KEYS = {
    name: {"name": name, "secret": f"{name}-key-0123456789abc", "user_id": user, "scopes": [scope]}
    for name, user, scope in (("reader", USER, "read"), ("other", OTHER, "read"), ("tasks", USER, "tasks"))
}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate(
        {
            "api": {"token": TOKEN, "keys": list(KEYS.values()), "public_url": "https://a.example/files"},
            "dav": {"enable": True},
            "data_dir": str(tmp_path / "data"),
            "users": [{"id": USER}, {"id": OTHER}],
            "storages": [
                {"name": name, "type": "local", "base_path": str(tmp_path / name)}
                for name in ("local1", "local2", "local3")
            ],
        }
    )


async def save(
    live: httpx.AsyncClient, store: Store, folder: Path, files: dict[str, bytes], user: int = USER
) -> None:
    """Save files of a user in one task, by path, which begins with the storage."""
    await create(live, user_id=user, dir_path="")
    claimed = await claim(store)
    items: list[Item] = []
    for place, data in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(data)
        storage, _, path = place.partition("/")
        name, digest = path.rpartition("/")[2], hashlib.sha256(data).hexdigest()
        found: dict[str, Any] = {"path": path, "final": path, "storage": storage, "sha256": digest}
        items.append(Item(index=len(items), name=name, size=len(data), **found))
    await claimed.plan("title", items, Progress(), [])
    done = [replace(item, status=ItemStatus.COMPLETED) for item in items]
    await claimed.finish(Status.COMPLETED, items=done)


def drive(server: ApiServer, key: str = "reader") -> httpx.AsyncClient:
    """Requests to the drive with a key."""
    secret = str(KEYS[key]["secret"])
    return httpx.AsyncClient(base_url=url_of(server), auth=("anybody", secret), timeout=30)


async def propfind(client: httpx.AsyncClient, path: str, body: str = "", depth: str = "1") -> Element:
    reply = await client.request("PROPFIND", path, content=body, headers={"Depth": depth})
    assert reply.status_code == 207, reply.text
    assert reply.headers["content-type"] == "application/xml; charset=utf-8"
    return fromstring(reply.content)


def hrefs(multistatus: Element) -> list[str]:
    return [each.text or "" for each in multistatus.iterfind("{DAV:}response/{DAV:}href")]


def properties(multistatus: Element, status: str = "200") -> dict[str, dict[str, str]]:
    """By the last name of each address, the properties with this status and their texts."""
    return {
        unquote(response.findtext("{DAV:}href", "").rstrip("/").rpartition("/")[2]): {
            each.tag: each.text or ""
            for stat in response.iterfind("{DAV:}propstat")
            if f" {status} " in stat.findtext("{DAV:}status", "")
            for each in stat.iterfind("{DAV:}prop/*")
        }
        for response in multistatus.iterfind("{DAV:}response")
    }


@pytest.fixture
async def saved(live: httpx.AsyncClient, store: Store, tmp_path: Path) -> None:
    """Files of two users."""
    files = {f"local1/films/{name}": name.encode() for name in NAMES}
    same = {"local1/films/same.mkv": b"first", "local2/films/same.mkv": b"second", "local3/films": b"a file"}
    await save(live, store, tmp_path, {"local1/movie.mp4": MOVIE, **files, **same})
    await save(live, store, tmp_path, {"local1/private/secret.txt": b"of the other"}, user=OTHER)


@pytest.mark.usefixtures("saved")
async def test_folders_are_listed_and_every_address_leads_to_its_file(server: ApiServer) -> None:
    async with drive(server) as client:
        top = properties(await propfind(client, "/dav"))
        assert {name.partition(" [")[0] for name in top} == {"dav", "films", "movie.mp4"}
        assert len(top) == 4
        movie = top["movie.mp4"]
        found = await propfind(client, "/dav/films/")
        contents = {href: (await client.get(href)).content for href in hrefs(found)[1:]}
        assert sorted(contents.values()) == sorted([b"first", b"second", *(name.encode() for name in NAMES)])
        assert {unquote(href.rpartition("/")[2]) for href in contents} >= {*NAMES, "same.mkv"}
        (file,) = (href for href in hrefs(await propfind(client, "/dav")) if "films%20%5B" in href)
        assert (await client.get(file)).content == b"a file"  # it has the name of the folder
        for form in ("NFC", "NFD"):
            name = unicodedata.normalize(form, NAMES[1])
            assert (await client.get(f"/dav/films/{quote(name)}")).content == NAMES[1].encode()
        only = await propfind(client, "/dav/movie.mp4", depth="0")
        assert properties(only) == {"movie.mp4": movie}
        assert await propfind(client, "/dav/movie.mp4", depth="infinity") is not None  # it is no folder
        reply = await client.get("/dav/movie.mp4")
        assert reply.content == MOVIE
        assert movie["{DAV:}getcontentlength"] == str(len(MOVIE))
        for name, header in (
            ("etag", "ETag"),
            ("lastmodified", "Last-Modified"),
            ("contenttype", "Content-Type"),
        ):
            assert movie[f"{{DAV:}}get{name}"] == reply.headers[header]
        assert movie["{DAV:}creationdate"].endswith("Z")


@pytest.mark.usefixtures("saved")
async def test_files_are_read_in_ranges_and_not_again_if_they_are_known(server: ApiServer) -> None:
    async with drive(server) as client:
        whole = await client.head("/dav/movie.mp4")
        assert (whole.headers["content-length"], whole.content) == (str(len(MOVIE)), b"")
        known, date = whole.headers["etag"], whole.headers["last-modified"]
        for header, expected in (("bytes=300-309", MOVIE[300:310]), ("bytes=-7", MOVIE[-7:])):
            part = await client.get("/dav/movie.mp4", headers={"Range": header, "If-Range": known})
            assert (part.status_code, part.content) == (206, expected)
        beyond = await client.get("/dav/movie.mp4", headers={"Range": f"bytes={len(MOVIE)}-"})
        assert beyond.status_code == 416
        changed = await client.get("/dav/movie.mp4", headers={"Range": "bytes=0-1", "If-Range": '"x"'})
        assert (changed.status_code, changed.content) == (200, MOVIE)
        for condition in ({"If-None-Match": known}, {"If-Modified-Since": date}):
            assert (await client.get("/dav/movie.mp4", headers=condition)).status_code == 304


@pytest.mark.usefixtures("saved")
async def test_only_a_key_that_may_read_opens_the_drive_of_its_user(server: ApiServer) -> None:
    async with drive(server, "other") as client:
        assert list(properties(await propfind(client, "/dav/"))) == ["dav", "private"]
        assert (await client.get("/dav/private/secret.txt")).content == b"of the other"
        for path in ("/dav/movie.mp4", "/dav/films/same.mkv"):
            assert (await client.get(path)).status_code == 404
            assert (await client.request("PROPFIND", path, headers={"Depth": "0"})).status_code == 404
    async with drive(server, "tasks") as client:
        refused = await client.request("PROPFIND", "/dav", headers={"Depth": "1"})
        assert (refused.status_code, "scope read" in refused.text) == (403, True)
    async with httpx.AsyncClient(base_url=url_of(server)) as client:
        bearer = {"Authorization": f"Bearer {KEYS['reader']['secret']}"}
        for sent in ({}, {"auth": ("x", "wrong")}, {"auth": ("x", TOKEN)}, {"headers": bearer}):
            for path in ("/dav/movie.mp4", "/dav/none"):
                reply = await client.get(path, **sent)
                assert reply.status_code == 401
                assert reply.headers["www-authenticate"].startswith('Basic realm="')
        # Windows asks for the options of the address above first, without a password.
        for path in ("/", "/dav", "/dav/movie.mp4"):
            options = await client.options(path)
            assert options.status_code == 200
            assert (options.headers["dav"], options.headers["ms-author-via"]) == ("1", "DAV")
            assert options.headers["allow"] == "OPTIONS, GET, HEAD, PROPFIND"


@pytest.mark.usefixtures("saved")
async def test_nothing_can_be_changed_and_bad_requests_are_refused(server: ApiServer, tmp_path: Path) -> None:
    before = sorted(str(path) for path in tmp_path.rglob("*") if "data" not in path.parts)
    async with drive(server) as client:
        for method in ("PUT", "DELETE", "MKCOL", "COPY", "MOVE", "PROPPATCH"):
            reply = await client.request(method, "/dav/films", content=b"x" * 100)
            assert (reply.status_code, reply.text) == (403, "the drive can only be read\n")
        for method in ("POST", "LOCK", "UNLOCK", "REPORT", "TRACE"):
            reply = await client.request(method, "/dav/films")
            assert reply.status_code == 405
            assert reply.headers["allow"] == "OPTIONS, GET, HEAD, PROPFIND"
        for depth in ({}, {"Depth": "infinity"}):
            reply = await client.request("PROPFIND", "/dav", headers=depth)
            assert reply.status_code == 403
            assert fromstring(reply.content).find("{DAV:}propfind-finite-depth") is not None
        for path in (
            "/dav/none",
            "/dav/films/none/none",
            "/dav/films/._same.mkv",
            "/dav/.DS_Store",
            "/dav/%FF",
            "/dav/..%2f..%2fetc",
            "/dav/films%2Fsame.mkv",
            "/dav/a%00",
        ):
            assert (await client.get(path)).status_code == 404
            assert (await client.request("PROPFIND", path, headers={"Depth": "0"})).status_code == 404
        assert (await client.get("/dav/films")).status_code == 200
        assert (await client.request("PROPFIND", "/dav", headers={"Depth": "2"})).status_code == 400
    assert sorted(str(path) for path in tmp_path.rglob("*") if "data" not in path.parts) == before


BOMB = """<?xml version="1.0"?><!DOCTYPE propfind [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>
<propfind xmlns="DAV:"><prop><x>&b;</x></prop></propfind>"""
BAD_BODIES = [
    BOMB,
    '<!DOCTYPE p SYSTEM "file:///etc/passwd"><propfind xmlns="DAV:"><allprop/></propfind>',
    '<?xml version="1.0" encoding="no-such"?><propfind xmlns="DAV:"><allprop/></propfind>',
    "<propfind><allprop/></propfind>",
    '<propfind xmlns="DAV:"/>',
    '<propfind xmlns="DAV:"><allprop/><propname/></propfind>',
    '<propfind xmlns="DAV:"><prop><bar:foo xmlns:bar=""/></prop></propfind>',
    '<propfind xmlns="DAV:"><prop>',
    '<propfind xmlns="DAV:"><prop>' + "".join(f"<x{n}/>" for n in range(300)) + "</prop></propfind>",
    "not XML",
]


@pytest.mark.usefixtures("saved")
async def test_properties_are_those_that_were_asked_for(server: ApiServer) -> None:
    async with drive(server) as client:
        asked = """<?xml version="1.0" encoding="utf-8"?>
            <a:propfind xmlns:a="DAV:" xmlns:b="urn:&quot;&amp;&lt;"><a:prop>
            <a:displayname/><a:getcontentlength/><a:quota-used-bytes/><b:Win32FileAttributes/><c xmlns=""/>
            </a:prop></a:propfind>"""
        found = await propfind(client, "/dav/films", asked)
        assert properties(found)[NAMES[0]] == {
            "{DAV:}displayname": NAMES[0],
            "{DAV:}getcontentlength": str(len(NAMES[0])),
        }
        missing = {"{DAV:}quota-used-bytes", '{urn:"&<}Win32FileAttributes', "c"}
        assert properties(found, "404")[NAMES[0]].keys() == missing
        assert properties(found, "404")["films"].keys() == missing | {"{DAV:}getcontentlength"}
        names = await propfind(client, "/dav", '<propfind xmlns="DAV:"><propname/></propfind>')
        values = await propfind(client, "/dav", '<propfind xmlns="DAV:"><allprop/></propfind>')
        assert values.find(".//{DAV:}collection") is not None
        movie = properties(values)["movie.mp4"]
        assert properties(names)["movie.mp4"] == dict.fromkeys(movie, "")
        assert all(value for name, value in movie.items() if name != "{DAV:}resourcetype")
        for body in BAD_BODIES:
            reply = await client.request("PROPFIND", "/dav", content=body, headers={"Depth": "1"})
            assert (reply.status_code, reply.headers["content-type"][:10]) == (400, "text/plain"), body
        large = f'<propfind xmlns="DAV:"><allprop/><!--{"x" * 40_000}--></propfind>'
        reply = await client.request("PROPFIND", "/dav", content=large, headers={"Depth": "1"})
        assert reply.status_code == 413


@pytest.mark.usefixtures("saved")
async def test_addresses_have_what_a_proxy_has_removed_from_them(server: ApiServer) -> None:
    """`api.public_url` has a path, which the proxy removes; others use the API directly."""
    async with drive(server) as client:
        for host, start in (("a.example", "/files/dav/"), ("b.example", "/dav/")):
            headers = {"Host": host, "Depth": "1"}
            reply = await client.request("PROPFIND", "/dav", headers=headers)
            assert all(href.startswith(start) for href in hrefs(fromstring(reply.content)))
            assert reply.headers["content-location"] == start
            # Windows and gvfs look at what is above it.
            above = await client.request("PROPFIND", "/", headers=headers)
            assert hrefs(fromstring(above.content)) == [start.removesuffix("dav/"), start]
            assert (await client.request("PROPFIND", "/", headers={"Host": host})).status_code == 403
            assert (await client.request("PROPFIND", "/", auth=("", ""))).status_code == 401


async def test_the_limits_of_links_apply(
    config: Config,
    live: httpx.AsyncClient,
    store: Store,
    catalogue: Catalogue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "_COUNT_SECONDS", 0.1)
    await save(live, store, tmp_path, {"local1/large.bin": MOVIE * 32})
    limits = {"links": {"connections_per_link": 1, "monthly_gb": 1}}
    app = create_app(Config.model_validate(config.model_dump() | limits), store, catalogue)
    async with serving(app) as server, drive(server) as client:
        async with client.stream("GET", "/dav/large.bin") as reply:
            assert reply.status_code == 200
            second = await client.get("/dav/large.bin", headers={"Range": "bytes=0-1"})
            assert (second.status_code, second.headers["retry-after"]) == (429, "5")
            assert (await client.head("/dav/large.bin")).status_code == 200

        async def is_free() -> bool:
            return (await client.get("/dav/large.bin")).content == MOVIE * 32

        await until(is_free)

        async def is_counted() -> bool:
            return (await store.traffic.this_month()).sent >= 32 * len(MOVIE)

        await until(is_counted)
        await store.traffic.add(10**9)
        assert (await client.get("/dav/large.bin")).status_code == 503


async def test_the_drive_is_off_unless_it_is_enabled(
    config: Config, store: Store, catalogue: Catalogue
) -> None:
    off = create_app(Config.model_validate(config.model_dump() | {"dav": {}}), store, catalogue)
    transport = httpx.ASGITransport(off)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        for method in ("GET", "OPTIONS", "PROPFIND"):
            for path in ("/dav", "/dav/", "/dav/films/same.mkv"):
                reply = await client.request(method, path)
                assert reply.status_code == 404
                assert "[dav]" in reply.json()["message"]


async def test_a_revoked_key_ends_what_it_reads(
    live: httpx.AsyncClient,
    server: ApiServer,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "_CHECK_SECONDS", 0.05)
    await save(live, store, tmp_path, {"local1/large.bin": MOVIE * 32})
    made = await make_key(live, USER, "read")

    async def read_slowly(reply: httpx.Response) -> None:
        async for _ in reply.aiter_raw():
            await live.options("/dav")

    async with (
        httpx.AsyncClient(base_url=url_of(server), auth=("x", made["secret"])) as client,
        client.stream("GET", "/dav/large.bin") as reply,
    ):
        assert reply.status_code == 200
        assert (await live.delete(f"/api/v1/keys/{made['key_id']}")).status_code == 200
        assert (await client.get("/dav/large.bin")).status_code == 401
        with pytest.raises(httpx.RemoteProtocolError):
            await read_slowly(reply)


async def test_a_long_listing_is_sent_while_it_is_made(
    live: httpx.AsyncClient, server: ApiServer, store: Store, tmp_path: Path
) -> None:
    """It has several pages of folders and of files, and nothing is in it twice."""
    folders = [f"local1/f{n:04}/x" for n in range(3)]
    files = [f"local1/{n // 2:04} & ä.bin" if n % 2 else f"local2/{n // 2:04} & ä.bin" for n in range(1200)]
    await save(live, store, tmp_path, dict.fromkeys([*folders, *files], b""))
    async with drive(server) as client:
        request = client.build_request("PROPFIND", "/dav", headers={"Depth": "1"})
        reply = await client.send(request, stream=True)
        assert reply.headers["transfer-encoding"] == "chunked"
        found = hrefs(fromstring(await reply.aread()))
        assert len(found) == len(set(found)) == 1 + 3 + 1200
        for href in (found[4], found[5], found[-1]):
            assert (await client.head(href)).status_code == 200
        # A client that leaves does not end the connection of others, or the server.
        left = await client.send(request, stream=True)
        await left.aclose()
        assert (await client.options("/dav")).status_code == 200
