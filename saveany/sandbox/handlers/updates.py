"""updates.*: nothing ever happens here yet, so there is never a difference."""

from datetime import UTC, datetime
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.handlers.registry import Context, answers


@answers(fn.updates.GetStateRequest)
def get_state(context: Context, request: Any) -> Any:
    """The one state there is."""
    return tl.updates.State(pts=1, qts=0, date=datetime.now(UTC), seq=1, unread_count=0)


@answers(fn.updates.GetDifferenceRequest)
def get_difference(context: Context, request: Any) -> Any:
    """Nothing was missed."""
    return tl.updates.DifferenceEmpty(date=datetime.now(UTC), seq=1)


@answers(fn.updates.GetChannelDifferenceRequest)
def get_channel_difference(context: Context, request: Any) -> Any:
    """Nothing was missed in a channel."""
    context.chat(request.channel)
    return tl.updates.ChannelDifferenceEmpty(pts=1, final=True)
