"""Whether users are members of the chats in `links.must_join`."""

from __future__ import annotations

import time
from typing import Final

from saveany.bot.texts import CommandError, escape, translator
from saveany.config import Config
from saveany.errors import Permanent, SaveAnyError
from saveany.logs import get_logger
from saveany.store import Store
from saveany.telegram.bot_chats import BotChats, ChatCard
from saveany.telegram.bot_client import BotClient

#: Seconds for which a user counts as a member without being looked up again.
_MEMBER_SECONDS: Final = 300.0
_MAX_KNOWN: Final = 10_000
#: Minimum seconds between two notices to the operators about the same chat.
_NOTICE_SECONDS: Final = 24 * 3600

log = get_logger("saveany.bot")


class Membership:
    """Looks up memberships, and tells the operators of chats in which the bot cannot."""

    def __init__(self, config: Config, store: Store, client: BotClient) -> None:
        self.chats = BotChats(client)
        self._config = config
        self._store = store
        self._client = client
        self._members: dict[tuple[str, int], float] = {}  # when they were found, monotonic; oldest first

    async def missing(self, user: int) -> list[ChatCard]:
        """The chats that a user has still to join. Raises `CommandError` if the bot cannot look."""
        return [
            await self.chats.card(chat)
            for chat in self._config.links.must_join
            if not await self._is_member(chat, user)
        ]

    async def _is_member(self, chat: str, user: int) -> bool:
        now = time.monotonic()
        if now - self._members.get((chat, user), -_MEMBER_SECONDS) < _MEMBER_SECONDS:
            return True
        try:
            found = await self.chats.has_member(chat, user)
        except Permanent as error:
            await self._notify(chat, error)
            raise CommandError(
                "You must be a member of {chat} to get links, but I cannot see who is. The operator has been "
                "told.",
                chat=chat,
            ) from error
        if found:
            self._members.pop((chat, user), None)
            self._members[chat, user] = now
            while len(self._members) > _MAX_KNOWN:
                del self._members[next(iter(self._members))]
        return found

    async def _notify(self, chat: str, error: SaveAnyError) -> None:
        log.warning("membership_unknown", chat=chat, reason=error.message)
        if not await self._store.bot.first_time(f"must_join:{chat}", _NOTICE_SECONDS):
            return
        for admin in filter(self._config.is_admin, self._config.users):
            preferences = await self._store.preferences.get(admin.id)
            t = translator(preferences.language or self._config.lang)
            text = t(
                "Nobody gets links: I cannot see who is a member of {chat} (links.must_join). Make me an "
                "administrator there.",
                chat=chat,
            )
            try:
                await self._client.send_text(admin.id, f"⚠ {text} {escape(t.sentence(error.text))}")
            except SaveAnyError as refused:  # an admin who has never written to the bot
                log.warning("notice_not_sent", user=admin.id, reason=refused.message)
