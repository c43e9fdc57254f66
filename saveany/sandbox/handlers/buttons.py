"""Inline keyboards: their rules, and callback queries."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.view import peer_of
from saveany.sandbox.world import Chat, SandboxAccount, StoredMessage

_MAX_DATA = 64  # bytes
_MAX_BUTTONS = 100
_MAX_REPLY = 200  # characters
_SCHEMES = ("http://", "https://", "tg://", "ton://")


@dataclass(frozen=True)
class Query:
    """A callback query that waits for the bot's reply."""

    bot: int
    reply: asyncio.Future[Any]


@handles(fn.messages.GetBotCallbackAnswerRequest, bots=False)
def get_bot_callback_answer(context: RequestContext, request: Any) -> Any:
    """Press a button. The result is the bot's reply."""
    chat = context.peer(request.peer)
    message = chat.messages.get(request.msg_id)
    if message is None:
        raise RpcFailure(400, "MESSAGE_ID_INVALID")
    bot = context.world.accounts.get(message.sender or 0)
    if request.data not in list(_callback_data(message.markup)):
        raise RpcFailure(400, "DATA_INVALID")
    if bot is None or not bot.bot:
        raise RpcFailure(400, "BOT_INVALID")
    return _press(context, bot, *_as_seen_by(context, bot, chat, message), request.data)


@handles(fn.messages.SetBotCallbackAnswerRequest)
def set_bot_callback_answer(context: RequestContext, request: Any) -> bool:
    """Reply to a callback query, once and in time."""
    if not context.account.bot:
        raise RpcFailure(400, "USER_BOT_REQUIRED")
    if len(request.message or "") > _MAX_REPLY:
        raise RpcFailure(400, "MESSAGE_TOO_LONG")
    query = context.world.callback_queries.get(request.query_id)
    if query is None or query.bot != context.account.id or query.reply.done():
        raise RpcFailure(400, "QUERY_ID_INVALID")
    del context.world.callback_queries[request.query_id]
    query.reply.set_result(
        tl.messages.BotCallbackAnswer(
            cache_time=request.cache_time,
            alert=request.alert,
            has_url=bool(request.url) or None,
            message=request.message,
            url=request.url,
        )
    )
    return True


def check_markup(context: RequestContext, markup: Any) -> None:
    """Refuse keyboards that the service would refuse. Users cannot send any."""
    if markup is None:
        return
    if not context.account.bot:
        raise RpcFailure(400, "REPLY_MARKUP_INVALID")
    buttons = list(_buttons(markup))
    if len(buttons) > _MAX_BUTTONS:
        raise RpcFailure(400, "REPLY_MARKUP_TOO_LONG")
    for button in buttons:
        if not button.text:
            raise RpcFailure(400, "BUTTON_TEXT_INVALID")
        if not 1 <= len(getattr(button.type, "data", b"-")) <= _MAX_DATA:
            raise RpcFailure(400, "BUTTON_DATA_INVALID")
        if not getattr(button.type, "url", "https://").startswith(_SCHEMES):
            raise RpcFailure(400, "BUTTON_URL_INVALID")


def _press(
    context: RequestContext, bot: SandboxAccount, chat: Chat, message: StoredMessage, data: bytes
) -> Any:
    """Push a callback query to the bot's sessions. Without a reply in time it fails with
    BOT_RESPONSE_TIMEOUT."""
    loop, world, number = asyncio.get_running_loop(), context.world, context.world.new_id()
    reply = loop.create_future()
    world.callback_queries[number] = Query(bot.id, reply)
    timer = loop.call_later(world.callback_timeout, _time_out, reply)

    def forget(_: object) -> None:
        timer.cancel()
        world.callback_queries.pop(number, None)

    reply.add_done_callback(forget)
    update = tl.UpdateBotCallbackQuery(
        query_id=number,
        user_id=context.account.id,
        peer=peer_of(chat),
        msg_id=message.id,
        chat_instance=chat.id,
        data=data,
    )
    context.broadcaster.push_to(bot, update, chat, [context.account])
    return reply


def _time_out(reply: asyncio.Future[Any]) -> None:
    if not reply.done():
        reply.set_exception(RpcFailure(400, "BOT_RESPONSE_TIMEOUT"))


def _as_seen_by(
    context: RequestContext, bot: SandboxAccount, chat: Chat, message: StoredMessage
) -> tuple[Chat, StoredMessage]:
    """The bot's copy of a private message, which may have been deleted for the bot only."""
    if not chat.private:
        return chat, message
    for side, copy in context.world.private_chats.copies(chat, message.id):
        if side.owner == bot.id:
            return side, copy
    raise RpcFailure(400, "MESSAGE_ID_INVALID")


def _buttons(markup: Any) -> Iterator[Any]:
    for row in getattr(markup, "rows", ()):
        yield from row.buttons


def _callback_data(markup: Any) -> Iterator[bytes]:
    kinds = (button.type for button in _buttons(markup))
    return (kind.data for kind in kinds if isinstance(kind, tl.InlineButtonTypeCallback))
