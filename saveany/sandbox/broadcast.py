"""Broadcasts the events of the world to the accounts that can see them, as Telegram's updates.

They are pushed to each connected session that has sent any request without `invokeWithoutUpdates`. The
session whose request caused an event receives it in the reply. All others fetch it later
(`handlers.updates`). `seq` is always 0, so clients do not use it for the order. Privacy mode leaves gaps in
the `pts` that a bot sees, which makes it fetch the difference.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from telethon.tl import types as tl

from saveany.sandbox.group_calls import GroupCall
from saveany.sandbox.key_store import StoredKey
from saveany.sandbox.model import MessageEvent, MessageEventKind
from saveany.sandbox.privacy import is_visible
from saveany.sandbox.view import WorldView, peer_of
from saveany.sandbox.world import Chat, SandboxAccount, StoredMessage, World


class UpdateListener(Protocol):
    """A connection that updates can be pushed to."""

    @property
    def key(self) -> StoredKey | None:
        """The key in use on it."""

    @property
    def receives_updates(self) -> bool:
        """Whether updates are pushed to it."""

    def push_updates(self, updates: Any) -> None:
        """Push TL `Updates`."""


class UpdateBroadcaster:
    """Pushes the events of a world to listeners."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._listeners: set[UpdateListener] = set()
        self._requester: UpdateListener | None = None
        self._caused: list[MessageEvent] = []
        world.observers.append(self._on_event)
        world.calls.observers.append(self._on_call)

    def add_listener(self, listener: UpdateListener) -> None:
        """Add a listener."""
        self._listeners.add(listener)

    def remove_listener(self, listener: UpdateListener) -> None:
        """Remove a listener."""
        self._listeners.discard(listener)

    @contextmanager
    def handling(self, listener: UpdateListener) -> Iterator[list[MessageEvent]]:
        """Collect the events that a listener's request causes in the list, instead of pushing them to it."""
        self._requester, self._caused = listener, []
        try:
            yield self._caused
        finally:
            self._requester = None

    def push(self, update: Any, *, account: int | None = None, key: StoredKey | None = None) -> int:
        """Push an update without a pts to an account, or to the sessions with a key. Returns the number of
        sessions."""
        listening = [each for each in self._listeners if each.receives_updates and each.key is not None]
        receivers = [e for e in listening if e.key is key or (account is not None and _account(e) == account)]
        return self._push_all(receivers, tl.UpdateShort(update, datetime.now(UTC)))

    def push_to(
        self, account: SandboxAccount, update: Any, chat: Chat, users: Iterable[SandboxAccount]
    ) -> int:
        """Push an update about a chat to an account; `users` caused it. Returns the number of sessions."""
        view = WorldView(self._world, account)
        shown = {user.id: view.user(user) for user in users}
        chat_peers = view.peers_of(chat, [])
        users_by_id = {**{user.id: user for user in chat_peers["users"]}, **shown}
        tl_updates = tl.Updates(
            [update], list(users_by_id.values()), chat_peers["chats"], datetime.now(UTC), 0
        )
        receivers = [
            each for each in self._listeners if each.receives_updates and _account(each) == account.id
        ]
        return self._push_all(receivers, tl_updates)

    def _push_all(self, receivers: list[UpdateListener], tl_updates: Any) -> int:
        for listener in receivers:
            listener.push_updates(tl_updates)
        return len(receivers)

    def _on_call(self, call: GroupCall) -> None:
        for account in [self._world.accounts[id_] for id_ in call.chat.members]:
            shown = WorldView(self._world, account).group_call(call)
            self.push_to(account, tl.UpdateGroupCall(shown, peer=peer_of(call.chat)), call.chat, [])

    def _on_event(self, event: MessageEvent) -> None:
        if self._requester is not None:
            self._caused.append(event)
        for listener in [
            each for each in self._listeners if each.receives_updates and each is not self._requester
        ]:
            account = self._world.accounts.get(_account(listener) or 0)
            if account is not None and sees(account, event):
                listener.push_updates(updates(WorldView(self._world, account), [event]))


def updates(view: WorldView, events: Iterable[MessageEvent], *extra: Any) -> Any:
    """TL `updates` with those events that the account can see, after the updates in `extra`."""
    seen = [event for event in events if sees(view.account, event)]
    found = [update for update in (update_of(view, event) for event in seen) if update is not None]
    return tl.Updates([*extra, *found], date=datetime.now(UTC), seq=0, **peers_of(view, seen))


def peers_of(view: WorldView, events: Iterable[MessageEvent]) -> dict[str, list[Any]]:
    """The chats and users that events refer to."""
    return view.peers_of_all((event.chat, messages(event)) for event in events)


def messages(event: MessageEvent) -> list[StoredMessage]:
    """The messages of an event that still exist."""
    return [event.chat.messages[id_] for id_ in event.ids if id_ in event.chat.messages]


def update_of(view: WorldView, event: MessageEvent) -> Any:
    """An event as a TL update; None if its message was deleted."""
    chat, counted = event.chat, {"pts": event.pts, "pts_count": event.count}
    if event.kind is MessageEventKind.DELETED:
        if chat.private:
            return tl.UpdateDeleteMessages(list(event.ids), **counted)
        return tl.UpdateDeleteChannelMessages(chat.id, list(event.ids), **counted)
    present = messages(event)
    if not present:
        return None
    return _MESSAGE_UPDATES[event.kind, chat.private](view.message(chat, present[0]), **counted)


_MESSAGE_UPDATES: dict[tuple[MessageEventKind, bool], Any] = {
    (MessageEventKind.NEW, True): tl.UpdateNewMessage,
    (MessageEventKind.NEW, False): tl.UpdateNewChannelMessage,
    (MessageEventKind.EDITED, True): tl.UpdateEditMessage,
    (MessageEventKind.EDITED, False): tl.UpdateEditChannelMessage,
}


def sees(account: SandboxAccount, event: MessageEvent) -> bool:
    """Whether an account can see an event."""
    chat = event.chat
    if chat.private:
        return chat.owner == account.id
    if account.id not in chat.members:
        return False
    return event.kind is MessageEventKind.DELETED or any(
        is_visible(account, chat, each) for each in messages(event)
    )


def _account(listener: UpdateListener) -> int | None:
    return listener.key.account if listener.key is not None else None
