"""updates.*: missed updates (https://core.telegram.org/api/updates#recovering-gaps)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import broadcast
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.chats import dialog
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.model import MessageEvent, MessageEventKind
from saveany.sandbox.world import Chat

_SLICE = 100  # events per reply
_NEWEST = 10  # messages of a channel in the reply if too many events were missed


@handles(fn.updates.GetStateRequest)
def get_state(context: RequestContext, request: Any) -> Any:
    """The current state of an account's box."""
    return _state(context, context.world.private_chats.box(context.account).pts)


@handles(fn.updates.GetDifferenceRequest)
def get_difference(context: RequestContext, request: Any) -> Any:
    """The missed events outside of channels, and the channels with events since the client's date."""
    box = context.world.private_chats.box(context.account)
    _check_pts(request.pts, box.pts)
    missed = box.since(request.pts)
    if request.pts_total_limit and len(missed) > request.pts_total_limit:
        return tl.updates.DifferenceTooLong(box.pts)
    part = missed[:_SLICE]
    if part != missed:
        state = _state(context, part[-1].pts)
        return tl.updates.DifferenceSlice(
            new_encrypted_messages=[], intermediate_state=state, **_content(context, part)
        )
    content = _content(context, part)
    _add_stops(context, content, request.qts)
    _add_channels(context, content, request.date)
    if not content["new_messages"] and not content["other_updates"] and not part:
        return tl.updates.DifferenceEmpty(date=datetime.now(UTC), seq=1)
    return tl.updates.Difference(new_encrypted_messages=[], state=_state(context, box.pts), **content)


@handles(fn.updates.GetChannelDifferenceRequest)
def get_channel_difference(context: RequestContext, request: Any) -> Any:
    """The missed events of a channel; only the newest messages if more than `limit` events were missed."""
    chat = context.chat(request.channel)
    _check_pts(request.pts, chat.box.pts)
    if request.pts == chat.box.pts:
        return tl.updates.ChannelDifferenceEmpty(pts=request.pts, final=True)
    if chat.box.pts - request.pts > request.limit:
        return _too_long(context, chat)
    missed = chat.box.since(request.pts)
    part = missed[:_SLICE]
    seen = [event for event in part if broadcast.sees(context.account, event)]
    return tl.updates.ChannelDifference(pts=part[-1].pts, final=part == missed, **_content(context, seen))


def _check_pts(requested: int, pts: int) -> None:
    if requested <= 0:
        raise RpcFailure(400, "PERSISTENT_TIMESTAMP_EMPTY")
    if requested > pts:
        raise RpcFailure(400, "PERSISTENT_TIMESTAMP_INVALID")


def _state(context: RequestContext, pts: int) -> Any:
    return tl.updates.State(pts=pts, qts=context.account.qts, date=datetime.now(UTC), seq=1, unread_count=0)


def _add_stops(context: RequestContext, content: dict[str, list[Any]], qts: int) -> None:
    """Add the users who have blocked or unblocked the bot."""
    known = {user.id for user in content["users"]}
    for person, update in context.account.stops:
        if update.qts > qts:
            content["other_updates"].append(update)
            content["users"] += [context.view.user(person)] if person.id not in known else []
            known.add(person.id)


def _add_channels(context: RequestContext, content: dict[str, list[Any]], since: datetime | None) -> None:
    """Add the account's channels with events in this second or later."""
    for chat in context.world.chats.values():
        mine = context.account.id in chat.members
        if mine and (since is None or chat.box.events[-1].date >= since):
            content["other_updates"].append(tl.UpdateChannelTooLong(chat.id, pts=chat.box.pts))
            content["chats"].append(context.view.chat(chat))


def _content(context: RequestContext, events: Sequence[MessageEvent]) -> dict[str, list[Any]]:
    """The messages and other updates of events. A new message is shown only in its latest version."""
    new = [event for event in events if event.kind is MessageEventKind.NEW]
    new_ids = {(event.chat.id, id_) for event in new for id_ in event.ids}
    rest = [
        e
        for e in events
        if e.kind is not MessageEventKind.NEW and not {(e.chat.id, i) for i in e.ids} <= new_ids
    ]
    updates = [broadcast.update_of(context.view, event) for event in rest]
    return {
        "new_messages": [context.view.message(e.chat, m) for e in new for m in broadcast.messages(e)],
        "other_updates": [update for update in updates if update is not None],
        **broadcast.peers_of(context.view, events),
    }


def _too_long(context: RequestContext, chat: Chat) -> Any:
    newest = chat.newest_first()[:_NEWEST]
    return tl.updates.ChannelDifferenceTooLong(
        dialog=dialog(chat, newest[0]),
        messages=[context.view.message(chat, message) for message in newest],
        final=True,
        **context.view.peers_of(chat, newest),
    )
