"""stories.getStoriesByID: the stories of users and channels."""

from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import access, wrappings
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.registry import RequestContext, handles


@handles(fn.stories.GetStoriesByIDRequest, bots=False)
def get_stories_by_id(context: RequestContext, request: Any) -> Any:
    """Those of the requested stories that have not expired."""
    owner = _owner(context, request.peer)
    found = {id_: context.world.stories.get((owner, id_)) for id_ in request.id}
    shown = [wrappings.story(context.view, id_, file) for id_, file in found.items() if file]
    return tl.stories.Stories(count=len(shown), stories=shown, chats=[], users=[])


def _owner(context: RequestContext, peer: Any) -> int:
    """The account or channel of a peer. Raises if the caller does not know it."""
    if isinstance(peer, tl.InputPeerUserFromMessage | tl.InputPeerChannelFromMessage):
        return _named_in(context, peer)
    if isinstance(peer, tl.InputPeerChannel):
        return context.chat(peer).id
    if not isinstance(peer, tl.InputPeerUser):
        raise RpcFailure(400, "PEER_ID_INVALID")
    if peer.access_hash != access.access_hash(context.account, peer.user_id):
        raise RpcFailure(400, "USER_ID_INVALID")
    return int(peer.user_id)


def _named_in(context: RequestContext, peer: Any) -> int:
    """The account or channel that posted the story quoted in a message
    (https://core.telegram.org/api/min)."""
    message = context.peer(peer.peer).messages.get(peer.msg_id)
    if message is None:
        raise RpcFailure(400, "MSG_ID_INVALID")
    wanted = peer.user_id if isinstance(peer, tl.InputPeerUserFromMessage) else peer.channel_id
    owner, _ = message.wrapped.story if message.wrapped and message.wrapped.story else (0, 0)
    if owner != wanted:
        raise RpcFailure(400, "PEER_ID_INVALID")
    return int(wanted)
