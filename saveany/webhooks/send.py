"""One attempt to deliver one webhook, and what follows from the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import cast

import httpx

from saveany import __version__
from saveany.errors import InvalidInput
from saveany.models import Delivery
from saveany.net.client import describe, guarded_client, plain_client
from saveany.net.guard import AddressGuard
from saveany.net.http import retry_after_s
from saveany.webhooks.schedule import delay_s
from saveany.webhooks.signing import Signer

TIMEOUT_S = 15.0

_GONE = 410
_MAY_SAY_WHEN = (429, 503)
_GLANCE_BYTES = 4096  # enough to let a short answer end by itself and keep the connection
_GLANCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver took it: it answered 2xx."""

    status: int


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `after_s` seconds. `status` is 0 if there was no answer."""

    after_s: float
    status: int
    error: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again."""

    status: int
    error: str


Outcome = Delivered | Retry | GiveUp


class WebhookSender:
    """Sends deliveries, signed with `secret`; share one per process and close it at the end.

    `api_token` goes along as a bearer token to the operator's own URL (`Delivery.trusted`) and to no other;
    every other URL passes `guard`. Redirects are not followed, answers are not read.
    """

    def __init__(
        self, secret: str, api_token: str, guard: AddressGuard, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._signer = Signer(secret)
        self._bearer = {"Authorization": f"Bearer {api_token}"} if api_token else {}
        self._timeout_s = timeout_s
        self._trusted = plain_client(timeout=timeout_s)
        self._guarded = guarded_client(guard, timeout=timeout_s)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._trusted.aclose()
        await self._guarded.aclose()

    async def send(self, delivery: Delivery, now_ms: int) -> Outcome:
        """Make one attempt, within the timeout. Never raises for what a receiver or the network does."""
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._post(delivery, now_ms)
        except TimeoutError:
            return failed(delivery, 0, f"no answer within {self._timeout_s:.0f} s")
        except (httpx.HTTPError, httpx.InvalidURL, InvalidInput, UnicodeError) as error:
            # What the guard refuses is tried again too: the operator may allow the address meanwhile.
            return failed(delivery, 0, describe(error))
        return _judge(delivery, response, now_ms)

    async def _post(self, delivery: Delivery, now_ms: int) -> httpx.Response:
        """The answer's status and headers."""
        client = self._trusted if delivery.trusted else self._guarded
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"SaveAny/{__version__}",
            **self._signer.headers(delivery.id, delivery.body, now_ms),
            **(self._bearer if delivery.trusted else {}),
        }
        content = delivery.body.encode()
        async with client.stream("POST", delivery.url, content=content, headers=headers) as response:
            await _glance(response)
            return response


async def _glance(response: httpx.Response) -> None:
    """Let a short body arrive; its fate does not matter."""
    chunks = cast("AsyncGenerator[bytes]", response.aiter_raw(_GLANCE_BYTES))
    with suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(_GLANCE_S), aclosing(chunks) as body:
            await anext(body, b"")


def _judge(delivery: Delivery, response: httpx.Response, now_ms: int) -> Outcome:
    status = response.status_code
    if response.is_success:
        return Delivered(status)
    if status == _GONE:
        return GiveUp(status, "the receiver answered 410 Gone: it wants no more of these")
    error = f"the receiver answered {status}"
    if response.is_redirect:
        error += ", and redirects are not followed: configure the URL it points to"
    wait = retry_after_s(response.headers.get("retry-after", ""), now_ms) if status in _MAY_SAY_WHEN else 0.0
    return failed(delivery, status, error, at_least_s=wait)


def failed(delivery: Delivery, status: int, error: str, at_least_s: float = 0.0) -> Outcome:
    """What follows from a failed attempt: the next one as scheduled, or the end."""
    after_s = delay_s(delivery.attempts + 1)
    if after_s is None:
        return GiveUp(status, error)
    return Retry(max(after_s, at_least_s), status, error)
