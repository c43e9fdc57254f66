"""The registry of methods, and the context that their functions get."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from telethon.tl import types as tl

from saveany.sandbox import access, broadcast
from saveany.sandbox.cdn import Cdn
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.key_store import KeyStore, StoredKey
from saveany.sandbox.model import MessageEvent
from saveany.sandbox.view import WorldView
from saveany.sandbox.world import Chat, SandboxAccount, World


@dataclass
class RequestContext:
    """The context of a request: its account, data center and the state of the sandbox."""

    world: World
    key_store: KeyStore
    broadcaster: broadcast.UpdateBroadcaster
    key: StoredKey
    dc: int
    home: int  # the home data center of all accounts
    addresses: Mapping[int, tuple[str, int]]
    options: Sequence[Any]  # TL dcOption: further addresses
    cdn: Cdn | None
    events: list[MessageEvent]  # events that the request has caused

    @cached_property
    def account(self) -> SandboxAccount:
        """The account that is logged in with this key."""
        if self.key.account is None:
            raise RpcFailure(401, "AUTH_KEY_UNREGISTERED")
        return self.world.accounts[self.key.account]

    @cached_property
    def view(self) -> WorldView:
        """The world as this account sees it."""
        return WorldView(self.world, self.account)

    def chat(self, peer: Any) -> Chat:
        """The chat of an `inputChannel` or `inputPeerChannel`."""
        if not hasattr(peer, "channel_id") or not hasattr(peer, "access_hash"):
            raise RpcFailure(400, "PEER_ID_INVALID")
        return self.world.chat(self.account, peer.channel_id, peer.access_hash)

    def peer(self, peer: Any) -> Chat:
        """The chat of any `inputPeer`: a channel, a small group, a private chat or Saved Messages."""
        if isinstance(peer, tl.InputPeerSelf) or hasattr(peer, "user_id"):
            other = self.user(peer)
            if other is None or (other is self.account and self.account.bot):
                raise RpcFailure(400, "PEER_ID_INVALID")
            return self.world.private_chats.side(self.account, other)
        if isinstance(peer, tl.InputPeerChat):
            return self._group(peer.chat_id)
        return self.chat(peer)

    def user(self, peer: Any) -> SandboxAccount | None:
        """The account of an `inputUser` or `inputPeerUser`; None if the access hash is wrong.

        A bot may use access hash 0 for a user who has written to it.
        """
        if isinstance(peer, tl.InputUserSelf | tl.InputPeerSelf):
            return self.account
        user = self.world.accounts.get(getattr(peer, "user_id", 0))
        if user is None or peer.access_hash == access.access_hash(self.account, user.id):
            return user
        met = self.account.bot and peer.access_hash == 0
        return user if user is self.account or (met and self._has_met(user)) else None

    def _group(self, group_id: int) -> Chat:
        group = self.world.private_chats.groups.get(group_id)
        if group is None or self.account.id not in group.members:
            raise RpcFailure(400, "PEER_ID_INVALID")
        return self.world.private_chats.side(self.account, group)

    def _has_met(self, user: SandboxAccount) -> bool:
        return any(user.id in chat.members for chat in self.world.private_chats.non_empty(self.account))

    def updates(self, *extra: Any) -> Any:
        """TL `updates` with the events that the request has caused, after `extra`."""
        return broadcast.updates(self.view, self.events, *extra)


Handler = Callable[[RequestContext, Any], Any]


class Method(NamedTuple):
    """A function, whether it requires a login, and whether bots may call it."""

    handle: Handler
    login: bool
    bots: bool


METHODS: dict[type, Method] = {}


def handles(*requests: type, login: bool = True, bots: bool = True) -> Callable[[Handler], Handler]:
    """Register a function for these requests. By default it requires a login and is available to bots."""

    def register(handle: Handler) -> Handler:
        METHODS.update(dict.fromkeys(requests, Method(handle, login, bots)))
        return handle

    return register
