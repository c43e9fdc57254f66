"""One letter and all that is needed to answer it: what every command and button is handed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from saveany.bot.conversation import Conversations
from saveany.bot.live import LiveMessages
from saveany.bot.texts import Translator, translator
from saveany.config import Config, User
from saveany.queue import Queue
from saveany.store import Store
from saveany.store.live import LiveMessage
from saveany.store.people import Prefs
from saveany.telegram.accounts import Accounts
from saveany.telegram.letters import Button, Keyboard, Letter, Message, Person, Press
from saveany.telegram.talk import Talk


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the application that the bot needs."""

    config: Config
    store: Store
    queue: Queue
    accounts: Accounts
    talk: Talk
    live: LiveMessages
    conversations: Conversations


@dataclass(slots=True)
class Visit:
    """Somebody who may use the bot has written, or pressed a button."""

    services: Services
    letter: Letter
    key: str  # of the letter: what is said with it is said once, however often the letter is handled
    user: User
    prefs: Prefs
    t: Translator
    _counted: int = 0
    _said: dict[str, int] = field(default_factory=dict)  # message ids

    def again(self) -> Visit:
        """The same from the start, so that what was said already is not said again."""
        return replace(self, _counted=0)

    @property
    def person(self) -> Person:
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
    def storages(self) -> list[str]:
        """The storages that the user may use, best first."""
        return self.services.config.allowed_storages(self.user)

    async def say(self, text: str, keyboard: Keyboard = ()) -> int:
        """A message to the chat, in a group as an answer. Returns its id; 0 if it was said by a process that
        has died since."""
        self._counted += 1
        key = f"{self.key}:{self._counted}"
        if key not in self._said:
            reply = self.letter.id if isinstance(self.letter, Message) and not self.letter.private else 0
            self._said[key] = await self.services.talk.say(self.chat, text, keyboard, reply_to=reply, key=key)
        return self._said[key]

    async def show(self, text: str, keyboard: Keyboard = ()) -> int:
        """The text in place of the message whose button was pressed; else as `say`."""
        if not isinstance(self.letter, Press):
            return await self.say(text, keyboard)
        await self.services.talk.edit(self.chat, self.letter.message, text, keyboard)
        return self.letter.message

    async def answer(self, text: str = "", *, alert: bool = False) -> None:
        """What appears for a moment when a button was pressed."""
        if isinstance(self.letter, Press):
            await self.services.talk.answer(self.letter, text, alert)

    async def change(self, how: Callable[[Prefs], Prefs]) -> None:
        """Change the user's preferences."""
        self.prefs = await self.services.store.people.change(self.user.id, how)
        self.t = translator(self.prefs.language or self.services.config.lang or self.person.language)

    async def follow(self, message: int, task_id: str, name: str = "") -> None:
        """Show from now on in one of our messages how a task is; `name` is for as long as it has no files."""
        shown = LiveMessage(
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
