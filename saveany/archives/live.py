"""Notices when watched chats go live, and has their streams recorded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from saveany.errors import Permanent, SaveAnyError, TaskError, Unavailable
from saveany.logs import get_logger
from saveany.service import Principal, TaskService
from saveany.service.live import recording_request
from saveany.sources import LIVE
from saveany.store import Store
from saveany.store.live import Broadcast, LiveWatch
from saveany.telegram.accounts import Accounts
from saveany.telegram.call_recording import CallRecorder
from saveany.telegram.livestream import LiveCall, ordinary_call

_log = get_logger(__name__)


class LiveWatcher:
    """Creates a task for each stream in a watched chat. One process at a time should run it; should two see
    the same stream, there is one task."""

    def __init__(self, accounts: Accounts, store: Store, tasks: TaskService) -> None:
        self._accounts = accounts
        self._store = store
        self._tasks = tasks

    async def check(self) -> None:
        """Check every watch once. Raises `Unavailable` during an outage."""
        watches = sorted(await self._store.live.all(), key=lambda each: each.account)
        known = await self._store.live.broadcasts()
        for account, its_watches in groupby(watches, key=lambda each: each.account):
            await self._check_account(account, list(its_watches), known)

    async def _check_account(
        self, account: str, watches: Sequence[LiveWatch], known: dict[str, Broadcast]
    ) -> None:
        """Check the chats of an account, a hundred with one request."""
        try:
            tops = await self._accounts.history.tops(account, {each.chat: each.username for each in watches})
        except TaskError as error:
            for watch in watches:
                await self._store.live.set_problem(watch.id, error.text)
            return
        known = {watch.id: known[watch.id] for watch in watches if watch.id in known}
        for watch in watches:
            top = tops.get(watch.chat)
            try:
                call = await self._call(account, watch) if top and top.is_live else None
                await self._note(watch, call, known)
            except Unavailable:
                raise
            except SaveAnyError as error:
                _log.info("live_not_recorded", watch=watch.id, reason=error.message)
                await self._store.live.set_problem(watch.id, error.text)
            else:
                await self._store.live.set_problem(watch.id, None)

    async def _call(self, account: str, watch: LiveWatch) -> LiveCall | None:
        return await self._accounts.live_call(account, str(watch.chat) if not watch.username else watch.name)

    async def _note(self, watch: LiveWatch, call: LiveCall | None, known: dict[str, Broadcast]) -> None:
        """Have a stream recorded that is new, and store what is known of it. `known` are the streams in the
        chats of the account, by the id of their watch."""
        before = known.get(watch.id)
        if call is None:
            if before is not None:
                await self._store.live.note(watch.id, None)
            return
        now = await self._store.db.time_ms()
        if before is None or before.call != call.id:
            # All users of the account share the recording of an ordinary call, which has one name.
            began = next((each.started_at for each in known.values() if each.call == call.id), 0)
            if not (call.is_stream or began):
                await self._check_recordable(watch, call)
            before = Broadcast(
                call=call.id,
                started_at=began or now,
                seen_at=now,
                viewers=call.viewers,
                most_viewers=call.viewers,
                task_id=await self._record(watch, call, began or now),
            )
            _log.info("live_stream_noticed", watch=watch.id, task=before.task_id)
        most = max(before.most_viewers, call.viewers)
        seen = replace(before, seen_at=now, viewers=call.viewers, most_viewers=most)
        await self._store.live.note(watch.id, seen)
        known[watch.id] = seen

    async def _check_recordable(self, watch: LiveWatch, call: LiveCall) -> None:
        """Refuse an ordinary call that the account cannot have recorded, or that somebody else has."""
        if not call.is_managed:
            raise ordinary_call()
        if call.is_recorded:
            tasks = await self._tasks.list(Principal(watch.user_id))
            if not any(each.spec.type == LIVE and each.spec.params.get("call") == call.id for each in tasks):
                raise Permanent("an administrator of the chat is recording this call already")

    async def _record(self, watch: LiveWatch, call: LiveCall, now: int) -> str:
        """Create the task of a stream, unless it exists. Returns its id."""
        stream: dict[str, Any] = {
            "call": call.id,
            "title": watch.title,
            "chat_id": watch.chat,
            "account": watch.account,
            "started": now,
        }
        if not call.is_stream:
            stream["saved_after"] = await CallRecorder(self._accounts).last_saved(watch.account)
        request = recording_request(watch.name, watch.storage, watch.folder, stream=stream)
        accepted = await self._tasks.submit(
            Principal(watch.user_id), request, key=f"live:{watch.id}:{call.id}"
        )
        return accepted.id
