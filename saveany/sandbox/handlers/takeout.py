"""account.*TakeoutSession (https://core.telegram.org/api/takeout)."""

from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.registry import RequestContext, handles


@handles(fn.account.InitTakeoutSessionRequest, bots=False)
def init_takeout_session(context: RequestContext, request: Any) -> Any:
    """A new takeout, in place of an open one."""
    world = context.world
    if world.takeout_delay:
        raise RpcFailure(420, f"TAKEOUT_INIT_DELAY_{world.takeout_delay}")
    world.takeouts[context.account.id] = world.new_id()
    return tl.account.Takeout(world.takeouts[context.account.id])


@handles(fn.account.FinishTakeoutSessionRequest, bots=False)
def finish_takeout_session(context: RequestContext, request: Any) -> Any:
    """End the takeout in which this is called."""
    if not getattr(request, "sandbox_takeout", 0):
        raise RpcFailure(403, "TAKEOUT_REQUIRED")
    del context.world.takeouts[context.account.id]
    return True


def check_takeout(context: RequestContext, request: Any) -> None:
    """Raise unless the takeout of a request, if it is in one, is open."""
    takeout = getattr(request, "sandbox_takeout", 0)
    if takeout and context.world.takeouts.get(context.account.id) != takeout:
        raise RpcFailure(400, "TAKEOUT_INVALID")
    if takeout:
        context.world.in_takeouts[type(request).__name__] += 1
