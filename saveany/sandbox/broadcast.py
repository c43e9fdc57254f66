"""Who is told what: events of the world as the updates that one account is shown.

An account that is connected has them pushed to each session that asked for anything without
`invokeWithoutUpdates`; the session whose request made them happen has them in its answer instead. Everybody
else fetches them later (`handlers.updates`). `seq` is 0 throughout, which means that order does not depend
on it; privacy mode leaves gaps in the `pts` that a bot is shown, so that it must fetch what is between.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from telethon.tl import types as tl

from saveany.sandbox.key_store import StoredKey
from saveany.sandbox.message_boxes import MessageEvent, MessageEventKind
from saveany.sandbox.privacy import meant_for
from saveany.sandbox.view import AccountView
from saveany.sandbox.world import Chat, SandboxAccount, StoredMessage, World


class UpdateListener(Protocol):
    """A connection to which updates can be pushed."""

    @property
    def key(self) -> StoredKey | None:
        """The key in use on it."""

    @property
    def listens(self) -> bool:
        """Whether it has asked for updates."""

    def tell(self, updates: Any) -> None:
        """Push TL `Updates`."""


class UpdateBroadcaster:
    """Tells listeners what happens in a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._listeners: set[UpdateListener] = set()
        self._asking: UpdateListener | None = None
        self._made: list[MessageEvent] = []
        world.watchers.append(self._happened)

    def join(self, listener: UpdateListener) -> None:
        """Tell it from now on."""
        self._listeners.add(listener)

    def leave(self, listener: UpdateListener) -> None:
        """Tell it no more."""
        self._listeners.discard(listener)

    @contextmanager
    def answering(self, listener: UpdateListener) -> Iterator[list[MessageEvent]]:
        """While its request is answered it is not told what this makes happen, which is in the list."""
        self._asking, self._made = listener, []
        try:
            yield self._made
        finally:
            self._asking = None

    def push(self, update: Any, *, account: int | None = None, key: StoredKey | None = None) -> int:
        """Tell an account, or whoever uses a key, something that has no number; returns how many heard it."""
        wanted = [each for each in self._listeners if each.listens and each.key is not None]
        hearers = [e for e in wanted if e.key is key or (account is not None and _account(e) == account)]
        return self._tell(hearers, tl.UpdateShort(update, datetime.now(UTC)))

    def push_to(
        self, account: SandboxAccount, update: Any, chat: Chat, users: Iterable[SandboxAccount]
    ) -> int:
        """The same for something in a chat that other people did."""
        view = AccountView(self._world, account)
        shown = {user.id: view.user(user) for user in users}
        around = view.around(chat, [])
        people = {**{user.id: user for user in around["users"]}, **shown}
        letter = tl.Updates([update], list(people.values()), around["chats"], datetime.now(UTC), 0)
        hearers = [each for each in self._listeners if each.listens and _account(each) == account.id]
        return self._tell(hearers, letter)

    def _tell(self, hearers: list[UpdateListener], letter: Any) -> int:
        for listener in hearers:
            listener.tell(letter)
        return len(hearers)

    def _happened(self, event: MessageEvent) -> None:
        if self._asking is not None:
            self._made.append(event)
        for listener in [each for each in self._listeners if each.listens and each is not self._asking]:
            account = self._world.accounts.get(_account(listener) or 0)
            if account is not None and sees(account, event):
                listener.tell(updates(AccountView(self._world, account), [event]))


def updates(view: AccountView, events: Iterable[MessageEvent], *extra: Any) -> Any:
    """TL `updates` with what an account sees of some events, after `extra`."""
    seen = [event for event in events if sees(view.account, event)]
    found = [update for update in (update_of(view, event) for event in seen) if update is not None]
    return tl.Updates([*extra, *found], date=datetime.now(UTC), seq=0, **around(view, seen))


def around(view: AccountView, events: Iterable[MessageEvent]) -> dict[str, list[Any]]:
    """The chats and users that go with events."""
    return view.around_all((event.chat, messages(event)) for event in events)


def messages(event: MessageEvent) -> list[StoredMessage]:
    """The messages of an event that are still there."""
    return [event.chat.messages[id_] for id_ in event.ids if id_ in event.chat.messages]


def update_of(view: AccountView, event: MessageEvent) -> Any:
    """An event as a TL update; None if its message is gone."""
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
    """Whether an account is told of an event."""
    chat = event.chat
    if chat.private:
        return chat.owner == account.id
    if account.id not in chat.members:
        return False
    return event.kind is MessageEventKind.DELETED or any(
        meant_for(account, chat, each) for each in messages(event)
    )


def _account(listener: UpdateListener) -> int | None:
    return listener.key.account if listener.key is not None else None
