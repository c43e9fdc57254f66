"""Which function answers which request, and what it is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.vault import Key, Vault
from saveany.sandbox.view import View
from saveany.sandbox.world import Account, Chat, World


@dataclass
class Context:
    """Where and by whom a request is asked."""

    world: World
    vault: Vault
    key: Key
    dc: int
    home: int  # the data centre of every account
    addresses: Mapping[int, tuple[str, int]]

    @cached_property
    def account(self) -> Account:
        """The account that is logged in with this key."""
        if self.key.account is None:
            raise RpcFailure(401, "AUTH_KEY_UNREGISTERED")
        return self.world.accounts[self.key.account]

    @cached_property
    def view(self) -> View:
        """The world as this account sees it."""
        return View(self.world, self.account)

    def chat(self, peer: Any) -> Chat:
        """The chat of an `inputChannel` or `inputPeerChannel`."""
        if not hasattr(peer, "channel_id") or not hasattr(peer, "access_hash"):
            raise RpcFailure(400, "PEER_ID_INVALID")
        return self.world.chat(self.account, peer.channel_id, peer.access_hash)


Handler = Callable[[Context, Any], Any]


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
