"""updates.*: what was missed (https://core.telegram.org/api/updates#recovering-gaps)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import broadcast
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.chats import dialog
from saveany.sandbox.handlers.registry import RequestContext, answers
from saveany.sandbox.message_boxes import MessageEvent, MessageEventKind
from saveany.sandbox.world import Chat

_SLICE = 100  # events that come at once
_NEWEST = 10  # messages that are shown of a channel when too many were missed


@answers(fn.updates.GetStateRequest)
def get_state(context: RequestContext, request: Any) -> Any:
    """Where an account's own box is now."""
    return _state(context, context.world.private_chats.box(context.account).pts)


@answers(fn.updates.GetDifferenceRequest)
def get_difference(context: RequestContext, request: Any) -> Any:
    """What happened to private messages, and which channels have news since the client's date."""
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


@answers(fn.updates.GetChannelDifferenceRequest)
def get_channel_difference(context: RequestContext, request: Any) -> Any:
    """What happened in a channel; who missed more than `limit` events is told the newest messages only."""
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


def _check_pts(asked: int, pts: int) -> None:
    if asked <= 0:
        raise RpcFailure(400, "PERSISTENT_TIMESTAMP_EMPTY")
    if asked > pts:
        raise RpcFailure(400, "PERSISTENT_TIMESTAMP_INVALID")


def _state(context: RequestContext, pts: int) -> Any:
    return tl.updates.State(pts=pts, qts=context.account.qts, date=datetime.now(UTC), seq=1, unread_count=0)


def _add_stops(context: RequestContext, content: dict[str, list[Any]], qts: int) -> None:
    """Who has blocked the bot, or unblocked it."""
    known = {user.id for user in content["users"]}
    for person, update in context.account.stops:
        if update.qts > qts:
            content["other_updates"].append(update)
            content["users"] += [context.view.user(person)] if person.id not in known else []
            known.add(person.id)


def _add_channels(context: RequestContext, content: dict[str, list[Any]], since: datetime | None) -> None:
    """The account's channels in which something happened in this second or later."""
    for chat in context.world.chats.values():
        mine = context.account.id in chat.members
        if mine and (since is None or chat.box.events[-1].date >= since):
            content["other_updates"].append(tl.UpdateChannelTooLong(chat.id, pts=chat.box.pts))
            content["chats"].append(context.view.chat(chat))


def _content(context: RequestContext, events: Sequence[MessageEvent]) -> dict[str, list[Any]]:
    """Messages and other updates of events; of a message that is new only its last form is shown."""
    new = [event for event in events if event.kind is MessageEventKind.NEW]
    born = {(event.chat.id, id_) for event in new for id_ in event.ids}
    rest = [
        e
        for e in events
        if e.kind is not MessageEventKind.NEW and not {(e.chat.id, i) for i in e.ids} <= born
    ]
    updates = [broadcast.update_of(context.view, event) for event in rest]
    return {
        "new_messages": [context.view.message(e.chat, m) for e in new for m in broadcast.messages(e)],
        "other_updates": [update for update in updates if update is not None],
        **broadcast.around(context.view, events),
    }


def _too_long(context: RequestContext, chat: Chat) -> Any:
    newest = chat.newest_first()[:_NEWEST]
    return tl.updates.ChannelDifferenceTooLong(
        dialog=dialog(chat, newest[0]),
        messages=[context.view.message(chat, message) for message in newest],
        final=True,
        **context.view.around(chat, newest),
    )
