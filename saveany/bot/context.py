"""An update to the bot, and everything that a handler needs to respond to it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from saveany.bot.conversation import Conversations
from saveany.bot.membership import Membership
from saveany.bot.progress import ProgressUpdater
from saveany.bot.render import clip
from saveany.bot.texts import CommandError, HtmlTranslator, translator
from saveany.config import Config, User
from saveany.errors import Retryable
from saveany.logs import get_logger
from saveany.preferences import Preferences
from saveany.service import Principal, TaskService
from saveany.store import Store
from saveany.store.progress_messages import ProgressMessage
from saveany.telegram.accounts import Accounts
from saveany.telegram.bot_client import BotClient
from saveany.telegram.update_types import Button, CallbackQuery, ChatMessage, Keyboard, TelegramUser, Update

if TYPE_CHECKING:
    from saveany.catalogue.catalogue import Catalogue
    from saveany.service.archives import ArchiveService
    from saveany.service.links import LinkService
    from saveany.service.live import LiveService

#: Maximum number of attempts at a call to Telegram before its flood wait is reported as an error.
_MAX_ATTEMPTS = 5
#: Maximum length of a storage or folder name on a button, in characters.
_MAX_LABEL = 50
#: Minimum wait before a call to Telegram is repeated, in seconds.
_PAUSE_SECONDS = 1.0

T = TypeVar("T")

log = get_logger("saveany.bot")


@dataclass(frozen=True, slots=True)
class BotServices:
    """The parts of the application that the bot uses."""

    config: Config
    store: Store
    catalogue: Catalogue
    tasks: TaskService
    links: LinkService
    archives: ArchiveService
    live: LiveService
    membership: Membership
    accounts: Accounts
    client: BotClient
    progress: ProgressUpdater
    conversations: Conversations


@dataclass(slots=True)
class Context:
    """A message or button press of a user who may use the bot."""

    services: BotServices
    update: Update
    key: str  # identifies the update: a reply to it is sent once, however often the update is handled
    user: User
    preferences: Preferences
    t: HtmlTranslator
    _replies: int = 0  # sent, or tried, while the update is handled this time
    _sent: dict[str, int] = field(default_factory=dict)  # message ids of replies by their key

    def restarted(self) -> Context:
        """The same update, to be handled from the start again without repeating replies."""
        return replace(self, _replies=0)

    @property
    def sender(self) -> TelegramUser:
        """The Telegram user who sent the message or pressed the button."""
        return self.update.sender

    @property
    def chat(self) -> int:
        """The marked id of the chat."""
        return self.update.chat

    @property
    def is_admin(self) -> bool:
        """Whether the user is an admin."""
        return self.services.config.is_admin(self.user)

    @property
    def principal(self) -> Principal:
        """The user, with the rights of the operator for an administrator."""
        return Principal(self.user.id, self.is_admin, chat=min(0, self.chat))

    @property
    def storages(self) -> list[str]:
        """The names of the storages that the user may use, the preferred one first."""
        return self.services.config.allowed_storages(self.user)

    def check_storage(self, name: str) -> None:
        """Raise `CommandError` if the user may not use a storage."""
        if name not in self.storages:
            raise CommandError(
                "You may not use a storage named {name}. Yours are: {storages}.",
                name=name,
                storages=", ".join(self.storages),
            )

    async def reply(self, text: str, keyboard: Keyboard = ()) -> int:
        """Send a message to the chat; in a group, as a reply. Returns the message id, or 0 if a process that
        has died since had sent it."""
        self._replies += 1
        key = f"{self.key}:{self._replies}"
        if key not in self._sent:
            quoted = self.update.id if isinstance(self.update, ChatMessage) and not self.update.private else 0
            client = self.services.client
            self._sent[key] = await retry_flood_waits(
                lambda: client.send_text(self.chat, text, keyboard, reply_to=quoted, key=key)
            )
        return self._sent[key]

    async def edit(self, text: str, keyboard: Keyboard = ()) -> int:
        """Edit the message whose button was pressed; for other updates, `reply`. Returns the message id."""
        if not isinstance(self.update, CallbackQuery):
            return await self.reply(text, keyboard)
        message = self.update.message
        await retry_flood_waits(lambda: self.services.client.edit(self.chat, message, text, keyboard))
        return message

    async def answer_callback(self, text: str = "", *, alert: bool = False) -> None:
        """Show a short notification, or an alert, to the user who pressed a button."""
        if isinstance(query := self.update, CallbackQuery):
            await retry_flood_waits(lambda: self.services.client.answer_callback(query, text, alert))

    async def read_message(self, message_id: int) -> ChatMessage | None:
        """A message of this chat; None if it does not exist."""
        messages = await retry_flood_waits(lambda: self.services.client.read(self.chat, [message_id]))
        return messages.get(message_id)

    async def with_albums(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        """The messages and the rest of their albums: in a group, the bot receives only the message of an
        album that mentions it."""
        found = {message.id: message for message in messages}
        for message in messages:
            if message.album and not message.private:
                album = await retry_flood_waits(partial(self.services.client.album, message))
                found |= {each.id: each for each in album}
        return [found[message_id] for message_id in sorted(found)]

    async def change_preferences(self, change: Callable[[Preferences], Preferences]) -> None:
        """Change the user's preferences, once however often the update is handled."""
        self.preferences = await self.services.store.preferences.change(self.user.id, change, once=self.key)
        self.t = translator(self.preferences.language or self.services.config.lang or self.sender.language)

    async def show_progress(self, message: int, task_id: str, name: str = "") -> None:
        """Keep one of the bot's messages up to date with a task. `name` is shown until its files are
        known."""
        shown = ProgressMessage(
            chat=self.chat,
            message=message,
            task_id=task_id,
            user_id=self.user.id,
            language=self.t.language,
            name=name,
        )
        await self.services.progress.follow(shown)


def rows(buttons: list[Button], width: int = 3) -> Keyboard:
    """A keyboard with `width` buttons per row."""
    return tuple(tuple(buttons[start : start + width]) for start in range(0, len(buttons), width))


def storage_button(name: str, data: str) -> Button:
    """A button that selects a storage."""
    return Button(f"💾 {clip(name, _MAX_LABEL)}", data)


def folder_button(path: str, data: str) -> Button:
    """A button that selects a folder of a storage."""
    return Button(f"📁 {clip(path or '/', _MAX_LABEL)}", data)


def choice_id(choice: str) -> str:
    """A short id for the data of a button, which has no room for the choice itself. An index into the list of
    choices would be wrong: the list may have changed when the button is pressed."""
    return hashlib.sha256(choice.encode()).hexdigest()[:8]


def find_choice(choices: Iterable[str], wanted: str) -> str:
    """The choice with this id. Raises `CommandError` if it no longer exists."""
    found = next((choice for choice in choices if choice_id(choice) == wanted), None)
    if found is None:
        raise CommandError("That choice no longer exists. Send it again.")
    return found


async def retry_flood_waits(call: Callable[[], Awaitable[T]]) -> T:
    """The result of one call to Telegram, repeated after the wait that Telegram asks for. Pass a single call:
    anything done before it must not be done twice."""
    for _ in range(_MAX_ATTEMPTS - 1):
        try:
            return await call()
        except Retryable as error:
            log.info("bot_call_delayed", seconds=error.after, reason=error.message)
            await asyncio.sleep(max(_PAUSE_SECONDS, error.after))
    return await call()
