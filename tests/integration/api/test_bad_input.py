"""Every invalid request gets its documented error, never an internal error, and creates no task."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from structlog.testing import capture_logs

from saveany.api.limits import MAX_BODY
from saveany.api.routes import parse_json, repeated
from saveany.ids import new_token
from saveany.store import Store
from tests.integration.api.conftest import AUTH, SEED_BODY, check_error, create

TYPED: dict[str, Any] = {"type": "tgfiles", "params": {"message_links": ["https://t.me/channel/123"]}}

#: However a link is given that a source takes which is disabled, the answer says how to enable it.
ARIA2_IS_OFF = (
    "for aria2, which is disabled; set enable = true in [aria2] of config.toml (saveany config set "
    "aria2.enable true)"
)

# body as a change to the seed's one (None removes a field), status, field in `details`, words in the message
ROWS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"telegram_url": None}, 400, "body", "either telegram_url or url"),
    ({"telegram_url": ""}, 400, "body", "either telegram_url or url"),
    ({"url": "https://t.me/channel/124"}, 400, "body", "either telegram_url or url"),
    ({"user_id": None}, 400, "user_id", "is required"),
    ({"user_id": "123456789"}, 400, "user_id", "must be a whole number"),
    ({"user_id": True}, 400, "user_id", "must be a whole number"),
    ({"user_id": 1.5}, 400, "user_id", "must be a whole number"),
    ({"user_id": 0}, 400, "user_id", "must be at least 1"),
    ({"user_id": 10**30}, 400, "user_id", "must be less than"),
    ({"telegram_url": 5}, 400, "telegram_url", "must be a string"),
    ({"telegram_url": ["https://t.me/channel/1"]}, 400, "telegram_url", "must be a string"),
    ({"telegram_url": "x" * 3000}, 400, "telegram_url", "at most 2048"),
    ({"telegram_url": "https://t.me/\ud800"}, 400, "telegram_url", "unicode"),
    ({"storage_name": {}}, 400, "storage_name", "must be a string"),
    ({"on_conflict": "panic"}, 400, "on_conflict", "'rename'"),
    ({"priority": 101}, 400, "priority", "must be at most 100"),
    ({"priority": "high"}, 400, "priority", "must be a whole number"),
    ({"telegramurl": "x"}, 400, "telegramurl", "did you mean telegram_url?"),
    ({"storage": "local1"}, 400, "storage", "did you mean storage_name?"),
    ({"path": "a"}, 400, "path", "did you mean dir_path?"),
    ({"webhook": "https://example.com"}, 400, "webhook", "did you mean webhook_url?"),
    ({"\ud800": 1}, 400, "body", "unicode"),
    ({"telegram_url": "https://evil.com/t.me/channel/1"}, 400, "telegram_url", "not a Telegram link"),
    ({"telegram_url": "https://t.me.evil.com/channel/1"}, 400, "telegram_url", "not a Telegram link"),
    ({"telegram_url": "https://t.me@evil.com/channel/1"}, 400, "telegram_url", "not a Telegram link"),
    ({"telegram_url": "https://t.me/+AbCdEf"}, 400, "telegram_url", "invite link"),
    ({"telegram_url": "https://t.me/channel"}, 400, "telegram_url", "no message"),
    ({"telegram_url": None, "url": "ldap://example.com"}, 400, "url", "this link is not supported"),
    ({"telegram_url": None, "url": "magnet:?xt=urn:btih:abc"}, 400, "url", ARIA2_IS_OFF),
    ({"telegram_url": None, "url": "https://example.com/a.torrent"}, 400, "url", ARIA2_IS_OFF),
    ({"telegram_url": None, "url": "https://example.com/a.torrent"}, 400, "url", "the type directlinks"),
    ({"telegram_url": "magnet:?xt=urn:btih:abc"}, 400, "telegram_url", ARIA2_IS_OFF),
    ({"telegram_url": "https://youtu.be/abc"}, 400, "telegram_url", "a link for ytdlp: give it as url"),
    ({"telegram_url": None, "url": "https://t.me/+AbCdEf"}, 400, "url", "invite link"),
    ({"user_id": 999}, 403, "", "user 999 is not configured"),
    ({"storage_name": "nas"}, 404, "", "there is no storage 'nas'"),
    ({"storage_name": "a\x00b"}, 404, "", "there is no storage"),
    ({"user_id": 42, "storage_name": "local2"}, 403, "", "may not use storage 'local2'"),
    ({"dir_path": "../up"}, 400, "dir_path", ".."),
    ({"dir_path": "a/../../b"}, 400, "dir_path", ".."),
    ({"dir_path": "a\x00b"}, 400, "dir_path", "control"),
    ({"dir_path": "a\\b"}, 400, "dir_path", "backslash"),
    ({"dir_path": "a/.saveany-storage"}, 400, "dir_path", "reserved by SaveAny"),
    ({"dir_path": "C:/x"}, 400, "dir_path", "drive letter"),
    ({"dir_path": "a/" + "b" * 256}, 400, "dir_path", "255"),
    ({"dir_path": None, "filename": "a/b.pdf"}, 400, "filename", "one name"),
    ({"filename": "..\\b.pdf"}, 400, "filename", "one name"),
    ({"filename": ".."}, 400, "filename", "one name"),
    ({"webhook_url": "http://127.0.0.1/hook"}, 400, "webhook_url", "127.0.0.1"),
    ({"webhook_url": "http://169.254.169.254/latest"}, 400, "webhook_url", "169.254.169.254"),
    ({"webhook_url": "ftp://example.com"}, 400, "webhook_url", "http://"),
    ({"webhook_url": "example.com"}, 400, "webhook_url", "http://"),
    ({"params": {"message_links": ["https://t.me/channel/1"]}}, 400, "type", "is required"),
    ({"params": {"message_links": ["https://t.me/channel/1"]}}, 400, "telegram_url", "links go into params;"),
    ({"type": "tgfile"}, 400, "type", "did you mean tgfiles?"),
    ({"telegram_url": None, "url": "https://example.com/1", "type": "tgfiles"}, 400, "url", "not a Telegram"),
    ({"telegram_url": None, "url": "films", "type": "transfer"}, 400, "type", "params with source_storage"),
]

TYPED_ROWS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"type": "tgfile"}, 400, "type", "did you mean tgfiles?"),
    ({"type": "aria2"}, 400, "type", "disabled; set enable = true in [aria2]"),
    ({"type": "ytdlp"}, 400, "params.urls", "is required"),
    (
        {"type": "ytdlp", "params": {"urls": ["u"], "flags": ["--exec"]}},
        400,
        "params.flags",
        "cannot be set here",
    ),
    ({"type": None}, 400, "type", "is required"),
    ({"params": None}, 400, "params", "is required"),
    ({"params": []}, 400, "params", "JSON object"),
    ({"params": {}}, 400, "params.message_links", "is required"),
    ({"params": {"message_links": []}}, 400, "params.message_links", "at least 1"),
    (
        {"params": {"message_links": ["https://t.me/c/1"] * 10_001}},
        400,
        "params.message_links",
        "at most 10000",
    ),
    ({"params": {"message_links": [7]}}, 400, "params.message_links.0", "must be a string"),
    (
        {"params": {"message_links": ["https://t.me/channel/123"], "urls": []}},
        400,
        "params.urls",
        "there are: message_links, filter",
    ),
    ({"type": "ytdlp", "params": {"url": "u"}}, 400, "params.url", "did you mean urls?"),
    ({"type": "ytdlp", "params": {"urls": "u"}}, 400, "params.urls", "must be a JSON array"),
    (
        {"type": "directlinks", "params": {"urls": ["http://a.example/b"], "headers": {"A": "b\r\nC: d"}}},
        400,
        "params.headers.A",
        "a character that is not allowed",
    ),
    ({"params": {"message_links": ["magnet:?xt=urn:btih:a"]}}, 400, "params.message_links", ARIA2_IS_OFF),
    ({"params": {"message_links": ["https://t.me/joinchat/x"]}}, 400, "params.message_links", "invite"),
    (
        {"params": {"message_links": ["https://t.me/channel/1", "https://x.com/1"]}},
        400,
        "params.message_links",
        "https://x.com/1: ",
    ),
    (
        {"params": {"message_links": ["https://t.me/channel/1", "https://t.me/channel/2"]}, "filename": "a"},
        400,
        "filename",
        "a single link",
    ),
    ({"storage_name": "local1"}, 400, "storage_name", "did you mean storage?"),
    ({"dir_path": "x"}, 400, "dir_path", "there is no such field"),
    ({"storage": "nas"}, 404, "", "there is no storage 'nas'"),
    ({"path": "../x"}, 400, "path", ".."),
    ({"webhook": "http://10.0.0.1/"}, 400, "webhook", "10.0.0.0"),
    ({"user_id": 7}, 403, "", "user 7 is not configured"),
]

BODIES: list[tuple[bytes, str]] = [
    (b"", "is required"),
    (b"{", "not valid JSON"),
    (b"nonsense", "not valid JSON"),
    (b"null", "JSON object"),
    (b"[]", "JSON object"),
    (b'"text"', "JSON object"),
    (b"5", "JSON object"),
    (b"\xff\xfe{}", "not UTF-8"),
    (b'{"user_id": NaN}', "NaN"),
    (b'{"user_id": -Infinity}', "-Infinity"),
    (b'{"user_id": 1, "user_id": 2}', "'user_id' occurs twice"),
    (b'{"user_id": 1} x', "not valid JSON"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"user_id": ' + b"9" * 5000 + b"}", "not valid JSON"),
]


@pytest.fixture(autouse=True)
async def nothing_was_accepted(store: Store) -> AsyncIterator[None]:
    yield
    assert await store.tasks.counts() == {"queued": 0, "paused": 0, "running": 0}


def changed(base: dict[str, Any], change: dict[str, Any]) -> bytes:
    """The body as JSON in ASCII, so that lone surrogates get through."""
    return json.dumps({k: v for k, v in (base | change).items() if v is not None}).encode()


async def post(client: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    return await client.post(
        "/api/v1/tasks", content=body, headers={"Content-Type": "application/json"} | headers
    )


@pytest.mark.parametrize(("change", "status", "field", "words"), ROWS)
async def test_invalid_bodies_are_refused(
    client: httpx.AsyncClient, change: dict[str, Any], status: int, field: str, words: str
) -> None:
    error = check_error(await post(client, changed(SEED_BODY, change)), status)
    assert words in error["message"]
    assert field in [detail["field"] for detail in error.get("details", [{"field": ""}])]


@pytest.mark.parametrize(("change", "status", "field", "words"), TYPED_ROWS)
async def test_invalid_params_are_refused(
    client: httpx.AsyncClient, change: dict[str, Any], status: int, field: str, words: str
) -> None:
    error = check_error(await post(client, changed(TYPED, change)), status)
    assert words in error["message"]
    assert field in [detail["field"] for detail in error.get("details", [{"field": ""}])]


@pytest.mark.parametrize(("body", "words"), BODIES, ids=range(len(BODIES)))
async def test_malformed_json_is_refused(client: httpx.AsyncClient, body: bytes, words: str) -> None:
    assert words in check_error(await post(client, body), 400)["message"]


async def test_several_problems_are_reported_together(client: httpx.AsyncClient) -> None:
    error = check_error(await post(client, b'{"telegram_url": 1, "typo": 2}'), 400)
    assert {detail["field"] for detail in error["details"]} == {"telegram_url", "typo", "user_id"}


async def test_the_number_of_reported_problems_is_limited(client: httpx.AsyncClient) -> None:
    many = json.dumps(SEED_BODY | {f"{'k' * 500}{n}": n for n in range(900)}).encode()
    reply = await post(client, many)
    error = check_error(reply, 400)
    assert len(error["details"]) == 20
    assert "and 880 more" in error["message"]
    assert len(reply.content) < 20_000


@pytest.mark.parametrize("inside", [False, True])
async def test_an_object_with_too_many_fields_is_refused(client: httpx.AsyncClient, *, inside: bool) -> None:
    many = {str(n): n for n in range(1001)}
    error = check_error(await post(client, json.dumps({"params": many} if inside else many).encode()), 400)
    assert "has more than 1000 names" in error["message"]


async def test_long_field_names_are_shortened_in_problems(client: httpx.AsyncClient) -> None:
    for body in ('{"%s": 1}', '{"%s": 1, "%s": 2}'):
        reply = await post(client, body.replace("%s", "k" * 400_000).encode())
        check_error(reply, 400)
        assert len(reply.content) < 1_000


async def test_many_invalid_query_parameters_are_limited_in_the_reply(client: httpx.AsyncClient) -> None:
    reply = await client.get("/api/v1/tasks", params={f"{'p' * 50}{n}": n for n in range(300)})
    assert len(check_error(reply, 400)["details"]) == 20


class Name(str):
    """A name that counts its comparisons."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return super().__eq__(other)


