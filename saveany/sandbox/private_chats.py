"""Talks outside of channels: with oneself, of two, of a small group; each as each of its sides sees it."""

from collections.abc import Iterator, Mapping

from saveany.sandbox.message_boxes import MessageBox
from saveany.sandbox.model import Chat, Group, SandboxAccount, StoredMessage


class PrivateChats:
    """All talks of some accounts; iterating goes over each side of each."""

    def __init__(self, accounts: Mapping[int, SandboxAccount]) -> None:
        self._accounts = accounts
        self.start = 0  # from which messages and events are numbered
        self.groups: dict[int, Group] = {}
        self._boxes: dict[int, MessageBox] = {}
        self._sides: dict[tuple[int, int], Chat] = {}  # by the account whose side it is, and the talk's id
        self._letters: dict[int, list[tuple[Chat, int]]] = {}  # where the copies of a message are

    def __iter__(self) -> Iterator[Chat]:
        return iter(list(self._sides.values()))

    def add_group(self, group: Group) -> Group:
        """Add a small group."""
        self.groups[group.id] = group
        return group

    def box(self, account: SandboxAccount) -> MessageBox:
        """Where all messages are numbered that an account has outside of channels."""
        return self._boxes.setdefault(account.id, MessageBox(pts=self.start + 1, last_id=self.start))

    def of(self, account: SandboxAccount, other: SandboxAccount | Group) -> Chat:
        """What an account sees of its talk with somebody, or of a group; perhaps nothing yet."""
        if (account.id, other.id) not in self._sides:
            group = isinstance(other, Group)
            self._sides[account.id, other.id] = Chat(
                id=other.id,
                title=other.title if isinstance(other, Group) else other.name,
                broadcast=False,
                owner=account.id,
                group=group,
                members=other.members if isinstance(other, Group) else {account.id, other.id},
                box=self.box(account),
            )
        return self._sides[account.id, other.id]

    def held(self, account: SandboxAccount) -> list[Chat]:
        """An account's sides of talks in which something was said."""
        return [side for side in self if side.owner == account.id and side.messages]

    def others(self, chat: Chat) -> list[Chat]:
        """The other sides of a talk."""
        if chat.group:
            group = self.groups[chat.id]
            return [self.of(self._accounts[id_], group) for id_ in sorted(group.members - {chat.owner or 0})]
        if chat.owner in (None, chat.id):
            return []
        return [self.of(self._accounts[chat.id], self._accounts[chat.owner])]

    def file(self, chat: Chat, message: StoredMessage) -> None:
        """Remember where a copy of a message is."""
        self._letters.setdefault(message.letter, []).append((chat, message.id))

    def copies(self, chat: Chat, message_id: int) -> list[tuple[Chat, StoredMessage]]:
        """The other sides' copies of a message that are still there."""
        message = chat.messages.get(message_id)
        places = self._letters.get(message.letter, []) if message else []
        return [
            (side, side.messages[id_]) for side, id_ in places if side is not chat and id_ in side.messages
        ]

    def answered(self, chat: Chat, side: Chat, message: StoredMessage) -> int | None:
        """The id that the message which this one answers has on another side."""
        copies = self.copies(chat, message.reply_to or 0)
        return next((copy.id for place, copy in copies if place is side), None)
