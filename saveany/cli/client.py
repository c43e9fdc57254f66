"""Client of the HTTP API, and the options that all commands which use it share."""

from __future__ import annotations

import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import typer

from saveany import advice
from saveany.cli import FAILED
from saveany.cli.address import own_address
from saveany.client.connection import TIMEOUT_SECONDS, http_options
from saveany.client.request import quoted
from saveany.client.server_events import SILENCE_SECONDS, EventParser, ServerEvent
from saveany.errors import ConfigError, InsufficientSpace, RequestError, Unavailable
from saveany.net import trust
from saveany.texts import Field, Text

Json = dict[str, Any]
T = TypeVar("T")

UrlOption = Annotated[
    str,
    typer.Option("--url", envvar="SAVEANY_URL", help="Address of the API. Default: this machine, api.port."),
]
TokenOption = Annotated[
    str, typer.Option("--token", envvar="SAVEANY_TOKEN", help="Token of the API. Default: api.token.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
UserOption = Annotated[int | None, typer.Option("--user", min=1, help="Only tasks of this Telegram user id.")]

IdsArgument = Annotated[
    list[str],
    typer.Argument(metavar="ID", help="Ids of tasks, or their first characters if they are unique."),
]

#: Seconds for a request that takes as long as it needs.
_PATIENT_SECONDS = 3600.0
_PAGE = 200
#: Bytes of a pipe that are read at a time.
_PIECE = 1 << 16
#: Number of characters in a complete task id.
ID_LENGTH = 20
#: Number of ended tasks, the newest, in which a shortened id is looked up.
_SEARCHED = 1000


class RequestRefused(RequestError):
    """The API refused the request; `status` is its HTTP status."""

    def __init__(self, text: str | Text, status: int, **fields: Field) -> None:
        super().__init__(text, **fields)
        self.status = status


class ApiClient:
    """The API at `url`. Every method raises `RequestRefused` with the message of the API, or `Unavailable` if
    the API does not reply or cannot serve the request now."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]  # without user name and password
        self.address = f"{parts.scheme}://{host}"
        self.options: Json = {  # of an HTTP client
            **http_options(url, token),
            "verify": trust.new_context() if parts.scheme == "https" else False,
            "limits": httpx.Limits(max_connections=None),
        }
        self._http = httpx.AsyncClient(**self.options)
        #: Sends the requests instead: their coroutines then end without ever waiting for an event loop.
        self.blocking: httpx.Client | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def add(self, body: Json) -> Json:
        """Create a task."""
        return await self._ask("POST", "/api/v1/tasks", json=body)

    async def task(self, task_id: str) -> Json:
        """One task, with all of its files."""
        task = await self._ask("GET", _path(task_id))
        while task["items_cursor"] is not None:
            page = await self._ask("GET", _path(task_id), params={"items_cursor": task["items_cursor"]})
            task["items"] += page["items"]
            task["items_cursor"] = page["items_cursor"]
        return task

    async def live(self, user: int | None = None) -> list[Json]:
        """Queued and running tasks, oldest first."""
        tasks: list[Json] = (await self._ask("GET", "/api/v1/tasks", params=_given(user_id=user)))["tasks"]
        return tasks

    async def pages(self, route: str, name: str, limit: int, **filters: str | int | None) -> list[Json]:
        """At most `limit` entries of a list of the API. `route` is below `/api/v1`, `name` is that of the
        entries in its replies, `filters` are its parameters."""
        found: list[Json] = []
        cursor: str | None = ""
        while cursor is not None and len(found) < limit:
            size = min(_PAGE, limit - len(found))
            params = _given(**filters, limit=size, cursor=cursor)
            page = await self._ask("GET", f"/api/v1/{route}", params=params)
            found += page[name]
            cursor = page["next_cursor"]
        return found

    async def cancel(self, task_id: str) -> None:
        """Cancel a task."""
        await self._ask("DELETE", _path(task_id))

    async def act(self, task_id: str, action: str) -> None:
        """`retry`, `stop`, `pause` or `resume` a task."""
        await self._ask("POST", f"{_path(task_id)}/{action}")

    async def find(self, prefix: str) -> str:
        """The complete id of the task whose id begins with `prefix`: a queued or running task, or one of the
        newest ended ones. Raises `RequestRefused` if there is no such task, or more than one."""
        if len(prefix) >= ID_LENGTH:
            return prefix
        tasks = [*await self.live(), *await self.pages("history", "tasks", _SEARCHED)]
        ids = sorted({task["task_id"] for task in tasks if task["task_id"].startswith(prefix)})
        if not ids:
            raise RequestRefused("there is no task {id}", httpx.codes.NOT_FOUND, id=prefix)
        if len(ids) > 1:
            some = ", ".join(ids[:3]) + (" …" if len(ids) > 3 else "")
            raise RequestRefused(
                "{count} tasks have ids that begin with {prefix!r} ({ids}); type more characters",
                httpx.codes.CONFLICT,
                count=len(ids),
                prefix=prefix,
                ids=some,
            )
        return str(ids[0])

    async def get(self, route: str, **params: str | int | None) -> Json:
        """The reply to GET `/api/v1/ROUTE`."""
        return await self._ask("GET", f"/api/v1/{route}", params=_given(**params))

    async def post(
        self,
        route: str,
        body: Json | None = None,
        *,
        file: Path | None = None,
        patient: bool = False,
        **params: str | int | None,
    ) -> Json:
        """The reply to POST `/api/v1/ROUTE`; its body may be a file. A `patient` caller waits for an hour."""
        options: Json = {"params": _given(**params)} if body is None else {"json": body}
        if patient:
            options["timeout"] = _PATIENT_SECONDS
        with _opened(file) if file else nullcontext() as content:
            return await self._ask("POST", f"/api/v1/{route}", content=content, **options)

    async def download(self, route: str, body: Json, write: Callable[[bytes], object]) -> None:
        """Pass the pieces of the reply to POST `/api/v1/ROUTE` to `write`. Only within `call`."""
        assert self.blocking is not None  # noqa: S101  # see `call`
        try:
            path = f"/api/v1/{route}"
            with self.blocking.stream("POST", path, json=body, timeout=_PATIENT_SECONDS) as reply:
                if not reply.is_success:
                    reply.read()
                    self._read(reply)
                for piece in reply.iter_bytes():
                    write(piece)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    async def patch(self, route: str, body: Json) -> Json:
        """The reply to PATCH `/api/v1/ROUTE`."""
        return await self._ask("PATCH", f"/api/v1/{route}", json=body)

    async def delete(self, route: str, **params: str | int | None) -> Json:
        """The reply to DELETE `/api/v1/ROUTE`."""
        return await self._ask("DELETE", f"/api/v1/{route}", params=_given(**params))

    async def exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: AsyncIterable[bytes] | None = None,
        *,
        seconds: float = TIMEOUT_SECONDS,
    ) -> httpx.Headers:
        """The headers of the reply to a request that is not JSON. The reply may take so many seconds. Raises
        `InsufficientSpace`, too."""
        timeout = httpx.Timeout(TIMEOUT_SECONDS, read=seconds)
        try:
            reply = await self._http.request(method, path, headers=headers, content=content, timeout=timeout)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        if not reply.is_success:
            self._read(reply)
        return reply.headers

    async def set_limits(self, limits: Json) -> Json:
        """Set the limits. Limits that are left out return to their configured values."""
        return await self._ask("PUT", "/api/v1/limits", json=limits)

    async def events(self, task_id: str = "", last_id: str = "") -> AsyncGenerator[ServerEvent, None]:
        """Events of one task or, without an id, of all tasks: first `open`, then those that the API sends
        until the stream ends."""
        path = f"{_path(task_id)}/events" if task_id else "/api/v1/events"
        headers = {"Last-Event-ID": last_id} if last_id else {}
        timeout = httpx.Timeout(TIMEOUT_SECONDS, read=SILENCE_SECONDS)
        parser = EventParser()
        try:
            async with self._http.stream("GET", path, headers=headers, timeout=timeout) as reply:
                await self._expect_stream(reply)
                yield ServerEvent("open")
                async for chunk in reply.aiter_bytes():
                    for found in parser.feed(chunk):
                        yield ServerEvent.parsed(*found)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    async def _expect_stream(self, reply: httpx.Response) -> None:
        if not reply.headers.get("content-type", "").startswith("text/event-stream"):
            await reply.aread()
            self._read(reply)
            raise Unavailable("the server at {address} sends no events", address=self.address)

    async def _ask(self, method: str, path: str, **options: Any) -> Json:
        try:
            if self.blocking is not None:
                return self._read(self.blocking.request(method, path, **options))
            return self._read(await self._http.request(method, path, **options))
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def _read(self, reply: httpx.Response) -> Json:
        status, body = reply.status_code, _object(reply.text)
        if body is not None and reply.is_success:
            return body
        text = Text((body or {}).get("message") or "")
        if not text.template:
            text = Text(
                "the server at {address} is not SaveAny (it replied with HTTP {status}); check --url",
                {"address": self.address, "status": status},
            )
        if status == httpx.codes.INSUFFICIENT_STORAGE:
            raise InsufficientSpace(text)
        if reply.is_server_error:
            raise Unavailable(text)
        if status == httpx.codes.UNAUTHORIZED:
            text = Text("{message}; set it with --token or SAVEANY_TOKEN", {"message": text})
        raise RequestRefused(text, status)

    def _unreachable(self, error: httpx.TransportError) -> Unavailable:
        # not the text of the error, which may quote the token
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Unavailable(
                "no server replies at {address}; start SaveAny with `{command}`, or set its address with "
                "--url",
                address=self.address,
                command=advice.command("run"),
            )
        if isinstance(error, httpx.TimeoutException):
            return Unavailable("the server at {address} does not reply; try again", address=self.address)
        return Unavailable("the connection to {address} broke; try again", address=self.address)


def connect(ctx: typer.Context, url: str, token: str) -> ApiClient:
    """The API that the options name, or else the configuration."""
    if not (url and token):
        own = own_address(ctx, checked=url.startswith("https:"))  # net.ca_file may apply then
        url, token = url or own.url, token or own.token
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("--url must look like http://127.0.0.1:8080, not {url!r}", url=url)
    return ApiClient(url, token)


def call(api: ApiClient, request: Callable[[ApiClient], Coroutine[Any, Any, T]]) -> T:
    """The reply of the API to one request, or to several that follow each other:
    `call(api, lambda api: api.get("queue"))`.

    There is no event loop: to import asyncio and what httpx needs for it takes longer than the request."""
    with httpx.Client(**api.options) as api.blocking:
        coroutine = request(api)
        try:
            coroutine.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        raise RuntimeError("a request has waited for an event loop")


def for_each(
    api: ApiClient, ids: Sequence[str], act: Callable[[ApiClient, str], Coroutine[Any, Any, None]], done: str
) -> None:
    """Call `act` for each task and print `done`. Prints refusals on stderr; the exit code is 1 then."""

    async def main(api: ApiClient) -> bool:
        refused = False
        for task_id in dict.fromkeys(ids):
            try:
                task_id = await api.find(task_id)
                await act(api, task_id)
                typer.echo(f"{task_id} {done}")
            except RequestRefused as error:
                typer.echo(f"error: {task_id}: {error.message}", err=True)
                refused = True
        return refused

    if call(api, main):
        raise typer.Exit(FAILED)


def printable(text: str) -> str:
    """`text` without characters that move the cursor or change the direction of the line. Emoji stay
    whole."""
    return "".join(char for char in text if char.isprintable() or char == "\u200d")


@contextmanager
def _opened(path: Path) -> Iterator[Iterable[bytes]]:
    """The content of a file, for httpx: it would take a pipe for an empty file, whose size it states."""
    with path.open("rb") as file:
        yield file if path.is_file() else iter(partial(file.read1, _PIECE), b"")


def _object(text: str) -> Json | None:
    """The JSON object in `text`, None if it contains something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _path(task_id: str) -> str:
    return f"/api/v1/tasks/{quoted(task_id)}"


def _given(**params: str | int | None) -> dict[str, str | int]:
    return {name: value for name, value in params.items() if value not in (None, "")}
