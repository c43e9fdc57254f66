"""Plain URLs: files of web servers, over several connections where a server allows it."""

from __future__ import annotations

import asyncio
import re
import time
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from secrets import token_hex
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import httpx
import msgspec
from msgspec.structs import replace

from saveany.errors import InvalidInput, Offline, Permanent, Retryable
from saveany.models import Item, TaskSpec
from saveany.net.client import describe, guarded_client, is_offline
from saveany.net.disposition import filename
from saveany.net.http import retry_after_s
from saveany.net.text import decoded
from saveany.planning.names import extension_for, safe_name
from saveany.planning.plan import ResolvedFile
from saveany.ranges import Range, missing, parse_content_range, range_header, split
from workers.sources.base import Report, Source, Tools, Write

#: Bytes that are handed on at once, and how many of a file one connection is worth.
_PIECE, _SHARE = 1 << 20, 4 << 20
#: The most connections for one file.
_CONNECTIONS = 4
_REDIRECTS = 10
#: Bytes that have waited so long, in seconds, are handed on though they are few: people see that they come.
_SOON = 0.5
#: How often a part is tried, and how many bytes make a try a good one.
_TRIES, _WORTH = 4, 1 << 16
#: A server that is silent for so long is given up, in seconds.
_SILENCE = 60.0
#: To wait as a server says is no failure, but so many times in a row for one URL is.
_PATIENCE = 20
#: A length or a number of seconds; a longer one is nonsense.
_DIGITS = re.compile("[0-9]{1,18}")
#: What servers call their ways to compress a file (RFC 9110, 8.4.1), and the files that are meant to be
#: compressed so, whatever else their server says.
_GZIP, _DEFLATE = ("gzip", "x-gzip"), ("deflate",)
_COMPRESSED = {
    "gzip": (".gz", ".tgz", ".svgz"),
    "x-gzip": (".gz", ".tgz", ".svgz"),
    "br": (".br",),
    "zstd": (".zst", ".tzst"),
    "compress": (".z",),
    "x-compress": (".z",),
    "bzip2": (".bz2", ".tbz", ".tbz2"),
    "xz": (".xz", ".txz"),
}
#: What some servers say of a file that is not compressed.
_PLAIN = ("", "identity", "none", "binary", "8bit", "utf-8", "utf8", "aws-chunked")
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
class DownloadRequest:
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


@dataclass(frozen=True, slots=True)
class _Begun:
    """A file that the server has begun to send, from its first byte on, in answer to the first request."""

    task: str
    answer: httpx.Response
    stack: AsyncExitStack  # ends the request


#: Has a block reach further; whether that was possible.
Grow = Callable[[_Block], bool]


