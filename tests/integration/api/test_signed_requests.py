"""Requests that are signed with the secret of a key (RFC 9421)."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms

from saveany.api.app import create_app
from saveany.catalogue.catalogue import Catalogue
from saveany.client import ApiError, AsyncClient, Client, SigningKey
from saveany.client.tasks_requests import create_task, get_task, list_tasks
from saveany.config import Config
from saveany.errors import CatalogueUnavailable, StoreUnavailable
from saveany.ids import new_id
from saveany.store import Store
from tests.fixtures.waiting import until
from tests.integration.api.conftest import AUTH, SEED_BODY, TOKEN, USER, check_error, serving, url_of
from tests.integration.api.keys import make_key
from tests.integration.api.signing import Signer, digest, mac, signature_base

TASKS = "/api/v1/tasks"
BODY = json.dumps(SEED_BODY).encode()
OTHER_BODY = json.dumps(SEED_BODY | {"dir_path": "/elsewhere"}).encode()
SECRET = "secret-of-the-configured-key"
CONFIGURED = {"name": "cron job", "secret": SECRET, "user_id": USER, "scopes": ["read"]}
#: RFC 9421, B.2.5.
RFC_SECRET = base64.b64decode(
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
)
RFC_PARAMETERS = '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
RFC_SIGNATURE = "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="


@pytest.fixture
def app(config: Config, store: Store, catalogue: Catalogue) -> FastAPI:
    return create_app(changed(config), store, catalogue)


def changed(config: Config, **api: Any) -> Config:
    table = {"token": TOKEN, "signed": True, "keys": [CONFIGURED], **api}
    return Config.model_validate(config.model_dump() | {"api": table})


@pytest.fixture
async def anonymous(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Requests without the token."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as anonymous:
        yield anonymous


@pytest.fixture
async def key(client: httpx.AsyncClient) -> dict[str, Any]:
    return await make_key(client, USER, "tasks", "files", readable=True)


@pytest.fixture
def signer(key: dict[str, Any]) -> Signer:
    return Signer(key["key_id"], key["secret"])


async def titles(client: httpx.AsyncClient) -> int:
    """The number of tasks."""
    return len((await client.get(TASKS)).json()["tasks"])


def test_the_tests_sign_as_the_rfc_does() -> None:
    """And so does the library, which is given the same message."""
    components = {
        "date": "Tue, 20 Apr 2021 02:07:55 GMT",
        "@authority": "example.com",
        "content-type": "application/json",
    }
    base = signature_base(components, RFC_PARAMETERS)
    assert mac(RFC_SECRET, base) == RFC_SIGNATURE
    fields = {"Date": components["date"], "Content-Type": components["content-type"]}
    request = httpx.Request("POST", "https://example.com/foo?param=Value&Pet=dog", headers=fields)
    keys = MappingKeyResolver(public_keys={}, private_keys={"test-shared-secret": RFC_SECRET})
    by_library = HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=keys)
    prepared = by_library.prepare(
        request,
        key_id="test-shared-secret",
        created=datetime.fromtimestamp(1618884473, UTC),
        include_alg=False,
        covered_component_ids=tuple(components),
    )
    assert prepared.signature_base.decode() == base


async def test_a_signed_request_acts_as_the_user_of_its_key(
    anonymous: httpx.AsyncClient, client: httpx.AsyncClient, signer: Signer
) -> None:
    made = await signer.send(anonymous, "POST", TASKS, BODY)
    assert made.status_code == 201, made.text
    found = await signer.send(anonymous, "GET", f"{TASKS}?user_id={USER}&limit=5")
    assert [task["task_id"] for task in found.json()["tasks"]] == [made.json()["task_id"]]
    assert (await signer.send(anonymous, "DELETE", f"{TASKS}/{made.json()['task_id']}")).status_code == 200

    async def is_used() -> bool:
        return (await client.get(f"/api/v1/keys/{signer.key_id}")).json()["used_at"] is not None

    await until(is_used)


async def test_the_scopes_of_the_key_apply(
    anonymous: httpx.AsyncClient, client: httpx.AsyncClient, signer: Signer
) -> None:
    check_error(await signer.send(anonymous, "GET", "/api/v1/queue"), 403)
    check_error(await signer.send(anonymous, "GET", "/api/v1/links"), 403)
    other = await make_key(client, 42, "compat", readable=True)
    check_error(await Signer(other["key_id"], other["secret"]).send(anonymous, "GET", TASKS), 403)


async def test_a_key_of_the_configuration_signs(anonymous: httpx.AsyncClient) -> None:
    signer = Signer("config:cron job", SECRET)
    assert (await signer.send(anonymous, "GET", TASKS)).status_code == 200
    check_error(await signer.send(anonymous, "POST", TASKS, BODY), 403)


async def test_a_nonce_is_used_once_by_each_key(
    anonymous: httpx.AsyncClient, client: httpx.AsyncClient, signer: Signer
) -> None:
    headers = signer.headers("POST", f"http://api{TASKS}", BODY)
    first, second = [await post(anonymous, headers) for _ in range(2)]
    assert first.status_code == 201
    assert "nonce" in check_error(second, 401)["message"]
    assert await titles(client) == 1
    for given in (signer, Signer("config:cron job", SECRET)):
        sent = [await given.send(anonymous, "GET", TASKS, nonce='"same"') for _ in range(2)]
        assert [reply.status_code for reply in sent] == [200, 401]


async def post(client: httpx.AsyncClient, headers: dict[str, str], body: bytes = BODY) -> httpx.Response:
    return await client.post(TASKS, content=body, headers={"content-type": "application/json", **headers})


async def test_what_is_refused_uses_up_no_nonce(
    anonymous: httpx.AsyncClient, client: httpx.AsyncClient, signer: Signer, store: Store
) -> None:
    right = signer.headers("POST", f"http://api{TASKS}", BODY)
    wrong = Signer(signer.key_id, "another secret")
    nonce = right["signature-input"].partition("nonce=")[2]
    forged = wrong.headers("POST", f"http://api{TASKS}", BODY, nonce=nonce)
    assert "signature does not match" in check_error(await post(anonymous, forged), 401)["message"]
    changed_body = await post(anonymous, right, OTHER_BODY)
    assert "Content-Digest" in check_error(changed_body, 401)["message"]
    assert await titles(client) == 0
    assert not await store.db.do("KEYS", "sa:nonce:*")
    shown = (await client.get(f"/api/v1/keys/{signer.key_id}")).json()
    assert shown["used_at"] is None
    assert (await post(anonymous, right)).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", TASKS, BODY),
        ("POST", f"{TASKS}/", BODY),
        ("POST", f"{TASKS}?limit=1", BODY),
        ("POST", "/api/v1/links", BODY),
    ],
)
async def test_another_request_with_the_signature_is_refused(
    anonymous: httpx.AsyncClient, signer: Signer, method: str, path: str, body: bytes
) -> None:
    headers = signer.headers("POST", f"http://api{TASKS}", BODY) | {"content-type": "application/json"}
    check_error(await anonymous.request(method, path, content=body, headers=headers), 401)


@pytest.mark.parametrize(
    ("seconds", "status"), [(-310, 401), (-290, 200), (290, 200), (310, 401), (-(10**10), 401), (10**13, 401)]
)
async def test_the_clock_may_differ_by_five_minutes(
    anonymous: httpx.AsyncClient, signer: Signer, seconds: int, status: int
) -> None:
    created = str(int(time.time()) + seconds)
    reply = await signer.send(anonymous, "GET", TASKS, created=created)
    assert reply.status_code == status, reply.text
    if status == 401:
        message = check_error(reply, 401)["message"]
        assert "clock" in message
        assert abs(int(message.partition("differs by ")[2].split()[0]) - abs(seconds)) < 60


async def test_a_nonce_is_kept_as_long_as_its_signature_is_accepted(
    anonymous: httpx.AsyncClient, signer: Signer, store: Store
) -> None:
    created = str(int(time.time()) + 250)
    assert (await signer.send(anonymous, "GET", TASKS, created=created)).status_code == 200
    [name] = await store.db.do("KEYS", "sa:nonce:*")
    assert 500_000 < await store.db.do("PTTL", name) <= 551_000


async def test_a_signature_may_expire_earlier(anonymous: httpx.AsyncClient, signer: Signer) -> None:
    now = int(time.time())
    assert (await signer.send(anonymous, "GET", TASKS, expires=str(now + 60))).status_code == 200
    late = await signer.send(anonymous, "GET", TASKS, created=str(now - 20), expires=str(now - 10))
    assert "expired" in check_error(late, 401)["message"]


INCOMPLETE: list[tuple[dict[str, Any], str]] = [
    ({"keyid": None}, "keyid"),
    ({"nonce": None}, "nonce"),
    ({"created": None}, "created"),
    ({"created": '"1"'}, "created"),
    ({"created": "?1"}, "created"),
    ({"expires": "1.5"}, "expires"),
    ({"keyid": "token"}, "keyid"),
    ({"nonce": '""'}, "nonce"),
    ({"nonce": f'"{"n" * 129}"'}, "nonce"),
    ({"alg": '"rsa-v1_5-sha256"'}, "hmac-sha256"),
    ({"keyid": '"nobody"'}, "keyid"),
    ({"covered": ["@path", "@query", "content-digest"]}, "@method"),
    ({"covered": ["@method", "@query", "content-digest"]}, "@path"),
    ({"covered": ["@method", "@path", "content-digest"]}, "@query"),
    ({"covered": ["@method", "@path", "@query"]}, "content-digest"),
    ({"covered": []}, "@method"),
    ({"fields": {"content-digest": "sha-512=:YWJj:"}}, "SHA-256"),
    ({"fields": {"content-digest": "sha-256=abc"}}, "SHA-256"),
    ({"fields": {"content-digest": "sha-256"}}, "SHA-256"),
    ({"fields": {"content-digest": "("}}, "Content-Digest"),
]


@pytest.mark.parametrize(("change", "named"), INCOMPLETE, ids=lambda value: str(value)[:40])
async def test_what_is_missing_is_named(
    anonymous: httpx.AsyncClient,
    client: httpx.AsyncClient,
    signer: Signer,
    change: dict[str, Any],
    named: str,
) -> None:
    path = f"{TASKS}?limit=1"
    reply = await signer.send(anonymous, "POST", path, BODY, **change)
    assert named in check_error(reply, 401)["message"]
    assert signer.secret not in reply.text
    assert reply.headers["www-authenticate"]
    assert await titles(client) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"signature": "sig=:YWJj:"},
        {"signature-input": 'sig=("@method");created=1;keyid="a";nonce="b"'},
        {"signature": "sig=:YWJj:", "signature-input": "("},
        {"signature": "sig=:YWJj:", "signature-input": ""},
        {"signature": "a=:YWJj:", "signature-input": 'b=("@method");created=1;keyid="a";nonce="b"'},
        {"signature": "a=:YWJj:, b=:YWJj:", "signature-input": "a=(), b=()"},
        {"signature": b"a=:YWJj:", "signature-input": 'a=("@method");created=1;keyid="é";nonce="b"'.encode()},
        {"signature": "a=1", "signature-input": 'a=1;created=1;keyid="a";nonce="b"'},
        {"signature": "a=1", "signature-input": 'a=("@method" 1 "@path");created=1;keyid="a";nonce="b"'},
    ],
)
async def test_broken_headers_are_refused(anonymous: httpx.AsyncClient, headers: dict[str, Any]) -> None:
    check_error(await anonymous.get(TASKS, headers=headers), 401)


async def test_a_key_whose_secret_is_not_kept_or_that_is_revoked_does_not_sign(
    anonymous: httpx.AsyncClient, client: httpx.AsyncClient, signer: Signer
) -> None:
    hashed = await make_key(client, USER, "tasks")
    reply = await Signer(hashed["key_id"], hashed["secret"]).send(anonymous, "GET", TASKS)
    assert "--readable" in check_error(reply, 401)["message"]
    assert (await signer.send(anonymous, "GET", TASKS)).status_code == 200
    await client.delete(f"/api/v1/keys/{signer.key_id}")
    check_error(await signer.send(anonymous, "GET", TASKS), 401)


async def test_a_readable_key_is_also_a_bearer_token(anonymous: httpx.AsyncClient, signer: Signer) -> None:
    """Where both are sent, the header Authorization counts."""
    headers = {"authorization": f"Bearer {signer.secret}"}
    assert (await anonymous.get(TASKS, headers=headers)).status_code == 200
    signed = signer.headers("GET", f"http://api{TASKS}")
    check_error(await anonymous.get(TASKS, headers=signed | {"authorization": "Bearer wrong"}), 401)
    assert (await anonymous.get(TASKS, headers=signed)).status_code == 200


async def test_more_headers_can_be_signed(anonymous: httpx.AsyncClient, signer: Signer) -> None:
    fields = {"idempotency-key": "one"}
    headers = signer.headers("POST", f"http://api{TASKS}", BODY, fields=fields)
    check_error(await post(anonymous, headers | {"idempotency-key": "two"}), 401)
    assert (await post(anonymous, headers)).status_code == 201


async def test_the_address_may_be_that_of_the_request_or_the_public_one(
    config: Config, store: Store, catalogue: Catalogue, signer: Signer, anonymous: httpx.AsyncClient
) -> None:
    covered = ["@method", "@target-uri"]
    assert (await signer.send(anonymous, "GET", TASKS, covered=covered)).status_code == 200
    headers = signer.headers("GET", f"https://example.org/saveany{TASKS}?limit=1")
    check_error(await anonymous.get(f"{TASKS}?limit=1", headers=headers), 401)
    app = create_app(changed(config, public_url="https://example.org/saveany/"), store, catalogue)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as proxied:
        for names in (covered, ["@method", "@path", "@query"]):
            for url in (f"https://example.org/saveany{TASKS}?limit=1", f"http://api{TASKS}?limit=1"):
                headers = signer.headers("GET", url, covered=names)
                assert (await proxied.get(f"{TASKS}?limit=1", headers=headers)).status_code == 200
        headers = signer.headers("GET", f"https://example.com/saveany{TASKS}?limit=1", covered=covered)
        check_error(await proxied.get(f"{TASKS}?limit=1", headers=headers), 401)


async def test_a_body_that_is_too_large_is_refused(anonymous: httpx.AsyncClient, signer: Signer) -> None:
    check_error(await signer.send(anonymous, "POST", TASKS, b" " * (2 * 1024 * 1024 + 1)), 413)


async def test_a_digest_of_no_body_is_compared(anonymous: httpx.AsyncClient, signer: Signer) -> None:
    for content, status in ((b"", 200), (b"x", 401)):
        fields = {"content-digest": digest(content)}
        headers = signer.headers("GET", f"http://api{TASKS}", fields=fields)
        assert (await anonymous.get(TASKS, headers=headers)).status_code == status


# Files.


def form(content: bytes, rest: bytes = b"") -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    return head + content + b"\r\n--b--\r\n" + rest


FILES = "/api/v1/files?name=a.txt"
FORM = {"content-type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize(
    ("headers", "right", "wrong"),
    [
        ({"content-type": "application/octet-stream"}, b"x" * 600_000, b"x" * 599_999 + b"y"),
        (FORM, form(b"x" * 600_000), form(b"x" * 599_999 + b"y")),
        (FORM, form(b"x"), form(b"x", b"more" * 200_000)),
    ],
    ids=["bytes", "form", "behind a form"],
)
async def test_a_file_is_verified_while_it_is_received(
    app: FastAPI,
    signer: Signer,
    client: httpx.AsyncClient,
    data_dir: Path,
    headers: dict[str, str],
    right: bytes,
    wrong: bytes,
) -> None:
    async with serving(app) as server, httpx.AsyncClient(base_url=url_of(server), timeout=20) as live:
        url = f"{url_of(server)}{FILES}"
        refused = await live.post(FILES, content=wrong, headers=headers | signer.headers("POST", url, right))
        assert "Content-Digest" in check_error(refused, 401)["message"]
        assert await titles(client) == 0
        assert [path.name for path in (data_dir / "uploads").iterdir() if path.name != ".saveany-id"] == []
        signed = signer.headers("POST", url, right)
        made = await live.post(FILES, content=right, headers=headers | signed)
        assert made.status_code == 201, made.text
        check_error(await live.post(FILES, content=right, headers=headers | signed), 401)
    assert await titles(client) == 1


async def test_uploads_in_parts_cannot_be_signed(anonymous: httpx.AsyncClient, signer: Signer) -> None:
    for method, path in (("POST", "/api/v1/uploads"), ("POST", "/api/v1/uploads/x")):
        headers = signer.headers(method, f"http://api{path}") | {"x-http-method-override": "DELETE"}
        message = check_error(await anonymous.request(method, path, headers=headers), 403)["message"]
        assert "/api/v1/files" in message


async def test_events_end_when_the_key_is_revoked(app: FastAPI, signer: Signer) -> None:
    async with serving(app) as server, httpx.AsyncClient(base_url=url_of(server), timeout=20) as live:
        headers = signer.headers("GET", f"{url_of(server)}/api/v1/events")
        async with live.stream("GET", "/api/v1/events", headers=headers) as stream:
            assert stream.status_code == 200
            await live.delete(f"/api/v1/keys/{signer.key_id}", headers=AUTH)
            async for _ in stream.aiter_bytes():
                pass


async def test_both_python_clients_sign(app: FastAPI, signer: Signer, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"content" * 100_000)
    key = SigningKey(signer.key_id, signer.secret)
    assert signer.secret not in repr(key)

    def work(url: str) -> str:
        with Client(url, signing_key=key) as client:
            made = client.send(create_task({"url": "https://t.me/channel/123", "user_id": USER}))
            assert client.send(get_task(made["task_id"]))["user_id"] == USER
            with pytest.raises(ValueError, match="not both"):
                Client(url, "token", signing_key=key)
            return client.upload(file, folder="/a b/ü", storage_name="local1")["type"]

    async with serving(app) as server:
        assert await asyncio.to_thread(work, url_of(server)) == "upload"
        async with AsyncClient(url_of(server), signing_key=key) as client:
            pages = [page async for page in client.pages(list_tasks(limit=1))]
            assert [len(page["tasks"]) for page in pages] == [1, 1]
            assert (await client.upload(file))["status"] == "queued"
        async with AsyncClient(url_of(server), signing_key=SigningKey(key.key_id, "wrong")) as wrong:
            with pytest.raises(ApiError, match="signature does not match"):
                await wrong.send(list_tasks())


# Without the setting, without a token, without Redis.


async def test_signatures_are_off_by_default(
    config: Config, store: Store, catalogue: Catalogue, signer: Signer
) -> None:
    app = create_app(changed(config, signed=False), store, catalogue)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as anonymous:
        reply = await signer.send(anonymous, "GET", TASKS)
    assert "signed = true" in check_error(reply, 401)["message"]


async def test_a_wrong_signature_is_refused_also_without_a_token(
    config: Config, store: Store, catalogue: Catalogue, signer: Signer
) -> None:
    app = create_app(changed(config, token="", host="127.0.0.1"), store, catalogue)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as local:
        assert (await local.get(TASKS)).status_code == 200
        headers = Signer(signer.key_id, "another").headers("GET", f"http://localhost{TASKS}")
        check_error(await local.get(TASKS, headers=headers), 401)


async def test_nothing_is_accepted_while_redis_is_down(
    anonymous: httpx.AsyncClient, signer: Signer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: object) -> None:
        raise StoreUnavailable("Redis is down")

    monkeypatch.setattr(store.nonces, "accept", down)
    check_error(await signer.send(anonymous, "GET", TASKS), 503)


async def test_a_known_key_signs_while_the_catalogue_is_down(
    anonymous: httpx.AsyncClient, signer: Signer, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(_: str) -> None:
        raise CatalogueUnavailable

    assert (await signer.send(anonymous, "GET", TASKS)).status_code == 200
    monkeypatch.setattr(catalogue.keys, "get", down)
    monkeypatch.setattr("saveany.service.keys._FRESH_SECONDS", -1)
    assert (await signer.send(anonymous, "GET", TASKS)).status_code == 200
    for key_id, status in ((new_id(), 503), ("nobody", 401), ("0" * 1000, 401)):
        check_error(await Signer(key_id, "secret").send(anonymous, "GET", TASKS), status)


async def test_a_nonce_is_accepted_again_only_for_the_same_attempt(store: Store) -> None:
    """redis-py repeats a call whose connection broke; the script may have run before."""
    now = await store.db.time_ms()
    call = ("accept_nonce", "hash", "attempt", now - 1000, now + 60_000)
    assert [(await store.db.script(*call))[0] for _ in range(2)] == [1, 1]
    assert (await store.db.script("accept_nonce", "hash", "another", now - 1000, now + 60_000))[0] == 0


async def test_parallel_requests(anonymous: httpx.AsyncClient, signer: Signer) -> None:
    replies = await asyncio.gather(*(signer.send(anonymous, "GET", TASKS) for _ in range(50)))
    assert {reply.status_code for reply in replies} == {200}
    headers = signer.headers("GET", f"http://api{TASKS}")
    replies = await asyncio.gather(*(anonymous.get(TASKS, headers=headers) for _ in range(50)))
    assert sorted(reply.status_code for reply in replies) == [200] + [401] * 49
