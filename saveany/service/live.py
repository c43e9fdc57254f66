"""Chats that are recorded when they go live, and their recordings."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from saveany.catalogue.models import HistoryFilter
from saveany.errors import InvalidInput, NotFound, WrongState
from saveany.models import Task
from saveany.planning.available import source_problem
from saveany.planning.paths import folder as checked_folder
from saveany.planning.requests import TaskRequest
from saveany.service.archives import refusals
from saveany.service.principal import Principal
from saveany.service.reading import TaskReader
from saveany.service.tasks import TaskService
from saveany.sources import LIVE, sources
from saveany.store import Store
from saveany.store.archives import is_channel
from saveany.store.live import Broadcast, LiveWatch
from saveany.telegram import links
from saveany.texts import Text, loaded

if TYPE_CHECKING:
    from saveany.catalogue.catalogue import Catalogue
    from saveany.catalogue.models import SavedFile
    from saveany.config import Config
    from saveany.telegram.accounts import Accounts

#: Number of tasks that are read from the history at a time, and files of one recording that are listed.
_PAGE, _MAX_FILES = 200, 1000


@dataclass(frozen=True, slots=True)
class ShownLive:
    """A watched chat, and the stream that goes on there; None if it is not live."""

    watch: LiveWatch
    broadcast: Broadcast | None
    problem: Text | None = None  # why it cannot be recorded now


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A file of a recording."""

    file: SavedFile
    seconds: int


@dataclass(frozen=True, slots=True)
class LiveRecording:
    """The recording of a stream: one file, or its segments while it runs. Times are ms."""

    task: Task
    files: Sequence[LiveFile]

    @property
    def started_at(self) -> int:
        """When the stream was noticed."""
        return int(self.task.spec.params.get("started", self.task.created_at))

    @property
    def chat(self) -> str:
        """`@name`, or the id if it has none."""
        return self.task.spec.links[0]

    @property
    def chat_id(self) -> int:
        """-100…"""
        return int(self.task.spec.params.get("chat_id", 0))

    @property
    def title(self) -> str:
        """Of the chat."""
        return str(self.task.spec.params.get("title", ""))

    @property
    def seconds(self) -> int:
        """How long the recording is."""
        return sum(each.seconds for each in self.files)


@dataclass(frozen=True, slots=True)
class RecordingPage:
    """A page of recordings. `cursor` leads to the next page; it is empty on the last one."""

    recordings: list[LiveRecording]
    cursor: str