class DirectLinksSource(Source):
    """`directlinks`: a file behind each URL."""

    def __init__(self, tools: Tools) -> None:
        self._guard = tools.guard
        #: URLs of which a part was not to be had although the server had promised parts.
        self._whole: set[str] = set()
        self._waits = Counter[str]()  # by URL, since its server has last given anything
        self._begun: dict[tuple[int, bytes], _Begun] = {}  # by `_key`
        self._client = guarded_client(tools.guard, timeout=_SILENCE, proxy=tools.config.proxy)

    @property
    def ahead(self) -> int:
        """What all connections have under way."""
        return _CONNECTIONS * _SHARE

    async def close(self) -> None:
        """Hang up."""
        for begun in self._begun.values():
            await _hang_up(begun)
        await self._client.aclose()

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """One file for each URL; whether it is there shows when its turn comes."""
        extras: dict[str, Any] = {
            key: spec.params[key] for key in ("headers", "cookies", "max_bytes") if key in spec.params
        }
        return [ResolvedFile(name_of(url), None, {"url": url, **extras}) for url in spec.links]

    async def prepare(self, item: Item, spec: TaskSpec, report: Report, *, pages: bool = True) -> Item:
        """Ask for the file, and see what the server says of it. The answer is kept for `fetch`: there are
        links that work once, and files that are made anew for each request. Without `pages` a web page is
        refused: sites send one in place of a file that needs a login, or is gone."""
        wanted = _wanted(item)
        await self._let_go(spec.id)
        async with AsyncExitStack() as stack:
            answer = await stack.enter_async_context(self._ask(wanted, {"Range": "bytes=0-"}))
            if not pages and answer.headers.get("Content-Type", "").lower().startswith("text/html"):
                raise Permanent("the server sends a web page in place of the file; is a login needed?")
            size, ranges = _size(answer), _has_ranges(answer) and wanted.url not in self._whole
            if wanted.max_bytes and (size or 0) > wanted.max_bytes:
                raise Permanent(f"the file has {size} bytes, more than max_bytes ({wanted.max_bytes})")
            source = {key: value for key, value in item.source.items() if key not in _SEEN}
            source |= _identity(answer, ranges=ranges)
            ready = replace(item, name=_suggested(answer), size=size, source=source)
            if _given(answer, 0, ready) if ranges else answer.status_code == 200:
                await _hang_up(self._take(ready))
                self._begun[_key(ready)] = _Begun(spec.id, answer, stack.pop_all())
        return ready

    def _take(self, item: Item) -> _Begun | None:
        return self._begun.pop(_key(item), None)

    async def _let_go(self, task_id: str) -> None:
        """Hang up where an answer of that task was kept and not read."""
        for key in [key for key, begun in self._begun.items() if begun.task == task_id]:
            await _hang_up(self._begun.pop(key))

    async def rest(self, task_id: str) -> None:
        """Hang up."""
        await self._let_go(task_id)

    async def forget(self, task_id: str) -> None:
        """Hang up."""
        await self._let_go(task_id)

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

    async def read(self, wanted: DownloadRequest, most: int) -> bytes:
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
        async with self._answer(item, {}, self._take(item)) as answer:
            async for piece in _pieces(answer):
                await write(offset, piece)
                offset += len(piece)
                if most and offset > most:
                    raise Permanent(f"the file has more than max_bytes ({most})")
            size = _size(answer)
        if size is not None and offset != size:
            raise Retryable(f"{item.name}: {offset} of {size} bytes arrived")

    @asynccontextmanager
    async def _answer(
        self, item: Item, headers: dict[str, str], begun: _Begun | None
    ) -> AsyncIterator[httpx.Response]:
        """The answer that was kept, else another one."""
        if begun:
            async with begun.stack:
                yield begun.answer
            return
        async with self._ask(_wanted(item), headers) as answer:
            yield answer

    async def _blocks(self, item: Item, size: int, write: Write, have: Sequence[Range]) -> None:
        waiting = [_Block(start, end) for start, end in split(missing(have, size), _SHARE)]  # a heap
        busy: list[_Block] = []
        if (begun := self._take(item)) and not (waiting and waiting[0].start == 0):
            await _hang_up(begun)
            begun = None

        def grow(block: _Block) -> bool:
            """Have a block reach to the end of the next one, if nobody fetches that."""
            if not waiting or waiting[0].start != block.end:
                return False
            block.end = heappop(waiting).end
            return True

        async def work() -> None:
            while waiting:
                nonlocal begun
                block, first, begun = heappop(waiting), begun, None  # it is of the first block
                busy.append(block)
                try:
                    await self._block(item, block, write, grow, first)
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

    async def _block(self, item: Item, block: _Block, write: Write, grow: Grow, begun: _Begun | None) -> None:
        """A block; where the connection breaks, from there on again. Tries that brought something do not
        count: some servers give less at a time than they are asked for."""
        failures = 0
        while block.start < block.end:
            at = block.start
            try:
                async with aclosing(self._range(item, block, grow, begun)) as pieces:
                    async for piece in pieces:
                        await write(block.start, piece)
                        block.start += len(piece)
            except _Changed:
                raise
            except Retryable as error:
                failures = failures + 1 if block.start - at < _WORTH else 0
                if error.after or failures == _TRIES:
                    raise
                await asyncio.sleep(0.1 * 2**failures if failures else 0)
            begun = None

    async def _range(
        self, item: Item, block: _Block, grow: Grow, begun: _Begun | None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a block, and of those behind it while the answer goes on and nobody fetches them."""
        etag, start = item.source.get("etag", ""), block.start
        headers = {"Range": range_header(start, block.end)}
        if version := item.source.get("modified") if etag.startswith("W/") else etag:
            headers["If-Range"] = version  # which takes strong ones only
        offset = start
        async with self._answer(item, headers, begun) as answer, aclosing(_pieces(answer)) as pieces:
            given = _given(answer, start, item)
            if given is None:
                self._whole.add(_wanted(item).url)
                raise _Changed(f"{item.name}: the file on the server has changed")
            async for piece in pieces:
                if offset + len(piece) > given:
                    raise Retryable(f"{item.name}: the server sends more than it says")
                while piece and (offset < block.end or grow(block)):
                    part, piece = piece[: block.end - offset], piece[block.end - offset :]
                    yield part
                    offset += len(part)
                if offset == block.end < given and not grow(block):  # it does not care where a part is to end
                    break
        if offset != block.end:
            raise Retryable(f"{item.name}: {offset - start} of {block.end - start} bytes of a part arrived")

    @asynccontextmanager
    async def _ask(self, wanted: DownloadRequest, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """The server's answer, its body not read yet. Follows redirects; raises for an error."""
        url, jar = wanted.url, httpx.Cookies()
        own = {"Accept-Encoding": "identity", **headers}
        try:
            for _ in range(_REDIRECTS + 1):
                self._guard.check_url(url)
                request = self._client.build_request("GET", url, headers=_for_host(wanted, url))
                request.headers.update(own)
                _add_cookies(request, jar)
                async with _sending(self._client, request) as answer:
                    if not answer.has_redirect_location:
                        self._check(wanted.url, answer)
                        yield answer
                        return
                    jar.extract_cookies(answer)
                    url = _next(url, answer.headers["Location"])
        except InvalidInput as error:
            raise Permanent(error.message) from error
        except zlib.error as error:
            raise Retryable(f"{urlsplit(url).hostname}: what the server has compressed is broken") from error
        except httpx.LocalProtocolError as error:
            raise Permanent("`headers` or `cookies` hold what HTTP does not allow there") from error
        except httpx.HTTPError as error:
            kind = Offline if is_offline(error) else Retryable
            raise kind(f"{urlsplit(url).hostname}: {describe(error)}") from error
        raise Permanent(f"the server redirects more than {_REDIRECTS} times")

    def _check(self, url: str, answer: httpx.Response) -> None:
        status = answer.status_code
        if status == 200 or ("Range" in answer.request.headers and status in (206, 416)):
            self._waits.pop(url, None)
            _check_packing(answer)
            return  # 416: of an empty file there is no range at all
        if status not in (408, 425, 429) and status < 500:
            raise Permanent(f"{_REASONS.get(status, 'the server refuses')} (HTTP {status})")
        self._waits[url] += 1
        after = _retry_after(answer) if self._waits[url] % _PATIENCE else 0
        raise Retryable(f"the server answers {status}; it may be better later", after=after)


def _check_packing(answer: httpx.Response) -> None:
    if (packing := _packing(answer)) and packing not in _GZIP + _DEFLATE:
        raise Permanent(
            f"the server sends the file compressed ({packing[:40]}) though it was asked not to, and SaveAny "
            "does not know how to unpack that"
        )


class _Changed(Retryable):
    """The file is another now, or its server gives no parts of it: to be begun anew."""


async def _pieces(answer: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body in pieces that are worth handing on; what came before it broke, too."""
    held, since = bytearray(), time.monotonic()
    try:
        async with aclosing(answer.aiter_raw()) as raw:  # type: ignore[type-var]  # it is a generator
            async for piece in _unpacked(raw, _packing(answer)):
                held += piece
                if len(held) >= _PIECE or time.monotonic() > since + _SOON:
                    yield bytes(held)
                    held.clear()
                    since = time.monotonic()
    except httpx.HTTPError:
        if held:
            yield bytes(held)
        raise
    if held:
        yield bytes(held)


def _unpacked(pieces: AsyncIterator[bytes], packing: str) -> AsyncIterator[bytes]:
    if packing in _GZIP:
        return _inflated(pieces, lambda _: zlib.MAX_WBITS | 16)
    return _inflated(pieces, _window) if packing in _DEFLATE else pieces


def _window(start: bytes) -> int:
    """Of a deflated body that begins so: it should have zlib's header (RFC 1950), but some have none."""
    begins = len(start) > 1 and start[0] & 15 == zlib.DEFLATED and not int.from_bytes(start[:2]) % 31
    return zlib.MAX_WBITS if begins else -zlib.MAX_WBITS


async def _inflated(
    pieces: AsyncIterator[bytes], window: Callable[[bytes], int]
) -> AsyncGenerator[bytes, None]:
    """What is packed, little by little: a small piece may hold gigabytes of zeros."""
    unpack, rest = None, b""
    async for piece in pieces:
        rest += piece
        while len(rest) > (unpack is None):  # how it is packed shows in two bytes
            if unpack is None or unpack.eof:
                unpack = zlib.decompressobj(window(rest))
            yield unpack.decompress(rest, _PIECE)
            rest = unpack.unconsumed_tail or unpack.unused_data
    while unpack and not unpack.eof and (more := unpack.decompress(b"", _PIECE)):
        yield more  # all has been read, but not all given out
    if rest or (unpack and not unpack.eof):
        raise zlib.error("it ends too early")


def _key(item: Item) -> tuple[int, bytes]:
    """Equal for what the same person would get."""
    return item.index, msgspec.json.encode(item.source)


async def _hang_up(begun: _Begun | None) -> None:
    if begun:
        await begun.stack.aclose()


def _wanted(item: Item) -> DownloadRequest:
    source = item.source
    return DownloadRequest(
        source["url"], source.get("headers", {}), source.get("cookies", {}), source.get("max_bytes", 0)
    )


def _for_host(wanted: DownloadRequest, url: str) -> httpx.Headers:
    """The user's headers and cookies, which may hold a login: for the host they were given for, no other."""
    if urlsplit(url)[:2] != urlsplit(wanted.url)[:2]:
        return httpx.Headers()
    cookies = "; ".join(f"{name}={value}" for name, value in wanted.cookies.items())
    given = {name: value for name, value in wanted.headers.items() if name.lower() not in _OURS}
    if cookies:
        given["Cookie"] = cookies
    return httpx.Headers([(name.encode(), value.strip().encode()) for name, value in given.items()])


def _add_cookies(request: httpx.Request, jar: httpx.Cookies) -> None:
    """Those that this host has set on the way, in place of the user's of the same names."""
    given = request.headers.pop("Cookie", "")
    jar.set_cookie_header(request)
    fresh = request.headers.get("Cookie", "")
    names = {each.partition("=")[0] for each in fresh.split("; ")}
    kept = [each for each in given.split("; ") if each.partition("=")[0] not in names] if given else []
    if cookies := "; ".join([*kept, *([fresh] if fresh else [])]):
        request.headers["Cookie"] = cookies


@asynccontextmanager
async def _sending(client: httpx.AsyncClient, request: httpx.Request) -> AsyncIterator[httpx.Response]:
    answer = await client.send(request, stream=True)
    try:
        yield answer
    finally:
        await answer.aclose()


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
    return retry_after_s(answer.headers.get("Retry-After", ""), time.time_ns() // 1_000_000)


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
    return bool(_packing(answer))


def _packing(answer: httpx.Response) -> str:
    """How the server has compressed the file for the way, in its words; "" if it has not."""
    coding = answer.headers.get("Content-Encoding", "").strip().lower()
    meant = coding in _PLAIN or _suggested(answer).lower().endswith(_COMPRESSED.get(coding, ()))
    return "" if meant else coding


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
    found = parse_content_range(answer.headers.get("Content-Range", ""))
    if answer.status_code != 206 or not found or not _is_same(answer, item.source):
        return None
    (first, end), size = found
    fits = first == start and end <= (item.size or 0) and size in (item.size, None)
    return end if fits else None


def _suggested(answer: httpx.Response) -> str:
    """The name the server gives, else that of the URL it was found at; with an extension if one is known."""
    given = filename(_as_latin1(answer, b"content-disposition"))
    name = safe_name(given.replace("\\", "/").rpartition("/")[2]) if given else name_of(str(answer.url))
    if "." not in name:
        name = safe_name(name + extension_for(answer.headers.get("Content-Type", "")))
    return name


def _as_latin1(answer: httpx.Response, wanted: bytes) -> str:
    """The first header of that name, one character for each byte: httpx guesses what they mean."""
    return next((value.decode("latin-1") for name, value in answer.headers.raw if name.lower() == wanted), "")


def name_of(url: str) -> str:
    """The name of the file at a URL: the last part of its path, else its host."""
    parts = urlsplit(url)
    last = unquoted(parts.path).rstrip("/").rpartition("/")[2]
    return safe_name(last or parts.hostname or "")


def unquoted(path: str) -> str:
    """The path of a URL as people write it, in whatever encoding its server has."""
    return decoded(unquote_to_bytes(path))
