"""Which function answers which request, and what it is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from telethon.tl import types as tl

from saveany.sandbox import broadcast
from saveany.sandbox.cdn import Cdn
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.key_store import KeyStore, StoredKey
from saveany.sandbox.message_boxes import MessageEvent
from saveany.sandbox.view import AccountView
from saveany.sandbox.world import Chat, SandboxAccount, World


@dataclass
class RequestContext:
    """Where and by whom a request is asked."""

    world: World
    vault: KeyStore
    news: broadcast.UpdateBroadcaster
    key: StoredKey
    dc: int
    home: int  # the data centre of every account
    addresses: Mapping[int, tuple[str, int]]
    options: Sequence[Any]  # TL dcOption: addresses beside those
    cdn: Cdn | None
    events: list[MessageEvent]  # what the request has made happen

    @cached_property
    def account(self) -> SandboxAccount:
        """The account that is logged in with this key."""
        if self.key.account is None:
            raise RpcFailure(401, "AUTH_KEY_UNREGISTERED")
        return self.world.accounts[self.key.account]

    @cached_property
    def view(self) -> AccountView:
        """The world as this account sees it."""
        return AccountView(self.world, self.account)

    def chat(self, peer: Any) -> Chat:
        """The chat of an `inputChannel` or `inputPeerChannel`."""
        if not hasattr(peer, "channel_id") or not hasattr(peer, "access_hash"):
            raise RpcFailure(400, "PEER_ID_INVALID")
        return self.world.chat(self.account, peer.channel_id, peer.access_hash)

    def peer(self, peer: Any) -> Chat:
        """The chat of any `inputPeer`: a channel, a small group, a talk with somebody or oneself."""
        if isinstance(peer, tl.InputPeerSelf) or hasattr(peer, "user_id"):
            other = self.user(peer)
            if other is None or (other is self.account and self.account.bot):
                raise RpcFailure(400, "PEER_ID_INVALID")
            return self.world.private_chats.of(self.account, other)
        if isinstance(peer, tl.InputPeerChat):
            return self._group(peer.chat_id)
        return self.chat(peer)

    def user(self, peer: Any) -> SandboxAccount | None:
        """The account of an `inputUser` or `inputPeerUser`, if the hash is right.

        A bot may say 0 for the hash of somebody who has written to it.
        """
        if isinstance(peer, tl.InputUserSelf | tl.InputPeerSelf):
            return self.account
        user = self.world.accounts.get(getattr(peer, "user_id", 0))
        if user is None or peer.access_hash == self.world.access_hash(self.account, user.id):
            return user
        met = self.account.bot and peer.access_hash == 0
        return user if user is self.account or (met and self._has_met(user)) else None

    def _group(self, group_id: int) -> Chat:
        group = self.world.private_chats.groups.get(group_id)
        if group is None or self.account.id not in group.members:
            raise RpcFailure(400, "PEER_ID_INVALID")
        return self.world.private_chats.of(self.account, group)

    def _has_met(self, user: SandboxAccount) -> bool:
        return any(user.id in chat.members for chat in self.world.private_chats.held(self.account))

    def updates(self, *extra: Any) -> Any:
        """TL `updates` with what the request has made happen, after `extra`."""
        return broadcast.updates(self.view, self.events, *extra)


Handler = Callable[[RequestContext, Any], Any]


class Method(NamedTuple):
    """A function, and who may call it."""

    handle: Handler
    login: bool
    bots: bool


METHODS: dict[type, Method] = {}


def answers(*requests: type, login: bool = True, bots: bool = True) -> Callable[[Handler], Handler]:
    """Let the function answer these requests: only when logged in, also for bots, unless said otherwise."""

    def register(handle: Handler) -> Handler:
        METHODS.update(dict.fromkeys(requests, Method(handle, login, bots)))
        return handle

    return register
