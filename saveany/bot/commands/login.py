"""/login, /logout and /accounts: Telegram accounts, for admins who have no terminal at hand.

Replies to the questions are secrets. Each is deleted from the chat at once and is never logged or stored. The
questions are kept in memory; if the process ends, the next one reports that the login was interrupted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

from saveany.bot.context import BotServices, Context, rows
from saveany.bot.registry import Command
from saveany.bot.texts import CommandError, escape, translator
from saveany.errors import SaveAnyError
from saveany.logs import get_logger
from saveany.telegram import login as logins
from saveany.telegram import qr
from saveany.telegram.accounts import display_name
from saveany.telegram.codes import CodeSent, DeliveryMethod, NoCode
from saveany.telegram.login import Question
from saveany.telegram.update_types import Button, ChatMessage, Keyboard
from saveany.texts import gettext_noop

#: Seconds without a reply after which a login is canceled.
REPLY_SECONDS = 300.0
#: Seconds after a restart during which a reply to an earlier question may still arrive.
_LATE_SECONDS = 10.0

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_QUESTIONS = {
    Question.PHONE: gettext_noop(
        "What is the phone number of the account? Use the international format, such as +491701234567."
    ),
    Question.PHONE_AGAIN: gettext_noop(
        "Telegram does not know that number. Try again, in the international format: +491701234567"
    ),
    Question.CODE: gettext_noop(
        "Send me the code with something between its digits, such as <b>1-2-3-4-5</b> or <b>1 2 3 4 5</b>. "
        "Telegram invalidates codes that are sent unchanged."
    ),
    Question.CODE_AGAIN: gettext_noop("That code was wrong. Try again, with something between its digits:"),
    Question.PASSWORD: gettext_noop("What is the account's password for two-step verification?"),
    Question.PASSWORD_AGAIN: gettext_noop("That password was wrong. Try again:"),
}
#: The same for a code that is a word or a phrase.
_WORD_QUESTIONS = {
    Question.CODE: gettext_noop("Send me the code."),
    Question.CODE_AGAIN: gettext_noop("That code was wrong. Try again:"),
}
_DELIVERY_METHODS = {
    DeliveryMethod.APP: gettext_noop(
        "Telegram has sent a code to the account's other devices: look for the chat named Telegram there."
    ),
    DeliveryMethod.SMS: gettext_noop("Telegram has sent a code by SMS."),
    DeliveryMethod.SMS_WORD: gettext_noop("Telegram has sent a word by SMS. That word is the code."),
    DeliveryMethod.SMS_PHRASE: gettext_noop(
        "Telegram has sent a phrase by SMS. The whole phrase is the code."
    ),
    DeliveryMethod.CALL: gettext_noop("Telegram is calling the account's phone and will read out the code."),
    DeliveryMethod.FLASH_CALL: gettext_noop(
        "Telegram is briefly calling the account's phone. The code is the caller's number: {detail}."
    ),
    DeliveryMethod.MISSED_CALL: gettext_noop(
        "Telegram will call the account's phone and hang up. The code is the last {length} digits of the "
        "caller's number, which begins with {detail}."
    ),
    DeliveryMethod.FRAGMENT: gettext_noop(
        "Telegram has sent a code to the owner of the number on Fragment: {detail}"
    ),
    DeliveryMethod.EMAIL: gettext_noop("Telegram has sent a code by e-mail to {detail}."),
    DeliveryMethod.FIREBASE: gettext_noop(
        "Telegram is sending a code by SMS, through a service that may work only for its own apps. If no "
        "code arrives, press Cancel and log in by QR code."
    ),
}
_NUMBERS = (Question.PHONE, Question.PHONE_AGAIN)

log = get_logger("saveany.bot")


class _NoReply(Exception):
    """The user did not reply in time."""


async def login(ctx: Context, args: str) -> None:
    """Ask how to log an account in."""
    name = args or "me"
    _check_name(ctx, name)
    t = ctx.t
    buttons = [
        Button(t("QR code"), f"login-qr:{name}"),
        Button(t("Phone number and code"), f"login-phone:{name}"),
    ]
    text = t("How do you want to log in the account that SaveAny calls {name}?", name=name)
    replaces = t("This replaces the existing login with that name.") if name in _names(ctx) else ""
    hint = t("To scan a QR code, you need another device that is logged in to that account.")
    await ctx.reply("\n\n".join(filter(None, (text, replaces, hint))), rows(buttons, 1))


async def by_qr(ctx: Context, name: str) -> None:
    """Show QR codes until one is scanned."""
    _check_name(ctx, name)
    await ctx.edit(ctx.t("Logging in by QR code…"))
    await _LoginDialog(ctx, name).begin(by_qr=True)


async def by_phone(ctx: Context, name: str) -> None:
    """Ask for the phone number, the code and, if the account has one, the password."""
    _check_name(ctx, name)
    await ctx.edit(ctx.t("Logging in by phone number…"))
    await _LoginDialog(ctx, name).begin(by_qr=False)


async def press_cancel(ctx: Context, args: str) -> None:
    """Cancel the login. If the button is below a QR code (`args` is set), that message is deleted, so it
    cannot be edited."""
    await cancel_login(ctx)
    text = ctx.t("The login was canceled.")
    await (ctx.reply(text) if args else ctx.edit(text))


async def cancel_login(ctx: Context) -> bool:
    """Cancel the login that the user has begun in this chat; False if there is none."""
    running = ctx.services.conversations.end(ctx.chat, ctx.sender.id)
    if running:
        await ctx.services.store.bot.login_ends(ctx.chat)
    return running


async def logout(ctx: Context, args: str) -> None:
    """Log an account out; without a name, ask which."""
    if args:
        await log_out(ctx, args)
        return
    buttons = [Button(name, f"logout:{name}") for name in _names(ctx)]
    if not buttons:
        await ctx.reply(ctx.t("Only the bot is logged in here."))
        return
    await ctx.reply(ctx.t("Which account should I log out?"), rows(buttons))


async def accounts(ctx: Context, args: str) -> None:
    """List all accounts, and why some cannot be used."""
    t, known = ctx.t, ctx.services.accounts
    ready = [
        t("✅ <b>{name}</b>: {owner}", name=name, owner=display_name(known, name)) for name in known.ready
    ]
    others = [
        t("⚠️ <b>{name}</b>: {problem}", name=name, problem=t.text(problem))
        for name, problem in known.problems.items()
    ]
    await ctx.reply("\n".join(ready + others))


async def log_out(ctx: Context, name: str) -> None:
    """Log the account of that name out."""
    _check_admin(ctx)
    config = ctx.services.config
    owner = await logins.logout(config.telegram, config.data_dir, name, proxy=config.proxy)
    log.info("account_logged_out", account=name, user=ctx.user.id)
    await ctx.edit(ctx.t("{owner} is logged out, and the login {name} is deleted.", owner=owner, name=name))


class _LoginDialog:
    """The conversation of one login. It runs beside the handlers, which deliver the replies to its
    questions."""

    def __init__(self, ctx: Context, name: str) -> None:
        self._ctx = ctx
        self._name = name
        self._services = ctx.services
        self._picture = 0  # id of the message with the QR code
        self._sent: CodeSent | None = None
        self._has_asked = False

    async def begin(self, *, by_qr: bool) -> None:
        """Start the conversation, in place of an earlier one with this user."""
        ctx = self._ctx
        await self._services.store.bot.login_begins(ctx.chat, ctx.sender.id)
        log_in = self._by_qr if by_qr else self._by_phone
        conversation = self._run(log_in)
        self._services.conversations.begin(ctx.chat, ctx.sender.id, conversation, self._delete_unexpected)

    async def _run(self, log_in: Callable[[], Awaitable[str]]) -> None:
        t = self._ctx.t
        try:
            owner = await log_in()
            log.info("account_logged_in", account=self._name, user=self._ctx.user.id)
            text = t(
                "{owner} is logged in as {name}. The bot and the workers on this machine now use it.",
                owner=owner,
                name=self._name,
            )
        except _NoReply:
            text = t("The login was canceled because you did not reply.")
        except SaveAnyError as error:
            text = escape(t.sentence(error.text))
        finally:
            await self._delete_picture()
        await self._services.store.bot.login_ends(self._ctx.chat)
        await self._ctx.reply(text)

    async def _by_qr(self) -> str:
        config = self._services.config
        return await logins.login_qr(
            config.telegram, config.data_dir, self._name, self._show_qr, self._ask, proxy=config.proxy
        )

    async def _by_phone(self) -> str:
        config = self._services.config
        try:
            return await logins.login_phone(
                config.telegram, config.data_dir, self._name, self._ask, self._note_sent, proxy=config.proxy
            )
        except NoCode as error:
            await self._ctx.reply(escape(self._ctx.t.sentence(error.text)))
        return await self._by_qr()

    async def _note_sent(self, sent: CodeSent) -> None:
        self._sent = sent

    async def _show_qr(self, link: str, expires: datetime) -> None:
        t, client = self._ctx.t, self._services.client
        caption = t(
            "Scan this with Telegram on the other device: Settings > Devices > Link Desktop Device. The code "
            "changes every 30 seconds."
        )
        previous, self._picture = self._picture, 0
        if previous:
            await client.delete(self._ctx.chat, [previous])
        keyboard = self._cancel_button("qr")
        self._picture = await client.send_picture(self._ctx.chat, qr.png(link), caption, keyboard)

    async def _ask(self, question: Question) -> str:
        await self._delete_picture()
        ctx, self._has_asked = self._ctx, True
        await ctx.reply(self._text(question), self._cancel_button())
        reply = await self._services.conversations.wait_for_reply(ctx.chat, ctx.sender.id, REPLY_SECONDS)
        if reply is None:
            raise _NoReply
        await self._delete(reply)
        return self._normalized(question, reply.text)

    def _text(self, question: Question) -> str:
        """The question, for a code after a sentence about where Telegram has sent it."""
        t, sent = self._ctx.t, self._sent
        if sent is None or question not in _WORD_QUESTIONS:
            return t(_QUESTIONS[question])
        text = t((_QUESTIONS if sent.is_number else _WORD_QUESTIONS)[question])
        if question is not Question.CODE:
            return text
        return "\n\n".join((t(_DELIVERY_METHODS[sent.method], detail=sent.detail, length=sent.length), text))

    def _normalized(self, question: Question, text: str) -> str:
        if question in _NUMBERS:
            return re.sub(r"[^+\d]", "", text)
        is_code = question in _WORD_QUESTIONS and self._sent is not None and self._sent.is_number
        return re.sub(r"\D", "", text) if is_code else text

    async def _delete_unexpected(self, message: ChatMessage) -> bool:
        """Delete a reply that arrives too early or twice: it is as secret as the others."""
        if self._has_asked:
            await self._delete(message)
        return self._has_asked

    async def _delete(self, reply: ChatMessage) -> None:
        try:
            await self._services.client.delete(self._ctx.chat, [reply.id])
        except SaveAnyError:
            await self._ctx.reply(self._ctx.t("I could not delete your reply. Please delete it yourself."))

    async def _delete_picture(self) -> None:
        """Delete the message with the QR code, if there is one."""
        picture, self._picture = self._picture, 0
        if picture:
            try:
                await self._services.client.delete(self._ctx.chat, [picture])
            except SaveAnyError as error:
                log.warning("qr_code_not_deleted", reason=error.message)

    def _cancel_button(self, picture: str = "") -> Keyboard:
        return ((Button(self._ctx.t("Cancel"), f"login-stop:{picture}".rstrip(":")),),)


async def after_restart(services: BotServices) -> None:
    """Notify users whose login an earlier process was running, and delete the secrets they have sent since.

    Call it before the first update is read.
    """
    started = time.time_ns() // 1_000_000
    for chat, user in (await services.store.bot.logins()).items():
        services.conversations.begin(chat, user, _report_interruption(services, chat, user, started))


async def _report_interruption(services: BotServices, chat: int, user: int, started: int) -> None:
    late = await services.conversations.wait_for_reply(chat, user, _LATE_SECONDS)
    t = translator((await services.store.preferences.get(user)).language or services.config.lang)
    if late is not None and late.date_ms <= started:
        await services.client.delete(chat, [late.id])
    await services.client.send_text(
        chat,
        t(
            "I was restarted, which interrupted the login. Start again with /login. If your last reply is "
            "still here, delete it."
        ),
    )
    await services.store.bot.login_ends(chat)


def _check_name(ctx: Context, name: str) -> None:
    _check_admin(ctx)
    if not _NAME.fullmatch(name):
        raise CommandError("An account name has up to 32 letters, digits, - and _.")
    if name in logins.BOTS or name in (each.name for each in ctx.services.config.telegram.user_accounts):
        raise CommandError("The configuration already uses the name {name}. Choose another one.", name=name)


def _check_admin(ctx: Context) -> None:
    """Raise `CommandError` unless an admin writes in a private chat. Buttons need this check too: a user who
    was an admin when they were shown may not be one any more."""
    if not ctx.is_admin or ctx.chat != ctx.sender.id:
        raise CommandError("Only an admin may do that, in a private chat with me.")


def _names(ctx: Context) -> list[str]:
    return logins.users(ctx.services.config.data_dir)


COMMANDS = (
    Command(
        "login",
        login,
        gettext_noop("Log in a Telegram account"),
        usage=("", "NAME"),
        admin=True,
        private=True,
    ),
    Command(
        "logout",
        logout,
        gettext_noop("Log out a Telegram account"),
        usage=("", "NAME"),
        admin=True,
        private=True,
    ),
    Command("accounts", accounts, gettext_noop("List the Telegram accounts"), admin=True, private=True),
)
BUTTONS = {
    "login-qr": by_qr,
    "login-phone": by_phone,
    "login-stop": press_cancel,
    "logout": log_out,
}
