"""The API of StreamAPI: signed requests, replies in XML, and sessions that stand for chats."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import re
import subprocess
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import httpx
import pytest
from fastapi import FastAPI

from saveany.api.app import create_app
from saveany.api.server import ApiServer
from saveany.catalogue.catalogue import Catalogue
from saveany.compat.streamapi import live
from saveany.config import Config
from saveany.service import OPERATOR, FileService, Principal
from saveany.store import Store
from tests.integration.api.conftest import TOKEN, USER, url_of
from tests.integration.catalogue.test_files import save

CONFIGURED = {
    "AK": {"name": "AK", "secret": "SK-of-the-first-key-0123456789", "user_id": USER, "scopes": ["compat"]},
    "BK": {"name": "BK", "secret": "SK-of-the-other-key-0123456789", "user_id": 42, "scopes": ["compat"]},
    "native": {
        "name": "native",
        "secret": "SK-of-a-native-key-01234567890",
        "user_id": USER,
        "scopes": ["files"],
    },
}
PRIVATE_ID = re.compile(r"[A-Z0-9]{32}")
MINUTE = 60_000


class Recorder:
    """The chats that are live, and the recordings, as the test wants them."""

    def __init__(self) -> None:
        self.watched: list[tuple[int | None, str]] = []
        self.live: list[live.StreamBroadcast] = []
        self.made: list[live.StreamRecording] = []

    async def watch(self, principal: Principal, chat: str) -> None:
        self.watched.append((principal.user_id, chat))

    async def broadcasts(self, principal: Principal) -> list[live.StreamBroadcast]:
        return self.live

    async def recordings(self, principal: Principal, start: int, end: int) -> list[live.StreamRecording]:
        return [each for each in self.made if start <= each.started_at <= end]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(live, "RecordedChats", lambda _: recorder)
    return recorder


@pytest.fixture
def app(config: Config, store: Store, catalogue: Catalogue, recorder: Recorder) -> FastAPI:
    changed = config.model_dump() | {"compat": {"streamapi": {"enable": True}}}
    changed["api"] = {"token": TOKEN, "keys": list(CONFIGURED.values())}
    return create_app(Config.model_validate(changed), store, catalogue)


class StreamClient:
    """Signs requests as the reference describes it."""

    ids = itertools.count(1_700_000_000_000)

    def __init__(self, http: httpx.AsyncClient, key: str, secret: str) -> None:
        self.http, self.key, self.secret = http, key, secret

    def signed(self, **parameters: Any) -> dict[str, str]:
        """The parameters with key, id and signature; those that are given stay as they are."""
        given = {name: str(value) for name, value in parameters.items()}
        made = {"key": self.key, "rid": str(next(self.ids)), **given}
        values = "".join(made[name] for name in sorted(made) if name not in ("sig", "rid"))
        signature = hashlib.md5((values + self.secret + made["rid"]).encode()).hexdigest()
        return {"sig": signature, **made}

    async def send(self, call: str, parameters: dict[str, str], method: str = "") -> Element:
        method = method or ("POST" if call == "session/create" else "GET")
        sent = {"data" if method == "POST" else "params": parameters}
        reply = await self.http.request(method, f"/service/{call}", **sent)  # type: ignore[arg-type]
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("application/xml")
        assert reply.headers["cache-control"] == "no-store"
        assert b"DOCTYPE" not in reply.content
        root = fromstring(reply.content)
        assert bool(root.findtext("msg")) == (root.findtext("code") != "0")
        return root

    async def reply(self, call: str, /, **parameters: Any) -> Element:
        return await self.send(call, self.signed(**parameters))

    async def code(self, call: str, /, **parameters: Any) -> int:
        return code(await self.reply(call, **parameters))

    async def call(self, call: str, /, **parameters: Any) -> Element:
        root = await self.reply(call, **parameters)
        assert code(root) == 0, root.findtext("msg")
        return root

    async def session(self, **parameters: Any) -> tuple[str, str]:
        """The public and the private id of a new session."""
        root = await self.call("session/create", **parameters)
        return root.findtext("public_hostid", ""), root.findtext("private_hostid", "")


def code(root: Element) -> int:
    return int(root.findtext("code", ""))


def fields(element: Element) -> dict[str, str]:
    return {child.tag: child.text or "" for child in element}


@pytest.fixture
async def mine(client: httpx.AsyncClient) -> StreamClient:
    return StreamClient(client, "config:AK", CONFIGURED["AK"]["secret"])  # type: ignore[arg-type]


@pytest.fixture
async def theirs(client: httpx.AsyncClient) -> StreamClient:
    return StreamClient(client, "config:BK", CONFIGURED["BK"]["secret"])  # type: ignore[arg-type]


# Signatures and the ids of requests.


async def test_refusals_are_checked_in_the_order_of_the_reference(mine: StreamClient) -> None:
    good = mine.signed(rid=5, username="Peter", site_user_id=12345)
    for name in ("key", "sig", "rid"):
        assert code(await mine.send("session/create", {k: v for k, v in good.items() if k != name})) == 1
        assert code(await mine.send("session/create", good | {name: ""})) == 1
    wrong = "0" if good["sig"][0] != "0" else "1"
    assert code(await mine.send("session/create", good | {"key": "nobody", "sig": "x"})) == 200
    assert code(await mine.send("session/create", good | {"key": "config:native"})) == 200
    assert code(await mine.send("session/create", good | {"sig": wrong + good["sig"][1:]})) == 202
    assert code(await mine.send("session/create", good | {"sig": "é"})) == 202
    assert code(await mine.send("session/create", good | {"rid": "x"})) == 202
    assert code(await mine.send("session/create", good)) == 0  # none of these has used up the id
    assert code(await mine.send("session/create", good)) == 203
    assert await mine.code("host/id/public", rid=6) == 1


@pytest.mark.parametrize(
    ("rid", "expected"),
    [
        ("4", 203),
        ("005", 203),
        ("6", 0),
        ("1700000000000000", 0),
        ("9223372036854775807", 0),
        ("9223372036854775808", 203),
        ("-1", 203),
        ("1e9", 203),
        ("x", 203),
        ("٣", 203),
        ("9" * 5000, 203),
    ],
)
async def test_request_ids_increase_up_to_64_bits(mine: StreamClient, rid: str, expected: int) -> None:
    assert await mine.code("theme/list", rid=5) == 0
    assert await mine.code("theme/list", rid=rid) == expected


async def test_large_request_ids_are_compared_exactly(mine: StreamClient) -> None:
    for rid, expected in ((2**62, 0), (2**62 + 1, 0), (2**62 + 1, 203), (2**62, 203), (2**62 + 2, 0)):
        assert await mine.code("theme/list", rid=rid) == expected


async def test_each_key_has_request_ids_of_its_own(mine: StreamClient, theirs: StreamClient) -> None:
    assert await mine.code("theme/list", rid=100) == 0
    assert await theirs.code("theme/list", rid=7) == 0


async def test_of_parallel_requests_with_one_id_one_is_accepted(mine: StreamClient) -> None:
    same = mine.signed(rid=9)
    replies = await asyncio.gather(*(mine.send("theme/list", same) for _ in range(50)))
    assert sorted(map(code, replies)) == [0] + [203] * 49


async def test_a_parameter_given_twice_is_refused(mine: StreamClient) -> None:
    query = mine.signed()
    reply = await mine.http.get("/service/video/list", params=[*query.items(), ("key", query["key"])])
    assert code(fromstring(reply.content)) == 1


async def test_bytes_are_signed_as_they_were_sent(mine: StreamClient) -> None:
    query = mine.signed()
    values = b"\xff\xc3\xa9" + b"".join(query[name].encode() for name in ("key",)) + mine.secret.encode()
    signature = hashlib.md5(values + query["rid"].encode()).hexdigest()
    text = f"a=%FF%C3%A9&key={query['key']}&rid={query['rid']}&sig={signature}"
    assert code(fromstring((await mine.http.get(f"/service/theme/list?{text}")).content)) == 0


async def test_calls_have_one_method_and_unknown_ones_a_code(mine: StreamClient) -> None:
    assert code(await mine.send("session/create", mine.signed(), "GET")) == 1
    assert code(await mine.send("theme/list", mine.signed(), "POST")) == 1
    for unknown in ("", "session", "nothing", "theme/list/more"):
        assert await mine.code(unknown) == 100


async def test_made_keys_need_a_readable_secret(client: httpx.AsyncClient) -> None:
    async def key(**fields: Any) -> StreamClient:
        body = {"name": "x", "user_id": USER, "scopes": ["compat"], "readable": True, **fields}
        made = (await client.post("/api/v1/keys", json=body)).json()
        return StreamClient(client, made["key_id"], made["secret"])

    right = await key()
    assert await right.code("theme/list") == 0
    for wrong in (await key(readable=False), await key(scopes=["files"])):
        assert await wrong.code("theme/list") == 200
    await client.delete(f"/api/v1/keys/{right.key}")
    assert await right.code("theme/list") == 200


# Sessions.


async def test_a_session_watches_a_chat(mine: StreamClient, recorder: Recorder) -> None:
    public, private = await mine.session(username="Some_Channel", site_user_id=12345)
    assert (public, bool(PRIVATE_ID.fullmatch(private))) == ("12345", True)
    other, secret = await mine.session()  # which has no chat
    assert other.isdecimal()
    assert (other, secret) != (public, private)
    await mine.session(site_user_id=678)
    assert recorder.watched == [(USER, "Some_Channel"), (USER, "678")]
    assert await mine.session(username="Other", site_user_id=12345) == (public, private)


async def test_ids_belong_to_the_key_that_took_them(mine: StreamClient, theirs: StreamClient) -> None:
    public, private = await mine.session(site_user_id=12345)
    assert await theirs.code("session/create", site_user_id=12345) == 201
    for call, known, unknown in (
        ("host/id/public", {"private_hostid": private}, {"private_hostid": "A" * 32}),
        ("host/id/private", {"public_hostid": public}, {"public_hostid": "99"}),
    ):
        found = fields(await mine.call(call, **known))
        assert found == {"code": "0", "private_hostid": private, "public_hostid": public}
        assert await theirs.code(call, **known) == 201
        assert await mine.code(call, **unknown) == 8
    for call in ("session/live", "video/list"):
        assert await theirs.code(call, public_hostid=public) == 8
        assert await mine.code(call, public_hostid="99") == 8
    assert await mine.session(site_user_id=12345) == (public, private)  # nobody else has changed it


@pytest.mark.parametrize(
    "parameters",
    [
        {"username": '<x>&"'},
        {"username": "x" * 1_000_000},
        {"username": "x" * 3_000_000},
        {"site_user_id": "x"},
        {"site_user_id": "9" * 19},
        {"fme_key": "f1b8221d2b69"},
    ],
    ids=["markup", "1 MB", "3 MB", "no number", "long number", "encoder"],
)
async def test_invalid_sessions_are_refused(
    mine: StreamClient, recorder: Recorder, parameters: dict[str, str]
) -> None:
    assert await mine.code("session/create", **parameters) == 100
    assert recorder.watched == []


async def test_live_sessions_are_shown_while_they_last(
    mine: StreamClient, theirs: StreamClient, recorder: Recorder
) -> None:
    public, private = await mine.session(username="News")
    assert fields(await mine.call("session/live", public_hostid=public)) == {"code": "0", "is_live": "false"}
    empty = (await mine.call("session/live/list")).find("live_sessions")
    assert empty is not None
    assert len(empty) == 0
    recorder.live.append(live.StreamBroadcast("news", 1500000001, 1_700_000_000_000, 7, 9))
    shown = fields(await mine.call("session/live", public_hostid=public))
    duration = int(shown.pop("duration"))
    assert duration > 0
    assert shown == {
        "code": "0",
        "is_live": "true",
        "public_hostid": public,
        "private_hostid": private,
        "username": "News",
        "start_time": "1700000000000",
        "channel_id": "1500000001",
    }
    (listed,) = (await mine.call("session/live/list")).iterfind("live_sessions/session")
    assert {"total_viewers": "7", "max_viewers": "9", "public_hostid": public}.items() <= fields(
        listed
    ).items()
    assert {"name", "key", "id"}.isdisjoint(fields(listed))  # XML::Simple would fold the list
    assert list((await theirs.call("session/live/list")).iterfind("live_sessions/session")) == []
    recorder.live.clear()
    assert (await mine.call("session/live", public_hostid=public)).findtext("is_live") == "false"


# Recordings and themes.


@pytest.fixture
async def recordings(
    client: httpx.AsyncClient, store: Store, catalogue: Catalogue, recorder: Recorder
) -> list[str]:
    """The ids of two recordings, which began a minute apart, in different chats."""
    await save(store, "film 1 <&>.mp4", "film 2.mp4", user=USER)
    listed = (await client.get("/api/v1/files", params={"sort": "name"})).json()["files"]
    for number, (chat, shown) in enumerate(zip(("news", "678"), listed, strict=True), 1):
        file = await FileService(catalogue).get(OPERATOR, shown["file_id"])
        recorder.made.append(live.StreamRecording(chat, 1500000001, number * MINUTE, 600, file))
    return [each.file.id for each in recorder.made]


async def test_recordings_are_listed_by_date_and_session(
    mine: StreamClient, recordings: list[str], client: httpx.AsyncClient
) -> None:
    public, _ = await mine.session(username="News")
    await mine.session(site_user_id=678, is_video_private="true")

    async def listed(**parameters: Any) -> list[str]:
        root = await mine.call("video/list", **parameters)
        return [video.get("id", "") for video in root.iterfind("videos/video")]

    assert await listed() == recordings
    assert await listed(public_hostid=public) == recordings[:1]
    assert await listed(start_date=MINUTE, end_date=MINUTE) == recordings[:1]
    assert await listed(start_date=MINUTE + 1) == recordings[1:]
    assert await listed(start_date=2 * MINUTE, end_date=MINUTE) == []
    assert await mine.code("video/list", start_date="x") == 100
    open_, private = (fields(each) for each in (await mine.call("video/list")).iterfind("videos/video"))
    expected = ["public_hostid", "duration", "channel_id", "creation_date", "filename", "size", "url"]
    assert list(open_) == [*expected, "embed_code"]
    assert list(private) == expected  # and no public link
    assert open_["filename"] == "film 1 <&>.mp4"
    assert open_["url"] in open_["embed_code"].replace("/stream/", "/dl/")
    path = httpx.URL(private["url"]).path
    assert (await client.get(path, headers={"Authorization": ""})).status_code == 401


async def test_every_theme_changes_the_page_of_a_link(
    mine: StreamClient, recordings: list[str], client: httpx.AsyncClient
) -> None:
    link = (await client.post("/api/v1/links", json={"file_id": recordings[0], "user_id": USER})).json()
    root = await mine.call("theme/list")
    pages = {}
    for theme in map(fields, root.iterfind("themes/theme")):
        address = httpx.URL(f"{theme['layout_path']}{link['token']}{theme['skin_path']}")
        page = await client.get(address.raw_path.decode())
        assert page.status_code == 200
        assert f'data-theme="{theme["name"]}"' in page.text
        pages[theme["name"]] = page.text
    assert set(pages) == {"light", "dark"}
    for other in ("", "?theme=none", '?theme="><script>'):
        assert '<html lang="en">' in (await client.get(f"/s/{link['token']}{other}")).text


# The official client for Perl.

_PERL = """
use WWW::StreamAPI; use JSON::PP;
my $api = WWW::StreamAPI->new(base_url => $ARGV[0], api_key => $ARGV[1], secret_key => $ARGV[2]);
my $result = eval $ARGV[3]; die $@ if $@;
print JSON::PP->new->canonical->allow_nonref->encode($result);
"""


class PerlClient:
    """WWW::StreamAPI 0.01, unmodified. It is in no package of Debian, so it may be missing."""

    def __init__(self, url: str, key: str, secret: str) -> None:
        self._arguments = (f"{url}/service", key, secret)

    async def __call__(self, expression: str) -> Any:
        process = await asyncio.create_subprocess_exec(
            *("perl", "-e", _PERL, *self._arguments, expression),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return json.loads(out)


def has_perl_client() -> bool:
    try:
        return subprocess.run(["perl", "-MWWW::StreamAPI", "-e1"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not has_perl_client(), reason="the Perl module WWW::StreamAPI is not installed")
async def test_the_official_client_for_perl(
    server: ApiServer, recorder: Recorder, recordings: list[str]
) -> None:
    secret = CONFIGURED["AK"]["secret"]
    perl = PerlClient(url_of(server), "config:AK", str(secret))
    private, public = await perl('[$api->create_session(username => "News", site_user_id => 7)]')
    assert (bool(PRIVATE_ID.fullmatch(private)), public) == (True, "7")
    await perl('[$api->create_session(username => "678")]')
    generated = await perl("[$api->create_session]")
    assert all(generated)
    assert await perl("[$api->live_sessions]") == []
    for count, chat in enumerate(("news", "678"), 1):
        recorder.live.append(live.StreamBroadcast(chat, 1500000001, 1_700_000_000_000, 7, 9))
        sessions = await perl("[$api->live_sessions]")
        assert len(sessions) == count
        assert sessions[0]["public_hostid"] == "7"
        assert sessions[0]["current_viewers"] == "7"
    listed = await perl(f'$api->request("/video/list", {{start_date => {MINUTE}, end_date => {MINUTE}}})')
    assert listed["videos"]["video"]["id"] == recordings[0]
    every = (await perl('$api->request("/video/list")'))["videos"]["video"]
    assert set(every) == set(recordings)
    found = await perl(f'$api->request("/host/id/public", {{private_hostid => "{private}"}})')
    assert found["public_hostid"] == "7"
    assert set((await perl('$api->request("/theme/list")'))["themes"]["theme"]) == {"light", "dark"}
