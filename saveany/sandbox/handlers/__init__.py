"""The implemented methods, one module per family.

`handle` is the only entry point. A new method is one function with `@handles` in the module of its family.
"""

from typing import Any

from telethon.tl.functions.upload import GetCdnFileRequest

from saveany.sandbox.cdn import CDN_DC
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers import (
    auth,
    bots,
    buttons,
    cdn,
    chats,
    config,
    contacts,
    editing,
    files,
    group_calls,
    messages,
    password,
    photos,
    sending,
    stories,
    takeout,
    tokens,
    updates,
    uploads,
)
from saveany.sandbox.handlers.registry import METHODS, RequestContext

__all__ = ["RequestContext", "handle"]
#: Importing these modules fills METHODS.
_FAMILIES = (
    *(auth, bots, buttons, cdn, chats, config, editing, files, group_calls),
    *(messages, password, photos, contacts, sending, stories, takeout, tokens),
    *(updates, uploads),
)


def handle(context: RequestContext, request: Any) -> Any:
    """The result of a request: a TL object, list, bool or `files.FilePart`. Raises `RpcFailure` if it is
    refused."""
    if context.key.refused is not None:
        raise RpcFailure(*context.key.refused)
    if context.dc == CDN_DC and not isinstance(request, GetCdnFileRequest):
        raise RpcFailure(400, "CDN_METHOD_INVALID")
    method = METHODS.get(type(request))
    if method is None:
        raise RpcFailure(400, "METHOD_NOT_IMPLEMENTED")
    if method.login and context.account.bot and not method.bots:
        raise RpcFailure(400, "BOT_METHOD_INVALID")
    takeout.check_takeout(context, request)
    return method.handle(context, request)
