"""One letter and all that is needed to answer it: what every command and button is handed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from saveany.bot.conversation import Conversations
from saveany.bot.progress import ProgressUpdater
from saveany.bot.render import clip
from saveany.bot.texts import CommandError, Translator, said, translator
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

#: So often something is said until Telegram takes it.
_TRIES = 5
_LABEL = 50
_PAUSE_SECONDS = 1.0

T = TypeVar("T")

log = get_logger("saveany.bot")


@dataclass(frozen=True, slots=True)
class BotServices:
    """The parts of the application that the bot needs."""

    config: Config
    store: Store
    tasks: TaskService
    accounts: Accounts
    talk: BotClient
    live: ProgressUpdater
    conversations: Conversations


@dataclass(slots=True)
class Context:
    """Somebody who may use the bot has written, or pressed a button."""

    services: BotServices
    letter: Update
    key: str  # of the letter: what is said with it is said once, however often the letter is handled
    user: User
    prefs: Preferences
    t: Translator
    _counted: int = 0
    _said: dict[str, int] = field(default_factory=dict)  # message ids

    def again(self) -> Context:
        """The same from the start, so that what was said already is not said again."""
        return replace(self, _counted=0)

    @property
    def person(self) -> TelegramUser:
        """Who it is."""
        return self.letter.sender

    @property
    def chat(self) -> int:
        """Where."""
        return self.letter.chat

    @property
    def is_admin(self) -> bool:
        """Whether the person may do what concerns everybody."""
        return self.services.config.is_admin(self.user)

    @property
    def principal(self) -> Principal:
        """The user, with the rights of the operator for an administrator."""
        return Principal(self.user.id, self.is_admin, chat=min(0, self.chat))

    @property
    def storages(self) -> list[str]:
        """The storages that the user may use, best first."""
        return self.services.config.allowed_storages(self.user)

    def check_storage(self, name: str) -> None:
        """Raises `CommandError` for a storage that the user may not use."""
        if name not in self.storages:
            raise CommandError(
                said("you may not use a storage {name}; yours are: {storages}"),
                name=name,
                storages=", ".join(self.storages),
            )

    async def say(self, text: str, keyboard: Keyboard = ()) -> int:
        """A message to the chat, in a group as an answer. Returns its id; 0 if it was said by a process that
        has died since."""
        self._counted += 1
        key = f"{self.key}:{self._counted}"
        if key not in self._said:
            reply = self.letter.id if isinstance(self.letter, ChatMessage) and not self.letter.private else 0
            talk = self.services.talk
            self._said[key] = await patiently(
                lambda: talk.send_text(self.chat, text, keyboard, reply_to=reply, key=key)
            )
        return self._said[key]

    async def show(self, text: str, keyboard: Keyboard = ()) -> int:
        """The text in place of the message whose button was pressed; else as `say`."""
        if not isinstance(self.letter, CallbackQuery):
            return await self.say(text, keyboard)
        message = self.letter.message
        await patiently(lambda: self.services.talk.edit(self.chat, message, text, keyboard))
        return message

    async def answer(self, text: str = "", *, alert: bool = False) -> None:
        """What appears for a moment when a button was pressed."""
        if isinstance(press := self.letter, CallbackQuery):
            await patiently(lambda: self.services.talk.answer_callback(press, text, alert))

    async def read(self, number: int) -> ChatMessage | None:
        """A message of this chat, if it is there."""
        return (await patiently(lambda: self.services.talk.read(self.chat, [number]))).get(number)

    async def whole(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        """Messages with the rest of their albums: in a group the bot hears only of the one that names it."""
        found = {message.id: message for message in messages}
        for message in messages:
            if message.album and not message.private:
                album = await patiently(partial(self.services.talk.album, message))
                found |= {each.id: each for each in album}
        return [found[number] for number in sorted(found)]

    async def change(self, how: Callable[[Preferences], Preferences]) -> None:
        """Change the user's preferences, once however often the letter is handled."""
        self.prefs = await self.services.store.preferences.change(self.user.id, how, once=self.key)
        self.t = translator(self.prefs.language or self.services.config.lang or self.person.language)

    async def follow(self, message: int, task_id: str, name: str = "") -> None:
        """Show from now on in one of our messages how a task is; `name` is for as long as it has no files."""
        shown = ProgressMessage(
            chat=self.chat,
            message=message,
            task_id=task_id,
            user_id=self.user.id,
            language=self.t.language,
            name=name,
        )
        await self.services.live.follow(shown)


def rows(buttons: list[Button], width: int = 3) -> Keyboard:
    """Buttons, so many side by side."""
    return tuple(tuple(buttons[n : n + width]) for n in range(0, len(buttons), width))


def storage_button(name: str, data: str) -> Button:
    """A button that stands for a storage."""
    return Button(f"💾 {clip(name, _LABEL)}", data)


def folder_button(path: str, data: str) -> Button:
    """A button that stands for a folder of a storage."""
    return Button(f"📁 {clip(path or '/', _LABEL)}", data)


def mark(choice: str) -> str:
    """A choice in the data of a button, which has no room for it. Its place in a list would not do: the list
    may be another when the button is pressed."""
    return hashlib.sha256(choice.encode()).hexdigest()[:8]


def marked(choices: Iterable[str], wanted: str) -> str:
    """The choice with this mark. Raises `CommandError` if there is none any more."""
    found = next((each for each in choices if mark(each) == wanted), None)
    if found is None:
        raise CommandError(said("that choice is not there any more; send it again"))
    return found


async def patiently(step: Callable[[], Awaitable[T]]) -> T:
    """Do something in Telegram, again after the time that Telegram asks to wait: only this step, for what
    was done before it must not be done twice."""
    for _ in range(_TRIES - 1):
        try:
            return await step()
        except Retryable as error:
            log.info("the bot waits to answer", seconds=error.after, reason=error.message)
            await asyncio.sleep(max(_PAUSE_SECONDS, error.after))
    return await step()
