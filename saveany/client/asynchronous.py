"""The asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

from saveany.client.connection import (
    MAX_FAILURES,
    TIMEOUT_SECONDS,
    file_headers,
    http_options,
    is_worth_retrying,
    next_page,
    pause,
    unreachable,
)
from saveany.client.download import Download
from saveany.client.files_requests import get_saved_file, upload_file
from saveany.client.request import ApiError, ApiRequest, error_of, quoted
from saveany.client.server_events import SILENCE_SECONDS, EventParser, ServerEvent
from saveany.client.tasks_requests import get_task

if TYPE_CHECKING:
    from saveany.client.models import Created, TaskView
    from saveany.client.signing import SigningKey

T = TypeVar("T")


class AsyncClient:
    """SaveAny at `url`, for a key or the token. All methods raise `ApiError`.

    async with AsyncClient("http://127.0.0.1:8080", key) as client:
        made = await client.send(create_task({"url": "https://t.me/channel/123"}))
        task = await client.wait(made["task_id"])
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        signing_key: SigningKey | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        """With a `signing_key` requests are signed, in place of sending a token."""
        self._http = httpx.AsyncClient(**http_options(url, token, timeout, signing_key))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, request: ApiRequest[T]) -> T:
        """The reply to a request."""
        try:
            reply = await self._http.request(request.method, request.path, **request.options())
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from None
        return request.read(reply.status_code, reply.content)

    async def pages(self, request: ApiRequest[T]) -> AsyncGenerator[T, None]:
        """The reply to a request for a list, and then its other pages."""
        following: ApiRequest[T] | None = request
        while following:
            reply = await self.send(following)
            yield reply
            following = next_page(following, reply)

    async def events(self, task_id: str = "", *, last_id: str = "") -> AsyncGenerator[ServerEvent, None]:
        """Events of one task until it has ended or, without an id, of all tasks without end. A broken
        connection is continued after the last event."""
        failures = 0
        while True:
            try:
                async with aclosing(self._stream(task_id, last_id)) as stream:
                    async for event in stream:
                        failures, last_id = 0, event.id or last_id
                        yield event
                        if task_id and event.ended:
                            return
            except ApiError as error:
                failures += 1
                if not is_worth_retrying(error) or failures > MAX_FAILURES:
                    raise
            await asyncio.sleep(pause(failures))

    async def _stream(self, task_id: str, last_id: str) -> AsyncGenerator[ServerEvent, None]:
        path = f"/api/v1/tasks/{quoted(task_id)}/events" if task_id else "/api/v1/events"
        headers = {"Last-Event-ID": last_id} if last_id else {}
        timeout = httpx.Timeout(TIMEOUT_SECONDS, read=SILENCE_SECONDS)
        parser = EventParser()
        try:
            async with self._http.stream("GET", path, headers=headers, timeout=timeout) as reply:
                if reply.status_code != httpx.codes.OK:
                    raise error_of(reply.status_code, await reply.aread())
                async for chunk in reply.aiter_bytes():
                    for found in parser.feed(chunk):
                        yield ServerEvent.parsed(*found)
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from None

    async def wait(self, task_id: str, timeout: float | None = None) -> TaskView:
        """Wait until a task has ended; returns it, whatever its status is. Raises `TimeoutError` after
        `timeout` seconds."""
        async with asyncio.timeout(timeout), aclosing(self.events(task_id)) as events:
            async for _ in events:
                pass
        return await self.send(get_task(task_id))

    async def download(self, file_id: str, target: str | Path) -> Path:
        """Save a file under `target`, or in it if that is a folder; returns where it is. A broken connection
        and an interrupted call continue what is there as `….part`. The content is verified by its SHA-256."""
        download = Download(await self.send(get_saved_file(file_id)), Path(target))
        while not download.is_complete:
            problem: ApiError | None = None
            try:
                await self._fetch(download)
            except ApiError as error:
                problem = error
            if not download.is_complete:
                await asyncio.sleep(download.failed(problem))
        return download.finish()

    async def _fetch(self, download: Download) -> None:
        try:
            async with self._http.stream("GET", download.path, headers=download.headers()) as reply:
                if reply.status_code >= httpx.codes.BAD_REQUEST:
                    raise error_of(reply.status_code, await reply.aread())
                with download.open(reply.status_code) as part:
                    async for chunk in reply.aiter_bytes():
                        part.write(chunk)
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from None

    async def upload(self, file: str | Path, name: str = "", **options: Any) -> Created:
        """Upload a file as a task. `options` are those of `upload_file`."""
        path = Path(file)
        request = upload_file(b"", name=name or path.name, **options)
        made = request.options() | {"content": _chunks(path)}
        made["headers"] |= await asyncio.to_thread(file_headers, path, self._http.auth)
        try:
            reply = await self._http.request(request.method, request.path, **made)
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from None
        return request.read(reply.status_code, reply.content)


async def _chunks(file: Path) -> AsyncGenerator[bytes, None]:
    with file.open("rb") as content:
        while chunk := content.read(1 << 18):
            yield chunk