class LiveService:
    """The operations on live streams. Of a watch of another user they say that it does not exist."""

    def __init__(
        self,
        config: Config,
        store: Store,
        catalogue: Catalogue,
        tasks: TaskService,
        accounts: Callable[[], Awaitable[Accounts]],
    ) -> None:
        self._config = config
        self._store = store
        self._catalogue = catalogue
        self._tasks = tasks
        self._reader = TaskReader(store, catalogue)
        self._accounts = accounts

    async def watch(
        self,
        principal: Principal,
        chat: str,
        *,
        user_id: int | None = None,
        storage: str = "",
        folder: str = "",
    ) -> ShownLive:
        """Record a channel or group from now on whenever it is live. Raises `InvalidInput`, `Forbidden`,
        `NotFound` or `Unavailable` with the reason why that cannot be done, and `WrongState` if the user has
        the same watch."""
        request = recording_request(chat, storage, folder, user_id=user_id)
        owner = await self._tasks.check(principal, request)
        user = self._config.user(owner)
        with refusals():
            history = (await self._accounts()).history
            named = links.invite_of(chat) or links.chat_of(chat)
            state = await history.chat_state(named, user.accounts if user else ())
        if not is_channel(state.id):
            raise InvalidInput("only channels and supergroups can be recorded", "chat")
        watch = LiveWatch(
            id=uuid4().hex[:10],
            user_id=owner,
            chat=state.id,
            title=state.title,
            username=state.username,
            account=state.account,
            storage=storage,
            folder=checked_folder(folder) or ("/" if folder else ""),
            created_at=time.time_ns() // 1_000_000,
        )
        for each in await self._store.live.all():
            if (each.user_id, each.chat) == (watch.user_id, watch.chat):
                raise WrongState("this chat is recorded already, as {id}", id=each.id)
        await self._store.live.add(watch)
        return ShownLive(watch, None, await self._problem())

    async def all(self, principal: Principal, user_id: int | None = None) -> list[ShownLive]:
        """All watches that the principal may see, or those of a user, oldest first."""
        wanted = principal.visible_user(user_id)
        live = await self._store.live.broadcasts()
        watches = await self._store.live.all()
        problem = await self._problem() if watches else None
        return [
            ShownLive(each, live.get(each.id), loaded(each.problem) or problem)
            for each in watches
            if wanted in (None, each.user_id)
        ]

    async def _problem(self) -> Text | None:
        """Why no worker could record a stream now."""
        return source_problem(self._config, sources()[LIVE], await self._store.workers.living())

    async def remove(self, principal: Principal, watch_id: str) -> LiveWatch:
        """Record a chat no longer. A recording that runs goes on."""
        watch = await self._store.live.get(watch_id)
        if watch is None or not principal.may_access(watch.user_id):
            raise NotFound("there is no live watch {id}", id=watch_id)
        await self._store.live.remove(watch_id)
        return watch

    async def recordings(
        self,
        principal: Principal,
        *,
        since: int | None = None,
        until: int | None = None,
        chat: str = "",
        user_id: int | None = None,
    ) -> list[LiveRecording]:
        """The recordings that began between two times (ms, inclusive) and have a file, oldest first. `chat`
        is @name or an id."""
        tasks = await self._recording_tasks(principal, since, until, chat, user_id)
        with_files = [LiveRecording(each, await self._files(each)) for each in tasks]
        return [each for each in with_files if each.files]

    async def page(
        self,
        principal: Principal,
        limit: int,
        cursor: str = "",
        *,
        since: int | None = None,
        until: int | None = None,
        chat: str = "",
        user_id: int | None = None,
    ) -> RecordingPage:
        """At most `limit` of these recordings after `cursor`. Raises `InvalidInput` for a bad cursor."""
        from saveany.catalogue.cursors import make_cursor, parse_cursor  # imports SQLAlchemy

        found: list[LiveRecording] = []
        after = parse_cursor(cursor, int)
        if after:
            since = max(int(after[0]), since or 0)
        for task in await self._recording_tasks(principal, since, until, chat, user_id):
            if after and _order(task) <= after:
                continue
            if files := await self._files(task):
                if len(found) == limit:
                    return RecordingPage(found, make_cursor(_order(found[-1].task)))
                found.append(LiveRecording(task, files))
        return RecordingPage(found, "")

    async def _recording_tasks(
        self, principal: Principal, since: int | None, until: int | None, chat: str, user_id: int | None
    ) -> list[Task]:
        """The tasks of these recordings, also of those without a file, in order."""
        owner = principal.visible_user(user_id)
        found = [task for task in await self._tasks.list(principal, user_id) if task.spec.type == LIVE]
        found += await self._history(HistoryFilter(type=LIVE, user_id=owner, since=since))
        recordings = {task.id: LiveRecording(task, ()) for task in found}
        chosen = [
            each.task
            for each in recordings.values()
            if (since is None or each.started_at >= since)
            and (until is None or each.started_at <= until)
            and chat.lower() in ("", each.chat.lower(), str(each.chat_id))
        ]
        return sorted(chosen, key=_order)

    async def _history(self, wanted: HistoryFilter) -> list[Task]:
        found, cursor = list[Task](), ""
        while True:
            page = await self._catalogue.history.page(wanted, _PAGE, cursor)
            found += page.tasks
            cursor = page.cursor
            if not cursor:
                return found

    async def _files(self, task: Task) -> list[LiveFile]:
        files = await self._catalogue.files.of_task(task.id, 0, _MAX_FILES)
        items = await self._reader.items(task.id, 0, _MAX_FILES) if files else []
        seconds = {item.index: int(item.source.get("seconds", 0)) for item in items}
        videos = [file for file in files if file.item is not None and seconds.get(file.item)]
        return [LiveFile(file, seconds[file.item or 0]) for file in videos]


def _order(task: Task) -> tuple[int, str]:
    """When a recording began, and its task: the key of the list."""
    return LiveRecording(task, ()).started_at, task.id


def recording_request(
    chat: str,
    storage: str,
    folder: str,
    *,
    user_id: int | None = None,
    stream: Mapping[str, Any] | None = None,
) -> TaskRequest:
    """The request for the recording of a `stream` of a chat: `call` (its id), `title`, `chat_id`, `account`
    and `started` (ms)."""
    return TaskRequest(
        links=(chat,), live=stream or {"call": 0}, storage=storage, folder=folder, user_id=user_id
    )
