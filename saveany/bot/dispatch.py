"""Who answers a letter: the command, the button, or the cards for what is to be saved; and who may ask."""

from __future__ import annotations

import asyncio
import difflib
from contextlib import suppress
from uuid import uuid4

from saveany.bot import cards, commands
from saveany.bot.context import BotServices, Context, patiently
from saveany.bot.inbox import MessageGroup
from saveany.bot.texts import translator
from saveany.errors import Retryable, SaveAnyError
from saveany.logs import get_logger
from saveany.store.db import AWAY
from saveany.telegram.update_types import CallbackQuery, ChatMessage, TelegramUser, Update

#: A stranger is told once in so many seconds who he is.
_STRANGER_SECONDS = 24 * 3600
_PAUSE_SECONDS = 1.0

log = get_logger("saveany.bot")


class Dispatcher:
    """Finds out who answers."""

    def __init__(self, services: BotServices) -> None:
        self._services = services

    def collects(self, message: ChatMessage) -> bool:
        """Whether a message is something to save: a file, whatever is written below it, or links, unless
        they are said to a command or answer a question."""
        if not message.for_me or message.file:
            return message.for_me
        meant = message.text.startswith("/") or self._services.conversations.awaits(message)
        return bool(message.urls) and not meant

    async def handle(self, key: str, letter: Update | MessageGroup) -> None:
        """Answer it. Whatever goes wrong is told to the person, in words; raises only `AWAY`."""
        first = letter.messages[0] if isinstance(letter, MessageGroup) else letter
        if isinstance(first, ChatMessage) and not first.for_me:
            return
        ctx = await self._visit(key, first)
        if ctx is None:
            await self._refuse(key, first)
            return
        try:
            await self._through_outages(ctx, letter)
        except SaveAnyError as error:
            await self._tell(ctx, ctx.t("That does not work: {reason}", reason=ctx.t.reason(error)))
        except Exception:
            reference = uuid4().hex[:8]
            log.exception("a letter to the bot failed unexpectedly", reference=reference)
            await self._tell(
                ctx, ctx.t("Something went wrong here. The log tells more under {key}.", key=reference)
            )

    async def _through_outages(self, ctx: Context, letter: Update | MessageGroup) -> None:
        """Answer, from the start again when Redis is back; what was said is not said twice."""
        while True:
            try:
                return await self._answered(ctx.again(), letter)
            except AWAY as error:
                log.warning("redis is away", error=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _answered(self, ctx: Context, letter: Update | MessageGroup) -> None:
        if isinstance(letter, MessageGroup):
            await cards.offer(ctx, letter.messages)
        elif isinstance(letter, CallbackQuery):
            await self._pressed(ctx, letter)
        elif letter.text.startswith("/") and not self._is_answer(letter):
            await self._command(ctx, letter)
        elif not await self._services.conversations.hears(letter):
            await ctx.say(ctx.t("Send me a file or a link to save. /help tells what else I can do."))

    def _is_answer(self, message: ChatMessage) -> bool:
        """A password may begin with a slash."""
        name, _ = split(message.text, self._services.talk.me.username)
        return name not in commands.COMMANDS and self._services.conversations.awaits(message)

    async def _pressed(self, ctx: Context, press: CallbackQuery) -> None:
        verb, _, words = press.data.partition(":")
        run = commands.PRESSES.get(verb)
        if run is None:
            await ctx.answer(ctx.t("This button does nothing any more."), alert=True)
            return
        await run(ctx, words)
        with suppress(Retryable):  # harmless if it was answered: else the button would go on waiting
            await self._services.talk.answer_callback(press)

    async def _command(self, ctx: Context, message: ChatMessage) -> None:
        name, words = split(message.text, self._services.talk.me.username)
        if name is None:  # it is another bot's
            return
        command = commands.COMMANDS.get(name)
        if command is None:
            await ctx.say(self._unknown(ctx, name))
        elif command.admin and not ctx.is_admin:
            await ctx.say(ctx.t("/{name} is for admins.", name=name))
        elif command.private and not message.private:
            await ctx.say(ctx.t("/{name} works only in a private talk with me.", name=name))
        elif await self._services.store.preferences.changed(ctx.key):
            await ctx.say(ctx.t("That is done."))  # by a process that has died since
        else:
            await command.run(ctx, words)

    def _unknown(self, ctx: Context, name: str) -> str:
        known = [each.name for each in commands.COMMANDS.values() if ctx.is_admin or not each.admin]
        if near := difflib.get_close_matches(name, known, n=1):
            return ctx.t("I do not know /{name}. Did you mean /{near}?", name=name, near=near[0])
        return ctx.t("I do not know /{name}. /help lists what I can do.", name=name)

    async def _visit(self, key: str, letter: Update) -> Context | None:
        """The visit of a person who may use the bot; None for a stranger."""
        user = self._services.config.user(letter.sender.id)
        if user is None:
            return None
        prefs = await self._services.store.preferences.get(user.id)
        language = prefs.language or self._services.config.lang or letter.sender.language
        return Context(self._services, letter, key, user, prefs, translator(language))

    async def _refuse(self, key: str, letter: Update) -> None:
        """One polite word to a stranger, so that the owner can add them. Groups are not bothered."""
        t, talk = translator(self._services.config.lang or letter.sender.language), self._services.talk
        try:
            if isinstance(letter, CallbackQuery):
                await talk.answer_callback(letter, t("This is not for you."), True)
            elif letter.private and await self._first_time(letter.sender):
                text = t(
                    "You are not allowed to use this bot. If its owner wants you to, your id is <code>{id}"
                    "</code>: it belongs into a [[users]] table of config.toml.",
                    id=letter.sender.id,
                )
                await patiently(lambda: talk.send_text(letter.chat, text, key=key))
        except SaveAnyError as error:
            log.warning("a stranger could not be told", reason=error.message)

    async def _first_time(self, stranger: TelegramUser) -> bool:
        return await self._services.store.bot.first_time(f"stranger:{stranger.id}", _STRANGER_SECONDS)

    async def _tell(self, ctx: Context, text: str) -> None:
        try:
            await (ctx.answer(text, alert=True) if isinstance(ctx.letter, CallbackQuery) else ctx.say(text))
        except SaveAnyError as error:
            log.warning("the bot could not answer", reason=error.message)


def split(text: str, username: str) -> tuple[str | None, str]:
    """`/Save@our_bot a b` -> `save`, `a b`; None as the name if it is said to another bot."""
    head, _, words = text[1:].partition(" ") if " " in text.split("\n", 1)[0] else text[1:].partition("\n")
    name, _, addressee = head.partition("@")
    if addressee and addressee.lower() != username.lower():
        return None, ""
    return name.strip().lower(), words.strip()
