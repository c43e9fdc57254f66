"""Which followed chats have something new, according to what Telegram has pushed."""

from __future__ import annotations

from collections.abc import Sequence

from saveany.errors import TaskError
from saveany.logs import get_logger
from saveany.loops import Signal
from saveany.store.archives import Archive
from saveany.telegram.history import ChatHistory
from saveany.telegram.pushes import ChatChange

_log = get_logger(__name__)


class ChangedChats:
    """Collects the followed chats that have something new."""

    def __init__(self, history: ChatHistory) -> None:
        #: Sent when `take` has something.
        self.signal = Signal()
        self._history = history
        self._followed: set[int] = set()  # marked ids
        self._new: set[int] = set()
        self._edited: set[int] = set()

    async def listen(self, archives: Sequence[Archive]) -> None:
        """Have Telegram push what is new in the chats of these archives that follow."""
        following = [each for each in archives if each.follow]
        self._followed = {each.chat for each in following}
        try:
            await self._history.listen({each.account for each in following}, self._note)
        except TaskError as error:  # then new messages are found by polling
            _log.warning("archives_not_pushed", reason=error.message)

    def _note(self, change: ChatChange) -> None:
        if change.chat in self._followed:
            (self._edited if change.is_edit else self._new).add(change.chat)
            self.signal.send()

    def add(self, chat: int) -> None:
        """The chat is to be read again."""
        self._new.add(chat)
        self.signal.send()

    def take(self) -> tuple[set[int], set[int]]:
        """The chats (marked ids) with new messages, and those with edited ones, since the last call."""
        taken = self._new, self._edited
        self._new, self._edited = set(), set()
        return taken
