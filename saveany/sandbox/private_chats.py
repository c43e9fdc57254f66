"""Chats that are not channels: Saved Messages, private chats, small groups; each as each of its sides sees
it."""

from collections.abc import Iterator, Mapping

from saveany.sandbox.model import Chat, Group, MessageBox, SandboxAccount, StoredMessage


class PrivateChats:
    """All private chats and small groups of some accounts. Iteration yields each side of each chat."""

    def __init__(self, accounts: Mapping[int, SandboxAccount]) -> None:
        self._accounts = accounts
        self.start = 0  # number after which messages and events are numbered
        self.groups: dict[int, Group] = {}
        self._boxes: dict[int, MessageBox] = {}
        self._sides: dict[tuple[int, int], Chat] = {}  # by the account and the id of the chat
        #: Copy group -> chats and message ids of its copies.
        self._copies: dict[int, list[tuple[Chat, int]]] = {}

    def __iter__(self) -> Iterator[Chat]:
        return iter(list(self._sides.values()))

    def add_group(self, group: Group) -> Group:
        """Add a small group."""
        self.groups[group.id] = group
        return group

    def box(self, account: SandboxAccount) -> MessageBox:
        """The box that numbers all messages of an account outside of channels."""
        return self._boxes.setdefault(account.id, MessageBox(pts=self.start + 1, last_id=self.start))

    def side(self, account: SandboxAccount, other: SandboxAccount | Group) -> Chat:
        """An account's side of its chat with another account, or of a group; created if it does not exist."""
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

    def non_empty(self, account: SandboxAccount) -> list[Chat]:
        """An account's sides of all chats with messages."""
        return [side for side in self if side.owner == account.id and side.messages]

    def other_sides(self, chat: Chat) -> list[Chat]:
        """The other sides of a chat."""
        if chat.group:
            group = self.groups[chat.id]
            return [
                self.side(self._accounts[id_], group) for id_ in sorted(group.members - {chat.owner or 0})
            ]
        if chat.owner in (None, chat.id):
            return []
        return [self.side(self._accounts[chat.id], self._accounts[chat.owner])]

    def add_copy(self, chat: Chat, message: StoredMessage) -> None:
        """Record a copy of a message."""
        self._copies.setdefault(message.copy_group, []).append((chat, message.id))

    def copies(self, chat: Chat, message_id: int) -> list[tuple[Chat, StoredMessage]]:
        """The existing copies of a message on the other sides."""
        message = chat.messages.get(message_id)
        copies = self._copies.get(message.copy_group, []) if message else []
        return [
            (side, side.messages[id_]) for side, id_ in copies if side is not chat and id_ in side.messages
        ]

    def reply_target(self, chat: Chat, side: Chat, message: StoredMessage) -> int | None:
        """The id on another side of the message that this one replies to."""
        copies = self.copies(chat, message.reply_to or 0)
        return next((copy.id for copy_side, copy in copies if copy_side is side), None)
