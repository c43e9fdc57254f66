"""contacts.block and unblock, typing status, and marking messages as read."""

from datetime import UTC, datetime
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.world import SandboxAccount


@handles(fn.contacts.BlockRequest, bots=False)
def block(context: RequestContext, request: Any) -> bool:
    """Block an account; a bot is notified."""
    return _set_blocked(context, request, True)


@handles(fn.contacts.UnblockRequest, bots=False)
def unblock(context: RequestContext, request: Any) -> bool:
    """Unblock an account; a bot is notified."""
    return _set_blocked(context, request, False)


@handles(fn.messages.SetTypingRequest)
def set_typing(context: RequestContext, request: Any) -> bool:
    """Set the typing status; the sandbox does not pass it on."""
    context.peer(request.peer)
    return True


@handles(fn.messages.ReadHistoryRequest, bots=False)
def read_history(context: RequestContext, request: Any) -> Any:
    """Mark messages outside of channels as read."""
    context.peer(request.peer)
    return tl.messages.AffectedMessages(pts=context.world.private_chats.box(context.account).pts, pts_count=0)


@handles(fn.channels.ReadHistoryRequest, bots=False)
def read_channel_history(context: RequestContext, request: Any) -> bool:
    """Mark messages of a channel as read."""
    context.chat(request.channel)
    return True


def _set_blocked(context: RequestContext, request: Any, stopped: bool) -> bool:
    other, me = context.user(request.id), context.account
    if other is None or other is me:
        raise RpcFailure(400, "CONTACT_ID_INVALID")
    if (other.id in me.blocked) != stopped:
        me.blocked ^= {other.id}
        if other.bot:
            _notify_bot(context, other, stopped)
    return True


def _notify_bot(context: RequestContext, bot: SandboxAccount, stopped: bool) -> None:
    me = context.account
    bot.qts += 1
    update = tl.UpdateBotStopped(me.id, datetime.now(UTC), stopped, bot.qts)
    bot.stops.append((me, update))
    context.broadcaster.push_to(bot, update, context.world.private_chats.side(bot, me), [me])
