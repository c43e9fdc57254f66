"""What the data centre answers to each request: one module per family of methods.

`answer` is the only entry; a new method is one function with `@answers` in the module of its family.
"""

from typing import Any

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers import (
    auth,
    bots,
    buttons,
    chats,
    config,
    editing,
    files,
    messages,
    password,
    people,
    sending,
    stories,
    tokens,
    updates,
    uploads,
)
from saveany.sandbox.handlers.registry import METHODS, Context

__all__ = ["Context", "answer"]
#: Importing them fills METHODS.
_FAMILIES = (
    *(auth, bots, buttons, chats, config, editing, files),
    *(messages, password, people, sending, stories, tokens),
    *(updates, uploads),
)


def answer(context: Context, request: Any) -> Any:
    """The result of a request, as TL object, list, bool or `files.Part`; RpcFailure if it is refused."""
    if context.key.refused is not None:
        raise RpcFailure(*context.key.refused)
    method = METHODS.get(type(request))
    if method is None:
        raise RpcFailure(400, "METHOD_NOT_IMPLEMENTED")
    if method.login and context.account.bot and not method.bots:
        raise RpcFailure(400, "BOT_METHOD_INVALID")
    return method.handle(context, request)
