"""One delivery attempt with real receivers on loopback."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest
from standardwebhooks import Webhook

from saveany import __version__
from saveany.models import Delivery
from saveany.net.guard import AddressGuard
from saveany.webhooks.send import Delivered, GiveUp, Outcome, Retry, WebhookSender
from saveany.webhooks.signing import new_secret
from tests.unit.webhooks.receiver import Receiver, receiving, reply

SECRET = new_secret()
TOKEN = "your-secret-token-here"
NOW_MS = time.time_ns() // 1_000_000
BODY = '{"task_id":"c9h8t1234abcd","title":"[tgfiles](ü.pdf->local1:/ü.pdf)"}'


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def sender() -> AsyncIterator[WebhookSender]:
    sender = WebhookSender(SECRET, TOKEN, AddressGuard([ip_network("127.0.0.0/8")]), timeout_s=5)
    yield sender
    await sender.aclose()


def to(url: str, *, trusted: bool = False, attempts: int = 0) -> Delivery:
    return Delivery(
        id="msg_1",
        task_id="t",
        event="task.completed",
        url=url,
        body=BODY,
        trusted=trusted,
        attempts=attempts,
    )


def assert_failed(outcome: Outcome, status: int, text: str) -> None:
    assert isinstance(outcome, Retry)
    assert outcome.status == status
    assert text in outcome.error
    assert 4.5 <= outcome.after_s <= 5.5


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_request_is_json_signed_and_carries_the_token_only_to_the_operators_url(
    trusted: bool, sender: WebhookSender, receiver: Receiver
) -> None:
    """SB16."""
    assert await sender.send(to(receiver.url, trusted=trusted), time.time_ns() // 1_000_000) == Delivered(200)
    (request,) = receiver.requests
    assert request.line == "POST /hook HTTP/1.1"
    assert request.body == BODY
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"SaveAny/{__version__}"
    assert request.headers.get("authorization") == (f"Bearer {TOKEN}" if trusted else None)
    assert (TOKEN in str(request)) == trusted
    assert Webhook(SECRET).verify(request.body, request.headers)["task_id"] == "c9h8t1234abcd"


async def test_without_a_token_no_authorization_header_is_sent(receiver: Receiver) -> None:
    sender = WebhookSender(SECRET, "", AddressGuard([]))
    await sender.send(to(receiver.url, trusted=True), NOW_MS)
    await sender.aclose()
    assert "authorization" not in receiver.requests[0].headers


async def test_a_retry_has_the_same_id_and_a_new_timestamp(sender: WebhookSender, receiver: Receiver) -> None:
    for attempt in (0, 1):
        await sender.send(to(receiver.url, attempts=attempt), NOW_MS + 5000 * attempt)
    first, second = (request.headers for request in receiver.requests)
    assert first["webhook-id"] == second["webhook-id"] == "msg_1"
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 5
    assert first["webhook-signature"] != second["webhook-signature"]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_2xx_is_a_success(status: int, sender: WebhookSender, receiver: Receiver) -> None:
    receiver.answer = reply(status)
    assert await sender.send(to(receiver.url), NOW_MS) == Delivered(status)


@pytest.mark.parametrize("status", [400, 401, 404, 405, 429, 500, 502, 503, 504])
async def test_other_replies_are_retried(status: int, sender: WebhookSender, receiver: Receiver) -> None:
    """SB16."""
    receiver.answer = reply(status)
    assert_failed(await sender.send(to(receiver.url), NOW_MS), status, f"responded {status}")


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_failures_and_not_followed(
    status: int, trusted: bool, sender: WebhookSender, receiver: Receiver
) -> None:
    async with receiving() as target:
        receiver.answer = reply(status, Location=target.url)
        outcome = await sender.send(to(receiver.url, trusted=trusted), NOW_MS)
        assert_failed(outcome, status, "redirects are not followed")
        assert target.requests == []


async def test_a_410_reply_ends_the_delivery(sender: WebhookSender, receiver: Receiver) -> None:
    receiver.answer = reply(410)
    outcome = await sender.send(to(receiver.url), NOW_MS)
    assert isinstance(outcome, GiveUp)
    assert outcome.status == 410


async def test_the_tenth_failure_ends_the_delivery(sender: WebhookSender, receiver: Receiver) -> None:
    receiver.answer = reply(500)
    ninth = await sender.send(to(receiver.url, attempts=8), NOW_MS)
    assert isinstance(ninth, Retry)
    assert ninth.after_s == pytest.approx(24 * 3600, rel=0.1)
    assert await sender.send(to(receiver.url, attempts=9), NOW_MS) == GiveUp(
        500, "the receiver responded 500"
    )


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_delays_the_next_attempt(
    status: int, sender: WebhookSender, receiver: Receiver
) -> None:
    receiver.answer = reply(status, Retry_After="120")
    outcome = await sender.send(to(receiver.url), NOW_MS)
    assert isinstance(outcome, Retry)
    assert outcome.after_s == 120


async def test_retry_after_never_shortens_the_delay(sender: WebhookSender, receiver: Receiver) -> None:
    receiver.answer = reply(503, Retry_After="0")
    assert_failed(await sender.send(to(receiver.url), NOW_MS), 503, "503")


async def test_retry_after_is_ignored_with_other_statuses(sender: WebhookSender, receiver: Receiver) -> None:
    receiver.answer = reply(500, Retry_After="120")
    assert_failed(await sender.send(to(receiver.url), NOW_MS), 500, "500")


async def test_a_silent_receiver_times_out(receiver: Receiver) -> None:
    async def silence(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    receiver.answer = silence
    await assert_times_out(receiver)


async def test_a_receiver_with_slow_headers_times_out(receiver: Receiver) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(10_000):
            writer.write(f"X-{number}: 1\r\n".encode())
            await writer.drain()
            await asyncio.sleep(0.05)

    receiver.answer = drip
    await assert_times_out(receiver)


async def assert_times_out(receiver: Receiver) -> None:
    sender = WebhookSender(SECRET, TOKEN, AddressGuard([ip_network("127.0.0.0/8")]), timeout_s=0.3)
    started = time.monotonic()
    outcome = await sender.send(to(receiver.url), NOW_MS)
    await sender.aclose()
    assert isinstance(outcome, Retry)
    assert outcome.status == 0
    assert "no response" in outcome.error
    assert time.monotonic() - started < 3


async def test_an_endless_reply_is_not_read(sender: WebhookSender, receiver: Receiver) -> None:
    written = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            written += 65536

    receiver.answer = endless
    assert await sender.send(to(receiver.url), NOW_MS) == Delivered(200)
    assert written < 64 * 1024 * 1024, "only what fits into the buffers between us"


async def test_a_truncated_reply_counts_by_its_status(sender: WebhookSender, receiver: Receiver) -> None:
    async def broken(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    receiver.answer = broken
    assert await sender.send(to(receiver.url), NOW_MS) == Delivered(200)


async def test_a_connection_closed_without_a_reply_is_a_failure(
    sender: WebhookSender, receiver: Receiver
) -> None:
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.close()

    receiver.answer = hang_up
    assert_failed(await sender.send(to(receiver.url), NOW_MS), 0, "not valid HTTP")


async def test_a_refused_connection_is_a_failure(sender: WebhookSender) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/?key=canary"
        outcome = await sender.send(to(url), NOW_MS)
    assert_failed(outcome, 0, "the ")
    assert "canary" not in repr(outcome)


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://127.0.0.1/", "http://[::1"])
@pytest.mark.parametrize("trusted", [True, False])
async def test_an_invalid_url_is_a_failure(url: str, trusted: bool, sender: WebhookSender) -> None:
    outcome = await sender.send(to(url, trusted=trusted), NOW_MS)
    assert isinstance(outcome, Retry)
    assert outcome.error


async def test_the_guard_checks_only_urls_from_requests(receiver: Receiver) -> None:
    sender = WebhookSender(SECRET, TOKEN, AddressGuard([]))
    outcome = await sender.send(to(receiver.url), NOW_MS)
    assert_failed(outcome, 0, "[net] allow")
    assert receiver.requests == []
    assert await sender.send(to(receiver.url, trusted=True), NOW_MS) == Delivered(200)
    await sender.aclose()
