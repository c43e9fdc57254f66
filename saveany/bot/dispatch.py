"""Who answers a letter: the command, the button, or the cards for what is to be saved; and who may ask."""

from __future__ import annotations

import asyncio
import difflib
from contextlib import suppress
from uuid import uuid4

from saveany.bot import cards, commands
from saveany.bot.inbox import Bundle
from saveany.bot.texts import translator
from saveany.bot.visit import Services, Visit, patiently
from saveany.errors import Retryable, SaveAnyError
from saveany.logs import get_logger
from saveany.store.db import AWAY
from saveany.telegram.letters import Letter, Message, Person, Press

#: A stranger is told once in so many seconds who he is.
_STRANGER_SECONDS = 24 * 3600
_PAUSE_SECONDS = 1.0

log = get_logger("saveany.bot")


class Dispatcher:
    """Finds out who answers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collects(self, message: Message) -> bool:
        """Whether a message is something to save: a file, whatever is written below it, or links, unless
        they are said to a command or answer a question."""
        if not message.for_me or message.file:
            return message.for_me
        meant = message.text.startswith("/") or self._services.conversations.awaits(message)
        return bool(message.urls) and not meant

    async def handle(self, key: str, letter: Letter | Bundle) -> None:
        """Answer it. Whatever goes wrong is told to the person, in words; raises only `AWAY`."""
        first = letter.messages[0] if isinstance(letter, Bundle) else letter
        if isinstance(first, Message) and not first.for_me:
            return
        visit = await self._visit(key, first)
        if visit is None:
            await self._refuse(key, first)
            return
        try:
            await self._through_outages(visit, letter)
        except SaveAnyError as error:
            await self._tell(visit, visit.t("That does not work: {reason}", reason=visit.t.reason(error)))
        except Exception:
            reference = uuid4().hex[:8]
            log.exception("a letter to the bot failed unexpectedly", reference=reference)
            await self._tell(
                visit, visit.t("Something went wrong here. The log tells more under {key}.", key=reference)
            )

    async def _through_outages(self, visit: Visit, letter: Letter | Bundle) -> None:
        """Answer, from the start again when Redis is back; what was said is not said twice."""
        while True:
            try:
                return await self._answered(visit.again(), letter)
            except AWAY as error:
                log.warning("redis is away", error=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _answered(self, visit: Visit, letter: Letter | Bundle) -> None:
        if isinstance(letter, Bundle):
            await cards.offer(visit, letter.messages)
        elif isinstance(letter, Press):
            await self._pressed(visit, letter)
        elif letter.text.startswith("/") and not self._is_answer(letter):
            await self._command(visit, letter)
        elif not await self._services.conversations.hears(letter):
            await visit.say(visit.t("Send me a file or a link to save. /help tells what else I can do."))

    def _is_answer(self, message: Message) -> bool:
        """A password may begin with a slash."""
        name, _ = split(message.text, self._services.talk.me.username)
        return name not in commands.COMMANDS and self._services.conversations.awaits(message)

    async def _pressed(self, visit: Visit, press: Press) -> None:
        verb, _, words = press.data.partition(":")
        run = commands.PRESSES.get(verb)
        if run is None:
            await visit.answer(visit.t("This button does nothing any more."), alert=True)
            return
        await run(visit, words)
        with suppress(Retryable):  # harmless if it was answered: else the button would go on waiting
            await self._services.talk.answer(press)

    async def _command(self, visit: Visit, message: Message) -> None:
        name, words = split(message.text, self._services.talk.me.username)
        if name is None:  # it is another bot's
            return
        command = commands.COMMANDS.get(name)
        if command is None:
            await visit.say(self._unknown(visit, name))
        elif command.admin and not visit.is_admin:
            await visit.say(visit.t("/{name} is for admins.", name=name))
        elif command.private and not message.private:
            await visit.say(visit.t("/{name} works only in a private talk with me.", name=name))
        elif await self._services.store.people.changed(visit.key):
            await visit.say(visit.t("That is done."))  # by a process that has died since
        else:
            await command.run(visit, words)

    def _unknown(self, visit: Visit, name: str) -> str:
        known = [each.name for each in commands.COMMANDS.values() if visit.is_admin or not each.admin]
        if near := difflib.get_close_matches(name, known, n=1):
            return visit.t("I do not know /{name}. Did you mean /{near}?", name=name, near=near[0])
        return visit.t("I do not know /{name}. /help lists what I can do.", name=name)

    async def _visit(self, key: str, letter: Letter) -> Visit | None:
        """The visit of a person who may use the bot; None for a stranger."""
        user = self._services.config.user(letter.sender.id)
        if user is None:
            return None
        prefs = await self._services.store.people.get(user.id)
        language = prefs.language or self._services.config.lang or letter.sender.language
        return Visit(self._services, letter, key, user, prefs, translator(language))

    async def _refuse(self, key: str, letter: Letter) -> None:
        """One polite word to a stranger, so that the owner can add them. Groups are not bothered."""
        t, talk = translator(self._services.config.lang or letter.sender.language), self._services.talk
        try:
            if isinstance(letter, Press):
                await talk.answer(letter, t("This is not for you."), True)
            elif letter.private and await self._first_time(letter.sender):
                text = t(
                    "You are not allowed to use this bot. If its owner wants you to, your id is <code>{id}"
                    "</code>: it belongs into a [[users]] table of config.toml.",
                    id=letter.sender.id,
                )
                await patiently(lambda: talk.say(letter.chat, text, key=key))
        except SaveAnyError as error:
            log.warning("a stranger could not be told", reason=error.message)

    async def _first_time(self, stranger: Person) -> bool:
        return await self._services.store.bot.first_time(f"stranger:{stranger.id}", _STRANGER_SECONDS)

    async def _tell(self, visit: Visit, text: str) -> None:
        try:
            await (visit.answer(text, alert=True) if isinstance(visit.letter, Press) else visit.say(text))
        except SaveAnyError as error:
            log.warning("the bot could not answer", reason=error.message)


def split(text: str, username: str) -> tuple[str | None, str]:
    """`/Save@our_bot a b` -> `save`, `a b`; None as the name if it is said to another bot."""
    head, _, words = text[1:].partition(" ") if " " in text.split("\n", 1)[0] else text[1:].partition("\n")
    name, _, addressee = head.partition("@")
    if addressee and addressee.lower() != username.lower():
        return None, ""
    return name.strip().lower(), words.strip()
