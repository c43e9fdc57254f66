"""bots.*: the published commands of a bot, by scope and language; and messages.startBot."""

import re
from collections.abc import Sequence
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.handlers.sending import send_message
from saveany.sandbox.world import SandboxAccount

_COMMAND = re.compile(r"[a-z0-9_]{1,32}")
_LANGUAGE = re.compile(r"([a-z]{2})?")
_MAX_DESCRIPTION, _MAX_COMMANDS = 256, 100
_MAX_START_PARAM = 64


@handles(fn.bots.SetBotCommandsRequest)
def set_bot_commands(context: RequestContext, request: Any) -> bool:
    """Publish commands for a scope and a language; "" stands for all other languages."""
    if len(request.commands) > _MAX_COMMANDS:
        raise RpcFailure(400, "BOT_COMMANDS_TOO_MUCH")
    for command in request.commands:
        if not _COMMAND.fullmatch(command.command):
            raise RpcFailure(400, "BOT_COMMAND_INVALID")
        if not 1 <= len(command.description) <= _MAX_DESCRIPTION:
            raise RpcFailure(400, "BOT_COMMAND_DESCRIPTION_INVALID")
    context.account.commands[_scope_and_language(context, request)] = tuple(request.commands)
    return True


@handles(fn.bots.GetBotCommandsRequest)
def get_bot_commands(context: RequestContext, request: Any) -> list[Any]:
    """The commands published for exactly this scope and language."""
    return list(context.account.commands.get(_scope_and_language(context, request), ()))


@handles(fn.bots.ResetBotCommandsRequest)
def reset_bot_commands(context: RequestContext, request: Any) -> bool:
    """Remove the commands for this scope and language."""
    context.account.commands.pop(_scope_and_language(context, request), None)
    return True


@handles(fn.messages.StartBotRequest, bots=False)
def start_bot(context: RequestContext, request: Any) -> Any:
    """Follow a link `t.me/bot?start=…`: sends /start to the bot."""
    bot = context.user(request.bot)
    if bot is None or not bot.bot:
        raise RpcFailure(400, "BOT_INVALID")
    if not request.start_param or len(request.start_param) > _MAX_START_PARAM:
        raise RpcFailure(400, "START_PARAM_INVALID")
    text = f"/start {request.start_param}"
    return send_message(context, fn.messages.SendMessageRequest(request.peer, text, None, request.random_id))


def bot_info(bot: SandboxAccount, reader: SandboxAccount) -> Any:
    """The information about a bot in a private chat: the commands of the nearest scope, in the reader's
    language."""
    scopes = (b"peer %d" % reader.id, bytes(tl.BotCommandScopeUsers()), bytes(tl.BotCommandScopeDefault()))
    keys = [(scope, language) for scope in scopes for language in (reader.language, "")]
    found: Sequence[Any] = next((bot.commands[key] for key in keys if key in bot.commands), ())
    return tl.BotInfo(user_id=bot.id, commands=list(found) or None)


def _scope_and_language(context: RequestContext, request: Any) -> tuple[bytes, str]:
    if not context.account.bot:
        raise RpcFailure(400, "USER_BOT_REQUIRED")
    if not _LANGUAGE.fullmatch(request.lang_code):
        raise RpcFailure(400, "LANG_CODE_INVALID")
    if isinstance(request.scope, tl.BotCommandScopePeer):
        return b"peer %d" % context.peer(request.scope.peer).id, request.lang_code
    return bytes(request.scope), request.lang_code
