"""One attempt to send a webhook, and its outcome."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

import httpx

from saveany import __version__
from saveany.errors import InvalidInput
from saveany.models import Delivery
from saveany.net.client import describe, guarded_client, plain_client
from saveany.net.guard import AddressGuard
from saveany.net.http import retry_after_s
from saveany.texts import Text
from saveany.webhooks import notify
from saveany.webhooks.schedule import delay_s
from saveany.webhooks.signing import Signer, is_secret, new_secret

if TYPE_CHECKING:
    from saveany.config import Config
    from saveany.store import Store

#: Seconds that an attempt may take.
TIMEOUT_S = 15.0

_GONE = 410
_RETRY_AFTER_STATUSES = (429, 503)
#: Bytes and seconds to read of a response: enough for a short one to end, so that the connection can be
#: reused.
_READ_BYTES = 4096
_READ_S = 1.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver accepted the webhook with a 2xx response."""

    status: int


@dataclass(frozen=True, slots=True)
class Retry:
    """The attempt failed; retry after `after_s` seconds. `status` is 0 if there was no response."""

    after_s: float
    status: int
    error: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The attempt failed; do not retry."""

    status: int
    error: str


Outcome = Delivered | Retry | GiveUp


class WebhookSender:
    """Sends webhooks signed with `secret`. Use one per process, and close it at the end.

    The operator's own URL (`Delivery.trusted`), and no other, also gets `api_token` as a bearer token. All
    other URLs must pass `guard`. Redirects are not followed, and the bodies of responses are ignored.
    """

    def __init__(
        self,
        secret: str,
        api_token: str,
        guard: AddressGuard,
        timeout_s: float = TIMEOUT_S,
        *,
        notify_urls: Sequence[str] = (),
        language: str = "",
    ) -> None:
        self._notify_urls = {notify.address_of(each): each for each in notify_urls}
        self._language = language
        self._signer = Signer(secret)
        self._bearer = {"Authorization": f"Bearer {api_token}"} if api_token else {}
        self._timeout_s = timeout_s
        self._trusted = plain_client(timeout=timeout_s)
        self._guarded = guarded_client(guard, timeout=timeout_s)

    @classmethod
    async def configured(cls, config: Config, store: Store) -> Self:
        """The sender of an installation. Raises `StoreUnavailable`."""
        secret = config.api.webhook_secret.get_secret_value()
        return cls(
            secret or await store.secret("webhook_secret", new_secret(), is_secret),
            config.api.token.get_secret_value(),
            AddressGuard(config.net.allow, name=Text("webhook URL")),
            notify_urls=[url.get_secret_value() for url in config.notify.urls],
            language=config.lang,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._trusted.aclose()
        await self._guarded.aclose()

    async def send(self, delivery: Delivery, now_ms: int) -> Outcome:
        """The outcome of one attempt. Failures of the receiver or the network never raise."""
        if delivery.url.startswith(notify.SCHEME):
            return await self._notify(delivery)
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._post(delivery, now_ms)
        except TimeoutError:
            return failed(delivery, 0, f"no response within {self._timeout_s:.0f} s")
        except (httpx.HTTPError, httpx.InvalidURL, InvalidInput, UnicodeError) as error:
            # A URL that the guard refuses is retried, too: the operator may allow the address in between.
            return failed(delivery, 0, str(describe(error)))
        return _outcome_of(delivery, response, now_ms)

    async def _notify(self, delivery: Delivery) -> Outcome:
        url = self._notify_urls.get(delivery.url)
        if url is None:
            return GiveUp(0, "its URL is no longer in [notify] urls")
        error = await notify.notify(url, json.loads(delivery.body), self._language)
        return failed(delivery, 0, error) if error else Delivered(0)

    async def _post(self, delivery: Delivery, now_ms: int) -> httpx.Response:
        """The status and headers of the response."""
        client = self._trusted if delivery.trusted else self._guarded
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"SaveAny/{__version__}",
            **self._signer.headers(delivery.id, delivery.body, now_ms),
            **(self._bearer if delivery.trusted else {}),
        }
        content = delivery.body.encode()
        async with client.stream("POST", delivery.url, content=content, headers=headers) as response:
            await _read_start(response)
            return response


async def _read_start(response: httpx.Response) -> None:
    """Read the start of the body, so that a short response ends; failures do not matter."""
    chunks = cast("AsyncGenerator[bytes]", response.aiter_raw(_READ_BYTES))
    with suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(_READ_S), aclosing(chunks) as body:
            await anext(body, b"")


def _outcome_of(delivery: Delivery, response: httpx.Response, now_ms: int) -> Outcome:
    status = response.status_code
    if response.is_success:
        return Delivered(status)
    if status == _GONE:
        return GiveUp(status, "the receiver responded 410 Gone: it wants no more webhooks")
    error = f"the receiver responded {status}"
    if response.is_redirect:
        error += ", and redirects are not followed: configure the URL it points to"
    wait = (
        retry_after_s(response.headers.get("retry-after", ""), now_ms)
        if status in _RETRY_AFTER_STATUSES
        else 0.0
    )
    return failed(delivery, status, error, at_least_s=wait)


def failed(delivery: Delivery, status: int, error: str, at_least_s: float = 0.0) -> Outcome:
    """The outcome of a failed attempt: a scheduled retry, or giving up after the last one."""
    after_s = delay_s(delivery.attempts + 1)
    if after_s is None:
        return GiveUp(status, error)
    return Retry(max(after_s, at_least_s), status, error)
