"""The synchronous client."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
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
from saveany.client.server_events import ENDED, SILENCE_SECONDS, EventParser, ServerEvent
from saveany.client.tasks_requests import get_task

if TYPE_CHECKING:
    from saveany.client.models import Created, TaskView
    from saveany.client.signing import SigningKey

T = TypeVar("T")


class Client:
    """SaveAny at `url`, for a key or the token. All methods raise `ApiError`.

    with Client("http://127.0.0.1:8080", key) as client:
        made = client.send(create_task({"url": "https://t.me/channel/123"}))
        task = client.wait(made["task_id"])
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
        self._http = httpx.Client(**http_options(url, token, timeout, signing_key))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, request: ApiRequest[T]) -> T:
        """The reply to a request."""
        try:
            reply = self._http.request(request.method, request.path, **request.options())
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from None
        return request.read(reply.status_code, reply.content)

    def pages(self, request: ApiRequest[T]) -> Iterator[T]:
        """The reply to a request for a list, and then its other pages."""
        following: ApiRequest[T] | None = request
        while following:
            reply = self.send(following)
            yield reply
            following = next_page(following, reply)

    def events(self, task_id: str = "", *, last_id: str = "") -> Generator[ServerEvent, None, None]:
        """Events of one task until it has ended or, without an id, of all tasks without end. A broken
        connection is continued after the last event."""
        failures = 0
        while True:
            try:
                with closing(self._stream(task_id, last_id)) as stream:
                    for event in stream:
                        failures, last_id = 0, event.id or last_id
                        yield event
                        if task_id and event.ended:
                            return
            except ApiError as error:
                failures += 1
                if not is_worth_retrying(error) or failures > MAX_FAILURES:
                    raise
            time.sleep(pause(failures))

    def _stream(self, task_id: str, last_id: str) -> Generator[ServerEvent, None, None]:
        path = f"/api/v1/tasks/{quoted(task_id)}/events" if task_id else "/api/v1/events"
        headers = {"Last-Event-ID": last_id} if last_id else {}
        timeout = httpx.Timeout(TIMEOUT_SECONDS, read=SILENCE_SECONDS)
        parser = EventParser()
        try:
            with self._http.stream("GET", path, headers=headers, timeout=timeout) as reply:
                if reply.status_code != httpx.codes.OK:
                    raise error_of(reply.status_code, reply.read())
                for chunk in reply.iter_bytes():
                    for found in parser.feed(chunk):
                        yield ServerEvent.parsed(*found)
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from None

    def wait(self, task_id: str, timeout: float | None = None) -> TaskView:
        """Wait until a task has ended; returns it, whatever its status is. Raises `TimeoutError` after
        `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        failures, waited = 0, 0
        while True:
            try:
                task = self.send(get_task(task_id))
                failures = 0
                if task["status"] in ENDED:
                    return task
            except ApiError as error:
                failures += 1
                if not is_worth_retrying(error) or failures > MAX_FAILURES:
                    raise
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(f"task {task_id} has not ended within {timeout} seconds")
            time.sleep(min(2.0, 0.1 * 1.3**waited))
            waited += 1

    def download(self, file_id: str, target: str | Path) -> Path:
        """Save a file under `target`, or in it if that is a folder; returns where it is. A broken connection
        and an interrupted call continue what is there as `….part`. The content is verified by its SHA-256."""
        download = Download(self.send(get_saved_file(file_id)), Path(target))
        while not download.is_complete:
            problem: ApiError | None = None
            try:
                self._fetch(download)
            except ApiError as error:
                problem = error
            if not download.is_complete:
                time.sleep(download.failed(problem))
        return download.finish()

    def _fetch(self, download: Download) -> None:
        try:
            with self._http.stream("GET", download.path, headers=download.headers()) as reply:
                if reply.status_code >= httpx.codes.BAD_REQUEST:
                    raise error_of(reply.status_code, reply.read())
                with download.open(reply.status_code) as part:
                    for chunk in reply.iter_bytes():
                        part.write(chunk)
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from None

    def upload(self, file: str | Path, name: str = "", **options: Any) -> Created:
        """Upload a file as a task. `options` are those of `upload_file`."""
        path = Path(file)
        request = upload_file(b"", name=name or path.name, **options)
        made = request.options() | {"content": _chunks(path)}
        made["headers"] |= file_headers(path, self._http.auth)
        try:
            reply = self._http.request(request.method, request.path, **made)
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from None
        return request.read(reply.status_code, reply.content)


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as content:
        while chunk := content.read(1 << 18):
            yield chunk
