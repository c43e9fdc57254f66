"""Chooses the handler of an update: a command, a button, a conversation, or cards for files and links."""

from __future__ import annotations

import difflib
from contextlib import suppress
from uuid import uuid4

from saveany.bot import cards, commands
from saveany.bot.context import BotServices, Context, retry_flood_waits
from saveany.bot.inbox import MessageGroup
from saveany.bot.texts import escape, translator
from saveany.errors import Retryable, SaveAnyError
from saveany.logs import get_logger
from saveany.loops import wait_for_store
from saveany.telegram.update_types import CallbackQuery, ChatMessage, TelegramUser, Update

#: Minimum seconds between two refusals sent to the same user who may not use the bot.
_STRANGER_SECONDS = 24 * 3600
#: Pause before an update is handled again after an outage of Redis, in seconds.
_PAUSE_SECONDS = 1.0

log = get_logger("saveany.bot")


class Dispatcher:
    """Passes updates to their handlers, and reports errors to the user."""

    def __init__(self, services: BotServices) -> None:
        self._services = services

    def is_savable(self, message: ChatMessage) -> bool:
        """Whether a message contains something to save: a file, whatever its caption, or links, unless they
        are arguments of a command or the reply to a question."""
        if not message.for_me or message.file:
            return message.for_me
        is_other = message.text.startswith("/") or self._services.conversations.expects(message)
        return bool(message.urls) and not is_other

    async def handle(self, key: str, update: Update | MessageGroup) -> None:
        """Respond to an update. Errors are reported to the user; only `StoreUnavailable` is raised."""
        first = update.messages[0] if isinstance(update, MessageGroup) else update
        if isinstance(first, ChatMessage) and not first.for_me:
            return
        ctx = await self._context(key, first)
        if ctx is None:
            await self._refuse(key, first)
            return
        try:
            # From the start again after an outage of Redis. Replies are not repeated.
            await wait_for_store("updates", lambda: self._respond(ctx.restarted(), update), _PAUSE_SECONDS)
        except SaveAnyError as error:
            await self._report(ctx, ctx.t.sentence(error.text))
        except Exception:
            reference = uuid4().hex[:8]
            log.exception("update_failed", reference=reference)
            text = ctx.t("Something went wrong. See {reference} in the bot's log.", reference=reference)
            await self._report(ctx, text)

    async def _respond(self, ctx: Context, update: Update | MessageGroup) -> None:
        if isinstance(update, MessageGroup):
            await cards.handle_messages(ctx, update.messages)
        elif isinstance(update, CallbackQuery):
            await self._run_button(ctx, update)
        elif update.text.startswith("/") and not self._is_reply(update):
            await self._run_command(ctx, update)
        elif not await self._services.conversations.deliver(update):
            await ctx.reply(ctx.t("Send me a file or a link to save. /help lists what else I can do."))

    def _is_reply(self, message: ChatMessage) -> bool:
        """Whether a text that looks like a command is the reply to a question: passwords may begin with a
        slash."""
        name, _ = split_command(message.text, self._services.client.me.username)
        return name not in commands.COMMANDS and self._services.conversations.expects(message)

    async def _run_button(self, ctx: Context, query: CallbackQuery) -> None:
        action, _, args = query.data.partition(":")
        handler = commands.BUTTONS.get(action)
        if handler is None:
            await ctx.answer_callback(ctx.t("This button no longer works."), alert=True)
            return
        await handler(ctx, args)
        # Telegram shows the button as busy until it gets an answer; a second answer is harmless.
        with suppress(Retryable):
            await self._services.client.answer_callback(query)

    async def _run_command(self, ctx: Context, message: ChatMessage) -> None:
        name, args = split_command(message.text, self._services.client.me.username)
        if name is None:  # it is for another bot
            return
        command = commands.COMMANDS.get(name)
        if command is None:
            await ctx.reply(self._unknown(ctx, name))
        elif command.admin and not ctx.is_admin:
            await ctx.reply(ctx.t("/{name} is for admins only.", name=name))
        elif command.private and not message.private:
            await ctx.reply(ctx.t("/{name} only works in a private chat with me.", name=name))
        elif await self._services.store.preferences.changed(ctx.key):
            await ctx.reply(ctx.t("Done."))  # by a process that has died since
        else:
            await command.run(ctx, args)

    def _unknown(self, ctx: Context, name: str) -> str:
        known = [command.name for command in commands.COMMANDS.values() if ctx.is_admin or not command.admin]
        if similar := difflib.get_close_matches(name, known, n=1):
            return ctx.t(
                "There is no command /{name}. Did you mean /{similar}?", name=name, similar=similar[0]
            )
        return ctx.t("There is no command /{name}. /help lists what I can do.", name=name)

    async def _context(self, key: str, update: Update) -> Context | None:
        """The context of an update; None if its sender may not use the bot."""
        user = self._services.config.user(update.sender.id)
        if user is None:
            return None
        preferences = await self._services.store.preferences.get(user.id)
        language = preferences.language or self._services.config.lang or update.sender.language
        return Context(self._services, update, key, user, preferences, translator(language))

    async def _refuse(self, key: str, update: Update) -> None:
        """Give a user who is not listed the id that the operator needs to list them. Groups get no
        message."""
        t, client = translator(self._services.config.lang or update.sender.language), self._services.client
        try:
            if isinstance(update, CallbackQuery):
                await client.answer_callback(update, t("This button is for someone else."), True)
            elif update.private and await self._is_first_contact(update.sender):
                text = t(
                    "You are not allowed to use this bot. To get access, give its operator your id, "
                    "<code>{id}</code>, for a [[users]] table in config.toml.",
                    id=update.sender.id,
                )
                await retry_flood_waits(lambda: client.send_text(update.chat, text, key=key))
        except SaveAnyError as error:
            log.warning("refusal_not_sent", reason=error.message)

    async def _is_first_contact(self, stranger: TelegramUser) -> bool:
        return await self._services.store.bot.first_time(f"stranger:{stranger.id}", _STRANGER_SECONDS)

    async def _report(self, ctx: Context, text: str) -> None:
        """Show a plain text: in an alert to the user who pressed a button, otherwise in a reply."""
        try:
            if isinstance(ctx.update, CallbackQuery):
                await ctx.answer_callback(text, alert=True)
            else:
                await ctx.reply(escape(text))
        except SaveAnyError as error:
            log.warning("reply_not_sent", reason=error.message)


def split_command(text: str, username: str) -> tuple[str | None, str]:
    """`/Save@our_bot a b` -> (`save`, `a b`). The name is None if the command is for another bot."""
    head, _, args = text[1:].partition(" ") if " " in text.split("\n", 1)[0] else text[1:].partition("\n")
    name, _, addressee = head.partition("@")
    if addressee and addressee.lower() != username.lower():
        return None, ""
    return name.strip().lower(), args.strip()
