"""What people do besides writing: block others, type, read."""

from datetime import UTC, datetime
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.registry import RequestContext, answers
from saveany.sandbox.world import SandboxAccount


@answers(fn.contacts.BlockRequest, bots=False)
def block(context: RequestContext, request: Any) -> bool:
    """Hear no more of somebody; a bot is told that it was stopped."""
    return _set_blocked(context, request, True)


@answers(fn.contacts.UnblockRequest, bots=False)
def unblock(context: RequestContext, request: Any) -> bool:
    """Let somebody write again."""
    return _set_blocked(context, request, False)


@answers(fn.messages.SetTypingRequest)
def set_typing(context: RequestContext, request: Any) -> bool:
    """Say that one is typing, or sending a file; nobody is told here."""
    context.peer(request.peer)
    return True


@answers(fn.messages.ReadHistoryRequest, bots=False)
def read_history(context: RequestContext, request: Any) -> Any:
    """Have read private messages."""
    context.peer(request.peer)
    return tl.messages.AffectedMessages(pts=context.world.private_chats.box(context.account).pts, pts_count=0)


@answers(fn.channels.ReadHistoryRequest, bots=False)
def read_channel_history(context: RequestContext, request: Any) -> bool:
    """Have read messages of a channel."""
    context.chat(request.channel)
    return True


def _set_blocked(context: RequestContext, request: Any, stopped: bool) -> bool:
    other, me = context.user(request.id), context.account
    if other is None or other is me:
        raise RpcFailure(400, "CONTACT_ID_INVALID")
    if (other.id in me.blocked) != stopped:
        me.blocked ^= {other.id}
        if other.bot:
            _tell(context, other, stopped)
    return True


def _tell(context: RequestContext, bot: SandboxAccount, stopped: bool) -> None:
    me = context.account
    bot.qts += 1
    update = tl.UpdateBotStopped(me.id, datetime.now(UTC), stopped, bot.qts)
    bot.stops.append((me, update))
    context.news.push_to(bot, update, context.world.private_chats.of(bot, me), [me])
