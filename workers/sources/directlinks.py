"""Plain URLs: files of web servers, over several connections where a server allows it."""

from __future__ import annotations

import asyncio
import re
import time
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from heapq import heappop, heappush
from secrets import token_hex
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import httpx
from msgspec.structs import replace

from saveany.errors import InvalidInput, Permanent, Retryable
from saveany.models import Item, TaskSpec
from saveany.net.client import describe, guarded_client
from saveany.net.disposition import filename
from saveany.planning.names import extension_for, safe_name
from saveany.planning.plan import Found
from storages.base import Range
from workers.sources.base import Report, Source, Tools, Write

#: Bytes that are handed on at once, and how many of a file one connection is worth.
_PIECE, _SHARE = 1 << 20, 4 << 20
#: The most connections for one file.
_CONNECTIONS = 4
_REDIRECTS = 10
#: How often a part is tried, and how many bytes make a try a good one.
_TRIES, _WORTH = 4, 1 << 16
#: A server that is silent for so long is given up, in seconds.
_SILENCE = 60.0
#: To wait as a server says is no failure, but so many times in a row for one URL is.
_PATIENCE = 20
#: A length or a number of seconds; a longer one is nonsense.
_DIGITS = re.compile("[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"(?:bytes)?[ =]*([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)
#: Files that are meant to be compressed, whatever else their server says.
_COMPRESSED = (".gz", ".tgz", ".svgz")
#: Headers that a user cannot set: they belong to how a file is fetched, not to which one.
_OURS = (
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-range",
    "range",
    "te",
    "transfer-encoding",
    "upgrade",
)
_REASONS = {
    401: "the server wants a login; give it as `headers` or `cookies`",
    403: "the server refuses to give the file",
    404: "there is no such file on the server",
    410: "the file was removed from the server",
    451: "the file is blocked for legal reasons",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask a server for."""

    url: str
    headers: dict[str, str]
    cookies: dict[str, str]
    max_bytes: int = 0


@dataclass(slots=True, order=True)
class _Block:
    """What one connection fetches next: the bytes from `start`, which moves on as they come, to `end`."""

    start: int
    end: int


class DirectLinksSource(Source):
    """`directlinks`: a file behind each URL."""

    def __init__(self, tools: Tools) -> None:
        self._guard = tools.guard
        #: URLs of which a part was not to be had although the server had promised parts.
        self._whole: set[str] = set()
        self._waits = Counter[str]()  # by URL, since its server has last given anything
        self._client = guarded_client(tools.guard, timeout=_SILENCE, proxy=tools.config.proxy)

    @property
    def ahead(self) -> int:
        """What all connections have under way."""
        return _CONNECTIONS * _SHARE

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()

    async def resolve(self, spec: TaskSpec) -> list[Found]:
        """One file for each URL; whether it is there shows when its turn comes."""
        extras: dict[str, Any] = {
            key: spec.params[key] for key in ("headers", "cookies", "max_bytes") if key in spec.params
        }
        return [Found(_name_of(url), None, {"url": url, **extras}) for url in spec.links]

    async def prepare(self, item: Item, spec: TaskSpec, report: Report, *, pages: bool = True) -> Item:
        """Ask for the file, and hang up when the server has said what it is. Without `pages` a web page is
        refused: sites send one in place of a file that needs a login, or is gone."""
        wanted = _wanted(item)
        async with self._ask(wanted, {"Range": "bytes=0-"}) as answer:
            if not pages and answer.headers.get("Content-Type", "").lower().startswith("text/html"):
                raise Permanent("the server sends a web page in place of the file; is a login needed?")
            size, ranges = _size(answer), _has_ranges(answer) and wanted.url not in self._whole
            if wanted.max_bytes and (size or 0) > wanted.max_bytes:
                raise Permanent(f"the file has {size} bytes, more than max_bytes ({wanted.max_bytes})")
            source = {key: value for key, value in item.source.items() if key not in _SEEN}
            source |= _identity(answer, ranges=ranges)
            return replace(item, name=_suggested(answer), size=size, source=source)

    def address(self, item: Item) -> str:
        """Its URL, unless that takes something which is nobody else's business."""
        url = str(item.source["url"])
        private = item.source.get("headers") or item.source.get("cookies") or "@" in urlsplit(url).netloc
        return "" if private or item.size is None else url

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Fetch what is missing: in blocks over several connections, or all in one stream."""
        if item.size is None or not item.source.get("ranges"):
            await self._stream(item, write)
        else:
            await self._blocks(item, item.size, write, have)

    async def read(self, wanted: Wanted, most: int) -> bytes:
        """A short text of the web, whole; `Permanent` if it has more than `most` bytes."""
        found = b""
        async with self._ask(wanted, {}) as answer:
            async for piece in _pieces(answer):
                found += piece
                if len(found) > most:
                    raise Permanent(f"the page has more than {most} bytes")
        return found

    async def _stream(self, item: Item, write: Write) -> None:
        """All of it: of such a file nothing is ever there already, as `_identity` sees to."""
        offset, most = 0, _wanted(item).max_bytes
        async with self._ask(_wanted(item), {}) as answer:
            async for piece in _pieces(answer):
                await write(offset, piece)
                offset += len(piece)
                if most and offset > most:
                    raise Permanent(f"the file has more than max_bytes ({most})")
        if item.size is not None and offset != item.size:
            raise Retryable(f"{item.name}: {offset} of {item.size} bytes arrived")

    async def _blocks(self, item: Item, size: int, write: Write, have: Sequence[Range]) -> None:
        waiting = [_Block(start, end) for start, end in _missing(have, size)]  # a heap
        busy: list[_Block] = []

        async def work() -> None:
            while waiting:
                block = heappop(waiting)
                busy.append(block)
                try:
                    await self._block(item, block, write)
                except (Retryable, Permanent) as error:
                    if isinstance(error, _Changed) or block is min(busy):
                        raise
                    # The server may want fewer connections: who has an earlier block takes this one next.
                    heappush(waiting, block)
                    return
                finally:
                    busy.remove(block)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in waiting[:_CONNECTIONS]:
                    group.create_task(work())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _block(self, item: Item, block: _Block, write: Write) -> None:
        """A block; where the connection breaks, from there on again. Tries that brought something do not
        count: some servers give less at a time than they are asked for."""
        failures = 0
        while block.start < block.end:
            begun = block.start
            try:
                async with aclosing(self._range(item, block.start, block.end)) as pieces:
                    async for piece in pieces:
                        await write(block.start, piece)
                        block.start += len(piece)
            except _Changed:
                raise
            except Retryable as error:
                failures = failures + 1 if block.start - begun < _WORTH else 0
                if error.after or failures == _TRIES:
                    raise
                await asyncio.sleep(0.1 * 2**failures if failures else 0)

    async def _range(self, item: Item, start: int, end: int) -> AsyncGenerator[bytes, None]:
        wanted, etag = _wanted(item), item.source.get("etag", "")
        headers = {"Range": f"bytes={start}-{end - 1}"}
        if version := item.source.get("modified") if etag.startswith("W/") else etag:
            headers["If-Range"] = version  # which takes strong ones only
        offset = start
        async with self._ask(wanted, headers) as answer, aclosing(_pieces(answer)) as pieces:
            given = _given(answer, start, item)
            if given is None:
                self._whole.add(wanted.url)
                raise _Changed(f"{item.name}: the file on the server has changed")
            async for piece in pieces:
                if offset + len(piece) > given:
                    raise Retryable(f"{item.name}: the server sends more than it says")
                part = piece[: end - offset]
                yield part
                offset += len(part)
                if offset == end < given:  # it does not care where a part is to end
                    break
        if offset != end:
            raise Retryable(f"{item.name}: {offset - start} of {end - start} bytes of a part arrived")

    @asynccontextmanager
    async def _ask(self, wanted: Wanted, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """The server's answer, its body not read yet. Follows redirects; raises for an error."""
        url = wanted.url
        own = {"Accept-Encoding": "identity", **headers}
        try:
            for _ in range(_REDIRECTS + 1):
                sent = _for_host(wanted, url)
                sent.update(own)
                self._guard.check_url(url)
                async with self._client.stream("GET", url, headers=sent) as answer:
                    if not answer.has_redirect_location:
                        self._check(wanted.url, answer)
                        yield answer
                        return
                    url = _next(url, answer.headers["Location"])
        except InvalidInput as error:
            raise Permanent(error.message) from error
        except zlib.error as error:
            raise Retryable(f"{urlsplit(url).hostname}: what the server has compressed is broken") from error
        except httpx.LocalProtocolError as error:
            raise Permanent("`headers` or `cookies` hold what HTTP does not allow there") from error
        except httpx.HTTPError as error:
            raise Retryable(f"{urlsplit(url).hostname}: {describe(error)}") from error
        raise Permanent(f"the server redirects more than {_REDIRECTS} times")

    def _check(self, url: str, answer: httpx.Response) -> None:
        status = answer.status_code
        if status == 200 or ("Range" in answer.request.headers and status in (206, 416)):
            self._waits.pop(url, None)
            return  # 416: of an empty file there is no range at all
        if status not in (408, 425, 429) and status < 500:
            raise Permanent(f"{_REASONS.get(status, 'the server refuses')} (HTTP {status})")
        self._waits[url] += 1
        after = _retry_after(answer) if self._waits[url] % _PATIENCE else 0
        raise Retryable(f"the server answers {status}; it may be better later", after=after)


class _Changed(Retryable):
    """The file is another now, or its server gives no parts of it: to be begun anew."""


async def _pieces(answer: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body in pieces of a size that is worth handing on; what came before it broke, too."""
    held = bytearray()
    try:
        async with aclosing(answer.aiter_raw()) as raw:  # type: ignore[type-var]  # it is a generator
            async for piece in _unpacked(raw) if _is_packed(answer) else raw:
                held += piece
                if len(held) >= _PIECE:
                    yield bytes(held)
                    held.clear()
    except httpx.HTTPError:
        if held:
            yield bytes(held)
        raise
    if held:
        yield bytes(held)


async def _unpacked(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """What is packed by gzip, little by little: a small piece may hold gigabytes of zeros."""
    unpack = None
    async for rest in pieces:
        while rest:
            if unpack is None or unpack.eof:
                unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
            yield unpack.decompress(rest, _PIECE)
            rest = unpack.unconsumed_tail or unpack.unused_data
    if unpack and not unpack.eof:
        raise zlib.error("it ends too early")


def _wanted(item: Item) -> Wanted:
    source = item.source
    return Wanted(
        source["url"], source.get("headers", {}), source.get("cookies", {}), source.get("max_bytes", 0)
    )


def _for_host(wanted: Wanted, url: str) -> httpx.Headers:
    """The user's headers and cookies, which may hold a login: for the host they were given for, no other."""
    if urlsplit(url)[:2] != urlsplit(wanted.url)[:2]:
        return httpx.Headers()
    cookies = "; ".join(f"{name}={value}" for name, value in wanted.cookies.items())
    given = {name: value for name, value in wanted.headers.items() if name.lower() not in _OURS}
    if cookies:
        given["Cookie"] = cookies
    return httpx.Headers([(name.encode(), value.strip().encode()) for name, value in given.items()])


def _next(url: str, location: str) -> str:
    try:
        target = str(httpx.URL(urljoin(url, location)))
        scheme = urlsplit(target).scheme
    except (httpx.InvalidURL, ValueError) as error:
        raise Permanent("the server redirects to something that is no URL") from error
    if urlsplit(url).scheme == "https" and scheme != "https":
        raise Permanent("the server redirects from https to an address without encryption")
    return target


def _retry_after(answer: httpx.Response) -> float:
    """Seconds the server wants us to wait, a day at most; 0 if it does not say."""
    value = answer.headers.get("Retry-After", "")
    seconds: float | None = _number(value)
    if seconds is None:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            seconds = 0.0
    return min(max(0.0, seconds), 24 * 3600.0)


def _number(text: str) -> int | None:
    return int(text) if _DIGITS.fullmatch(text := text.strip()) else None


#: What `prepare` puts into the source of an item.
_SEEN = ("etag", "modified", "ranges", "bytes", "try")


def _identity(answer: httpx.Response, *, ranges: bool) -> dict[str, Any]:
    """What tells this version of the file from another, and whether parts of it can be asked for. If not,
    each try is for itself: it begins at the beginning, and must find nothing there."""
    seen = {
        "etag": answer.headers.get("ETag", ""),
        "modified": answer.headers.get("Last-Modified", ""),
        "ranges": ranges,
        "bytes": _size(answer),
        "try": "" if ranges else token_hex(8),
    }
    return {key: value for key, value in seen.items() if value}


def _is_same(answer: httpx.Response, source: Mapping[str, Any]) -> bool:
    """Whether it is of the version that was seen before, as far as the server tells."""
    for header, key in (("ETag", "etag"), ("Last-Modified", "modified")):
        if header in answer.headers and key in source:
            return bool(answer.headers[header] == source[key])
    return True


def _has_ranges(answer: httpx.Response) -> bool:
    return answer.status_code == 206 and not _is_packed(answer)


def _is_packed(answer: httpx.Response) -> bool:
    """Whether the server has compressed the file for the way, though it was asked not to."""
    packed = answer.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip")
    return packed and not _suggested(answer).lower().endswith(_COMPRESSED)


def _size(answer: httpx.Response) -> int | None:
    if _is_packed(answer):
        return None
    if answer.status_code in (206, 416):
        return _number(answer.headers.get("Content-Range", "").rpartition("/")[2])
    if "Transfer-Encoding" in answer.headers:
        return None
    return _number(answer.headers.get("Content-Length", ""))


def _given(answer: httpx.Response, start: int, item: Item) -> int | None:
    """Where the part ends that was asked for from `start` on; None if the answer is no such part."""
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if answer.status_code != 206 or not found or not _is_same(answer, item.source):
        return None
    first, end, size = int(found[1]), int(found[2]) + 1, _number(found[3])
    fits = first == start and end <= (item.size or 0) and size in (item.size, None)
    return end if fits else None


def _suggested(answer: httpx.Response) -> str:
    """The name the server gives, else that of the URL it was found at; with an extension if one is known."""
    given = filename(answer.headers.get("Content-Disposition", ""))
    name = safe_name(given.replace("\\", "/").rpartition("/")[2]) if given else _name_of(str(answer.url))
    if "." not in name:
        name = safe_name(name + extension_for(answer.headers.get("Content-Type", "")))
    return name


def _name_of(url: str) -> str:
    parts = urlsplit(url)
    last = unquote(parts.path).rstrip("/").rpartition("/")[2]
    return safe_name(last or parts.hostname or "")


def _missing(have: Sequence[Range], size: int) -> Iterator[Range]:
    """What is missing, in blocks for one request each."""
    at = 0
    for start, end in [*have, (size, size)]:
        for block in range(at, start, _SHARE):
            yield block, min(block + _SHARE, start)
        at = end
