"""Telegram: links to messages with documents or photos, through the accounts of this worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import msgspec

from saveany.errors import Permanent, TaskError
from saveany.filters import Filter
from saveany.models import Item, TaskSpec
from saveany.planning.messages import Albums
from saveany.planning.names import safe_name
from saveany.planning.plan import ResolvedFile
from saveany.telegram import links
from saveany.telegram.file import PhotoSizeMismatch
from saveany.telegram.media import Media
from saveany.texts import Text
from storages.base import Range
from workers.sources.base import Report, Source, Tools, Write

_Key = tuple[int, int, int]  # chat, message and document

#: Number of files whose messages are remembered. Their file references are valid for hours, not for days.
_MAX_REMEMBERED = 10_000
#: Maximum number of links of a task that are looked up at the same time.
_MAX_LOOKUPS = 200
#: Key in `Item.source` of a link that could not be resolved.
_LINK = "link"


class TelegramSource(Source):
    """`tgfiles`: the media of one or several messages."""

    def __init__(self, tools: Tools) -> None:
        self._config = tools.config
        self._accounts = tools.accounts
        self._on_wait = tools.on_wait
        # Files found by `resolve`, so that the first `fetch` need not read their messages again.
        self._remembered: dict[_Key, Media] = {}
        #: The takeout in which a file is fetched: account and id.
        self._takeouts: dict[_Key, tuple[str, int]] = {}
        self._sizes: dict[_Key, int] = {}  # real sizes of photos for which Telegram states another one
        # What is known of the links of tasks, by task: everything while some must be looked up again, then
        # only why the others failed.
        self._looked_up: dict[str, dict[str, list[Media] | TaskError]] = {}

    @property
    def is_concurrent(self) -> bool:
        """True: the downloader shares connections and memory among all files."""
        return True

    @property
    def problem(self) -> Text | None:
        """Why no account can be used, None if one can."""
        if self._accounts.ready:
            return None
        problems = self._accounts.problems.values()
        return min(problems, key=str, default=Text("no Telegram account is configured"))

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The files of every link that pass the filter; a message linked twice counts once. A link that
        cannot be resolved becomes a file that fails with the reason when its turn comes, unless no link leads
        to a file."""
        results = await self._look_up_all(spec)
        found: dict[_Key, Media] = {}
        for media in chain.from_iterable(each for each in results.values() if isinstance(each, list)):
            found.setdefault((media.chat_id, media.message_id, media.document_id), media)
        albums = Albums(found.values())
        selection = Filter.model_validate(spec.params.get("filter", {}))
        passed = {key: media for key, media in found.items() if selection.accepts(albums.with_text(media))}
        if not passed:
            for result in results.values():
                if isinstance(result, TaskError):
                    raise result
            raise Permanent("none of the {count} files passes the filter", count=len(found))
        self._remember(passed)
        return list(_resolved_files(results, passed, albums))

    async def _look_up_all(self, spec: TaskSpec) -> Mapping[str, list[Media] | TaskError]:
        """The files of each link, or why there are none. Raises the first error that may pass; then what was
        found out is kept for the next attempt."""
        known = self._looked_up.setdefault(spec.id, {})
        if failed := await self._look_up_missing(spec):
            raise failed
        found = {link: known[link] for link in spec.links}
        for link in [link for link, result in found.items() if isinstance(result, list)]:
            del known[link]  # only errors are needed again
        return found

    async def _look_up_missing(self, spec: TaskSpec) -> Exception | None:
        """Look up those links of a task of which nothing is known. Returns the first error that may pass; if
        as many in a row as are looked up at the same time have such an error, the rest is not tried.

        The links are looked up at the same time, so that those of one chat share requests for messages.
        """
        known = self._looked_up.setdefault(spec.id, {})
        missing = iter([link for link in spec.links if link not in known])
        failed: Exception | None = None
        failures = 0  # in a row

        async def look_up_next() -> None:
            nonlocal failed, failures
            while failures < _MAX_LOOKUPS and (link := next(missing, None)):
                try:
                    known[link] = await self._look_up(spec, link)
                except Exception as error:
                    if not isinstance(error, TaskError) or error.retryable:
                        failed, failures = failed or error, failures + 1
                        continue
                    known[link] = _without_traceback(error)
                failures = 0

        # Not a coroutine for each link: ten thousand need more memory than what they find.
        await asyncio.gather(*(look_up_next() for _ in range(min(_MAX_LOOKUPS, len(spec.links)))))
        return failed

    async def _look_up(self, spec: TaskSpec, text: str) -> list[Media]:
        link, user = links.parse(text), self._config.user(spec.user_id)
        # Only the bot can read what the user has sent to the bot: then no account is named.
        only: Sequence[str] = user.accounts if user and not link.bot_chat_id else ()
        if spec.account:
            if user and user.accounts and spec.account not in user.accounts:
                raise Permanent("you may not use the account {account}", account=spec.account)
            only = (spec.account,)
        username, extras = spec.params.get("username", ""), spec.params.get("extras")
        return await self._accounts.resolve(link, only, username=username, extras=extras)

    def _remember(self, files: dict[_Key, Media]) -> None:
        """Remember the files that will be fetched first, in place of those of older tasks."""
        first = dict(islice(files.items(), _MAX_REMEMBERED))
        older = {key: media for key, media in self._remembered.items() if key not in first}
        room = _MAX_REMEMBERED - len(first)
        self._remembered = dict(islice(older.items(), max(0, len(older) - room), None)) | first

    async def look_up(self, items: Sequence[Item], spec: TaskSpec) -> None:
        """Look up all links again that could not be resolved."""
        links = tuple(item.source[_LINK] for item in items if _LINK in item.source)
        if links:
            await self._look_up_missing(msgspec.structs.replace(spec, links=links))

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """The item with its real size, if an earlier attempt found that Telegram states another one. A link
        that could not be resolved is looked up again, except by the worker that has just done so."""
        if link := item.source.get(_LINK):
            return await self._resolved_later(item, spec, link)
        if takeout := spec.params.get("takeout"):
            self._takeouts[_key(item)] = takeout[0], takeout[1]
        return msgspec.structs.replace(item, size=self._sizes.get(_key(item), item.size))

    async def _resolved_later(self, item: Item, spec: TaskSpec, link: str) -> Item:
        found = await self.resolve(msgspec.structs.replace(spec, links=(link,)))
        if len(found) > 1:
            raise Permanent(
                "the link leads to {count} files, which was not known when the task began; create a new task",
                count=len(found),
            )
        return msgspec.structs.replace(item, name=found[0].name, size=found[0].size, source=found[0].source)

    async def stop(self, task_id: str) -> None:
        """Forget what was found out about the links of the task."""
        self._looked_up.pop(task_id, None)

    async def forget(self, task_id: str) -> None:
        """The same."""
        self._looked_up.pop(task_id, None)

    def message(self, item: Item) -> Mapping[str, Any] | None:
        """The message, unless its link was not resolved."""
        return None if _LINK in item.source else item.source

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Download the file. Its message is read again if this worker has not read it recently."""
        media = self._remembered.pop(_key(item), None)
        if media is None:
            media = await self._accounts.find(item.source)
        account, takeout = self._takeouts.pop(_key(item), ("", 0))
        if media.account == account:
            media = replace(media, takeout=takeout)
        if media.kind == "photo" and item.size is not None:
            media = replace(media, size=item.size)
        try:
            await self._accounts.download(media, write=write, have=have, on_wait=self._on_wait)
        except PhotoSizeMismatch as error:
            self._sizes[_key(item)] = error.size
            raise
        self._sizes.pop(_key(item), None)


def _without_traceback(error: TaskError) -> TaskError:
    """The error, without the frames that it has passed and the messages that they hold in memory."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _key(item: Item) -> _Key:
    return item.source["chat"], item.source["message"], item.source["document"]


def _resolved_files(
    results: Mapping[str, list[Media] | TaskError], passed: Mapping[_Key, Media], albums: Albums
) -> Iterator[ResolvedFile]:
    """The files that pass, each once, and one for each link that failed; in the order of the links."""
    rest = dict(passed)
    for link, result in results.items():
        if isinstance(result, TaskError):
            name = safe_name(link.removeprefix("https://"))
            yield ResolvedFile(name, None, {_LINK: link})
            continue
        for media in result:
            if rest.pop((media.chat_id, media.message_id, media.document_id), None):
                yield albums.resolved(passed[media.chat_id, media.message_id, media.document_id])