@pytest.mark.parametrize("last", ["0", "3999"])
def test_repeated_names_are_found_in_linear_time(last: str) -> None:
    Name.compared = 0
    names = [Name(n) for n in [*range(4000), last]]
    assert repeated(names) == [last]
    assert Name.compared <= 3 * len(names)


async def test_other_content_types_are_refused(client: httpx.AsyncClient) -> None:
    body = json.dumps(SEED_BODY).encode()
    error = check_error(await post(client, body, **{"Content-Type": "text/plain"}), 415)
    assert "Content-Type: application/json" in error["message"]


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\xe9", "a\tb"])
async def test_invalid_idempotency_keys_are_refused(client: httpx.AsyncClient, key: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"idempotency-key", key.encode("latin-1"))]
    reply = await client.post("/api/v1/tasks", content=json.dumps(SEED_BODY), headers=headers)
    assert check_error(reply, 400)["details"][0]["field"] == "Idempotency-Key"


async def test_a_body_of_10_mb_is_refused(live: httpx.AsyncClient) -> None:
    error = check_error(await post(live, b'"' + b"x" * 10_000_000 + b'"'), 413)
    assert "2 MiB" in error["message"]


async def test_a_chunked_body_over_the_limit_is_refused(live: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * (MAX_BODY // 2)

    reply = await live.post("/api/v1/tasks", content=chunks(), headers={"Content-Type": "application/json"})
    check_error(reply, 413)


async def test_a_large_body_without_a_token_is_not_read(live: httpx.AsyncClient) -> None:
    reply = await live.post(
        "/api/v1/tasks", content=b"x" * 10_000_000, headers={"Authorization": "Bearer no"}
    )
    check_error(reply, 401)


async def test_the_largest_permitted_body_is_read(client: httpx.AsyncClient) -> None:
    check_error(await post(client, b'{"a": "' + b"x" * (MAX_BODY - 9) + b'"}'), 400)


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic your-secret-token-here", "your-secret-token-here"],
)
@pytest.mark.parametrize("path", ["/api/v1/tasks", "/api/v1/workers", "/nowhere"])
async def test_a_wrong_token_is_refused(app: FastAPI, authorization: str | None, path: str) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        reply = await client.get(path, headers=headers)
    error = check_error(reply, 401)
    assert (error["error"], error["message"]) == ("Unauthorized", "Valid authentication token required")
    assert reply.headers["www-authenticate"] == "Bearer"


async def test_two_tokens_are_refused(client: httpx.AsyncClient) -> None:
    check_error(
        await client.get("/api/v1/tasks", headers=[*AUTH.items(), ("Authorization", "Bearer x")]), 401
    )


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/api/v1/tasks", "GET, POST"),
        ("DELETE", "/api/v1/tasks", "GET, POST"),
        ("PUT", "/api/v1/tasks/x", "DELETE, GET, PATCH"),
        ("GET", "/api/v1/tasks/x/retry", "POST"),
        ("POST", "/health", "GET"),
        ("OPTIONS", "/api/v1/history", "DELETE, GET"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_refused(
    client: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    reply = await client.request(method, path)
    check_error(reply, 405)
    assert sorted(reply.headers["allow"].split(", ")) == allow.split(", ")


@pytest.mark.parametrize(
    "path", ["/nope", "/api/v1/tasks/", "/api/v1/tasks/x/y", "/redoc", "/API/v1/tasks", "/assets/x"]
)
async def test_an_unknown_path_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    check_error(await client.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/tasks/c9h8t1234abcd"),
        ("DELETE", "/api/v1/tasks/c9h8t1234abcd"),
        ("POST", "/api/v1/tasks/c9h8t1234abcd/retry"),
        ("GET", "/api/v1/tasks/c9h8t1234abcd/events"),
        ("GET", "/api/v1/tasks/%00%ff%ed%a0%80"),
    ],
)
async def test_an_unknown_task_is_not_found(client: httpx.AsyncClient, method: str, path: str) -> None:
    assert "there is no task" in check_error(await client.request(method, path), 404)["message"]


@pytest.mark.parametrize(
    ("path", "field", "words"),
    [
        ("/api/v1/tasks?userid=1", "userid", "did you mean user_id?"),
        ("/api/v1/tasks?user_id=x", "user_id", "whole number"),
        ("/api/v1/tasks?user_id=1&user_id=2", "user_id", "occurs twice"),
        ("/api/v1/tasks/x?items_cursor=-1", "items_cursor", "at least 0"),
        ("/health?x=1", "x", "has no query parameters"),
        ("/api/v1/history?status=running", "status", "'completed'"),
        ("/api/v1/history?limit=0", "limit", "at least 1"),
        ("/api/v1/history?limit=201", "limit", "at most 200"),
        ("/api/v1/history?from=yesterday", "from", "such as 2024-01-19T04:30:00Z"),
        ("/api/v1/history?to=2024-01-19T04:30:00", "to", "with its zone"),
        ("/api/v1/history?to=0.5", "to", "with its zone"),
        ("/api/v1/history?to=2024-13-19T04:30:00Z", "to", "valid date and time"),
        ("/api/v1/history?cursor=abc", "cursor", "cursor is not valid"),
        ("/api/v1/history?since=2024-01-19T04:30:00Z", "since", "there is no such parameter"),
    ],
)
async def test_invalid_query_parameters_are_refused(
    client: httpx.AsyncClient, path: str, field: str, words: str
) -> None:
    error = check_error(await client.get(path), 400)
    assert [detail["field"] for detail in error["details"]] == [field]
    assert words in error["message"]


async def test_unexpected_errors_reveal_no_secrets(
    client: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(task_id: str) -> None:
        raise RuntimeError("WRONGTYPE")

    monkeypatch.setattr(store.tasks, "get", broken)
    with capture_logs() as logs:
        error = check_error(await client.get("/api/v1/tasks/broken"), 500)
    assert f"error id {logs[-1]['error_id']}" in error["message"]
    assert "WRONGTYPE" not in error["message"]


async def test_the_log_of_an_unexpected_error_has_no_link(
    client: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token in a log would be a link for everybody who reads it."""

    async def broken() -> int:
        raise RuntimeError("broken")

    monkeypatch.setattr(store.db, "time_ms", broken)
    token = new_token()
    with capture_logs() as logs:
        check_error(await client.get(f"/dl/{token}/film.mp4"), 500)
    assert logs[-1]["path"] == "/dl/…/film.mp4"
    assert token not in str(logs)


async def test_actions_in_a_wrong_state_are_refused(client: httpx.AsyncClient) -> None:
    task_id = await create(client)
    check_error(await client.post(f"/api/v1/tasks/{task_id}/retry"), 409)
    await client.delete(f"/api/v1/tasks/{task_id}")
    assert "ended already" in check_error(await client.delete(f"/api/v1/tasks/{task_id}"), 409)["message"]


@given(st.binary(max_size=40))
def test_parse_json_agrees_with_python_or_refuses(body: bytes) -> None:
    try:
        value = parse_json(body)
    except HTTPException as error:
        status = error.status_code
        assert status == 400
    else:
        assert json.dumps(value) == json.dumps(json.loads(body))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(json_values)
def test_parse_json_reads_any_json(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")) == value


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.dictionaries(st.sampled_from([*SEED_BODY, *TYPED, "x"]), json_values))
async def test_no_body_causes_an_internal_error(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    body.pop("telegram_url", None)  # so that none can be right
    reply = await post(client, json.dumps(body).encode())
    assert reply.status_code in (400, 403, 404)
    check_error(reply, reply.status_code)
