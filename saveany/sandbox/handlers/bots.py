"""bots.*: the commands a bot publishes, by scope and language; and starting a bot."""

import re
from collections.abc import Sequence
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.registry import RequestContext, answers
from saveany.sandbox.handlers.sending import send_message
from saveany.sandbox.world import SandboxAccount

_COMMAND = re.compile(r"[a-z0-9_]{1,32}")
_LANGUAGE = re.compile(r"([a-z]{2})?")
_LONGEST_DESCRIPTION, _MOST_COMMANDS = 256, 100
_LONGEST_START = 64


@answers(fn.bots.SetBotCommandsRequest)
def set_bot_commands(context: RequestContext, request: Any) -> bool:
    """Publish commands to those in the scope whose client speaks the language; "" is any other language."""
    if len(request.commands) > _MOST_COMMANDS:
        raise RpcFailure(400, "BOT_COMMANDS_TOO_MUCH")
    for command in request.commands:
        if not _COMMAND.fullmatch(command.command):
            raise RpcFailure(400, "BOT_COMMAND_INVALID")
        if not 1 <= len(command.description) <= _LONGEST_DESCRIPTION:
            raise RpcFailure(400, "BOT_COMMAND_DESCRIPTION_INVALID")
    context.account.commands[_place(context, request)] = tuple(request.commands)
    return True


@answers(fn.bots.GetBotCommandsRequest)
def get_bot_commands(context: RequestContext, request: Any) -> list[Any]:
    """What was published for exactly this scope and language."""
    return list(context.account.commands.get(_place(context, request), ()))


@answers(fn.bots.ResetBotCommandsRequest)
def reset_bot_commands(context: RequestContext, request: Any) -> bool:
    """Publish none any more."""
    context.account.commands.pop(_place(context, request), None)
    return True


@answers(fn.messages.StartBotRequest, bots=False)
def start_bot(context: RequestContext, request: Any) -> Any:
    """What a link `t.me/bot?start=…` does: says /start to it."""
    bot = context.user(request.bot)
    if bot is None or not bot.bot:
        raise RpcFailure(400, "BOT_INVALID")
    if not request.start_param or len(request.start_param) > _LONGEST_START:
        raise RpcFailure(400, "START_PARAM_INVALID")
    said = f"/start {request.start_param}"
    return send_message(context, fn.messages.SendMessageRequest(request.peer, said, None, request.random_id))


def bot_info(bot: SandboxAccount, reader: SandboxAccount) -> Any:
    """What somebody is shown of a bot in a private talk: the nearest scope's commands, in their language."""
    scopes = (b"peer %d" % reader.id, bytes(tl.BotCommandScopeUsers()), bytes(tl.BotCommandScopeDefault()))
    places = [(scope, language) for scope in scopes for language in (reader.language, "")]
    found: Sequence[Any] = next((bot.commands[place] for place in places if place in bot.commands), ())
    return tl.BotInfo(user_id=bot.id, commands=list(found) or None)


def _place(context: RequestContext, request: Any) -> tuple[bytes, str]:
    if not context.account.bot:
        raise RpcFailure(400, "USER_BOT_REQUIRED")
    if not _LANGUAGE.fullmatch(request.lang_code):
        raise RpcFailure(400, "LANG_CODE_INVALID")
    if isinstance(request.scope, tl.BotCommandScopePeer):
        return b"peer %d" % context.peer(request.scope.peer).id, request.lang_code
    return bytes(request.scope), request.lang_code
