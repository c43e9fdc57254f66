"""stories.getStoriesByID: the stories of users and channels."""

from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import access, wrappings
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.model import EPOCH


@handles(fn.stories.GetStoriesByIDRequest, bots=False)
def get_stories_by_id(context: RequestContext, request: Any) -> Any:
    """Those of the requested stories that have not expired."""
    owner = _owner(context, request.peer)
    found = {id_: context.world.stories.get((owner, id_)) for id_ in request.id}
    shown = [wrappings.story(context.view, id_, file) for id_, file in found.items() if file]
    return tl.stories.Stories(count=len(shown), stories=shown, chats=[], users=[])


@handles(fn.stories.GetPeerStoriesRequest, bots=False)
def get_peer_stories(context: RequestContext, request: Any) -> Any:
    """The current stories. All but the first one are named only."""
    world, owner = context.world, _owner(context, request.peer)
    numbers = sorted(id_ for of, id_ in world.stories if of == owner and (of, id_) not in world.pinned)
    shown = [
        tl.StoryItemSkipped(id_, EPOCH, EPOCH)
        if position
        else wrappings.story(context.view, id_, world.stories[owner, id_])
        for position, id_ in enumerate(numbers)
    ]
    return tl.stories.PeerStories(tl.PeerStories(tl.PeerChannel(owner), shown), chats=[], users=[])


@handles(fn.stories.GetPinnedStoriesRequest, bots=False)
def get_pinned_stories(context: RequestContext, request: Any) -> Any:
    """The pinned stories with lower ids than the offset, newest first."""
    world, owner = context.world, _owner(context, request.peer)
    numbers = sorted((id_ for of, id_ in world.pinned if of == owner), reverse=True)
    page = [id_ for id_ in numbers if not request.offset_id or id_ < request.offset_id][: request.limit]
    shown = [wrappings.story(context.view, id_, world.stories[owner, id_]) for id_ in page]
    return tl.stories.Stories(count=len(numbers), stories=shown, chats=[], users=[])


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
