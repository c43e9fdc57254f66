"""/login, /logout and /accounts: Telegram accounts, for admins who have no terminal at hand.

What is asked for are secrets. Each answer is deleted from the chat at once and is never logged or kept: the
questions live in memory, and if the process ends, the next one says that the login ended with it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

from saveany.bot.context import BotServices, Context, rows
from saveany.bot.registry import Command
from saveany.bot.texts import CommandError, plain, said, translator
from saveany.errors import SaveAnyError
from saveany.logs import get_logger
from saveany.telegram import login as logins
from saveany.telegram import qr
from saveany.telegram.codes import CodeSent, DeliveryMethod, NoCode
from saveany.telegram.login import Question
from saveany.telegram.update_types import Button, ChatMessage, Keyboard

#: Who does not answer for so long has gone away.
ANSWER_SECONDS = 300.0
#: How long after a restart an answer to a question from before it may still come.
_LATE_SECONDS = 10.0

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_QUESTIONS = {
    Question.PHONE: said("Which phone number does the account have? In international form: +491701234567"),
    Question.PHONE_AGAIN: said(
        "Telegram knows no such number. Once more, in international form: +491701234567"
    ),
    Question.CODE: said(
        "Send it to me with something between its digits, like <b>1-2-3-4-5</b> or <b>1 2 3 4 5</b>: as it "
        "is, Telegram would not let it be used."
    ),
    Question.CODE_AGAIN: said("That code was wrong. Once more, with something between its digits:"),
    Question.PASSWORD: said("Which password does the account have for its two-step verification?"),
    Question.PASSWORD_AGAIN: said("That password was wrong. Once more:"),
}
_WORDS = {
    Question.CODE: said("Send it to me."),
    Question.CODE_AGAIN: said("That code was wrong. Once more:"),
}
_WAYS = {
    DeliveryMethod.APP: said(
        "Telegram has sent a code to the account's other devices: it is in the chat named Telegram there."
    ),
    DeliveryMethod.SMS: said("Telegram has sent a code by SMS."),
    DeliveryMethod.SMS_WORD: said("Telegram has sent a word by SMS; that word is the code."),
    DeliveryMethod.SMS_PHRASE: said("Telegram has sent a few words by SMS; all of them are the code."),
    DeliveryMethod.CALL: said("Telegram calls the account's phone and says the code."),
    DeliveryMethod.FLASH_CALL: said(
        "Telegram calls the account's phone for a moment; the code is the number that calls: {detail}."
    ),
    DeliveryMethod.MISSED_CALL: said(
        "Telegram calls the account's phone and hangs up; the code is the last {length} digits of the number "
        "that calls, which begins with {detail}."
    ),
    DeliveryMethod.FRAGMENT: said(
        "Telegram has sent a code to the owner of the number at Fragment: {detail}"
    ),
    DeliveryMethod.EMAIL: said("Telegram has sent a code by e-mail to {detail}."),
    DeliveryMethod.FIREBASE: said(
        "Telegram sends a code by SMS, through a service that may serve its own apps only. If none comes, "
        "press Cancel and log in by QR code."
    ),
}
_NUMBERS = (Question.PHONE, Question.PHONE_AGAIN)

log = get_logger("saveany.bot")


class _GivenUp(Exception):
    """An answer did not come."""


async def login(ctx: Context, words: str) -> None:
    """Ask how an account is to be logged in."""
    name = words or "me"
    _check(ctx, name)
    t = ctx.t
    buttons = [
        Button(t("QR code"), f"login-qr:{name}"),
        Button(t("Phone number and code"), f"login-phone:{name}"),
    ]
    text = t("How do you want to log in the account that is called {name} here?", name=name)
    again = t("It takes the place of the login of this name.") if name in _kept(ctx) else ""
    hint = t("A QR code is scanned with another device, on which Telegram is logged in to that account.")
    await ctx.say("\n\n".join(filter(None, (text, again, hint))), rows(buttons, 1))


async def by_qr(ctx: Context, name: str) -> None:
    """Show QR codes until one is scanned."""
    _check(ctx, name)
    await ctx.show(ctx.t("Logging in by QR code…"))
    await _LoginDialog(ctx, name).begin(by_qr=True)


async def by_phone(ctx: Context, name: str) -> None:
    """Ask for the number, the code and maybe the password."""
    _check(ctx, name)
    await ctx.show(ctx.t("Logging in by phone number…"))
    await _LoginDialog(ctx, name).begin(by_qr=False)


async def stop(ctx: Context, words: str) -> None:
    """Ask no more. The picture with a QR code is deleted with its button, so the answer is a message then."""
    await give_up(ctx)
    text = ctx.t("The login was given up.")
    await (ctx.say(text) if words else ctx.show(text))


async def give_up(ctx: Context) -> bool:
    """End the login that the person has begun in this chat; False if there is none."""
    running = ctx.services.conversations.end(ctx.chat, ctx.person.id)
    if running:
        await ctx.services.store.bot.login_ends(ctx.chat)
    return running


async def logout(ctx: Context, words: str) -> None:
    """End a login; without a name, ask which."""
    if words:
        await _end(ctx, words)
        return
    buttons = [Button(name, f"logout:{name}") for name in _kept(ctx)]
    if not buttons:
        await ctx.say(ctx.t("Nobody is logged in here but the bot."))
        return
    await ctx.say(ctx.t("Which login shall end?"), rows(buttons))


async def accounts(ctx: Context, words: str) -> None:
    """All accounts, and why one cannot be used."""
    t, those = ctx.t, ctx.services.accounts
    ready = [t("✅ <b>{name}</b>: {who}", name=name, who=those.display_name(name)) for name in those.ready]
    others = [
        t("⚠️ <b>{name}</b>: {problem}", name=name, problem=problem)
        for name, problem in those.problems.items()
    ]
    await ctx.say("\n".join(ready + others))


async def _end(ctx: Context, name: str) -> None:
    _check_place(ctx)
    config = ctx.services.config
    who = await logins.logout(config.telegram, config.data_dir, name, proxy=config.proxy)
    log.info("an account was logged out", account=name, by=ctx.user.id)
    await ctx.show(ctx.t("{who} is logged out; the login {name} is gone.", who=who, name=name))


class _LoginDialog:
    """One login, beside the handlers: what it asks is answered by messages that come to them."""

    def __init__(self, ctx: Context, name: str) -> None:
        self._visit = ctx
        self._name = name
        self._services = ctx.services
        self._picture = 0
        self._sent: CodeSent | None = None
        self._asked = False

    async def begin(self, *, by_qr: bool) -> None:
        """Start it, in place of another one that this person began."""
        ctx = self._visit
        await self._services.store.bot.login_begins(ctx.chat, ctx.person.id)
        how = self._by_qr if by_qr else self._by_phone
        self._services.conversations.begin(ctx.chat, ctx.person.id, self._run(how), self._stray)

    async def _run(self, how: Callable[[], Awaitable[str]]) -> None:
        t = self._visit.t
        try:
            who = await how()
            log.info("an account was logged in", account=self._name, by=self._visit.user.id)
            text = t(
                "{who} is logged in as {name}. I use it from now on, and so do the workers of this machine.",
                who=who,
                name=self._name,
            )
        except _GivenUp:
            text = t("No answer came, so the login was given up.")
        except SaveAnyError as error:
            text = t("That does not work: {reason}", reason=error.message)
        finally:
            await self._clear()
        await self._services.store.bot.login_ends(self._visit.chat)
        await self._visit.say(text)

    async def _by_qr(self) -> str:
        config = self._services.config
        return await logins.login_qr(
            config.telegram, config.data_dir, self._name, self._show, self._ask, proxy=config.proxy
        )

    async def _by_phone(self) -> str:
        config = self._services.config
        try:
            return await logins.login_phone(
                config.telegram, config.data_dir, self._name, self._ask, self._tell, proxy=config.proxy
            )
        except NoCode as error:
            await self._visit.say(plain(error.message))
        return await self._by_qr()

    async def _tell(self, sent: CodeSent) -> None:
        self._sent = sent

    async def _show(self, link: str, expires: datetime) -> None:
        t, talk = self._visit.t, self._services.talk
        caption = t(
            "Scan this with Telegram on the other device: Settings > Devices > Link Desktop Device. The code "
            "changes every half a minute."
        )
        before, self._picture = self._picture, 0
        if before:
            await talk.delete(self._visit.chat, [before])
        self._picture = await talk.send_picture(self._visit.chat, qr.png(link), caption, self._cancel("qr"))

    async def _ask(self, question: Question) -> str:
        await self._clear()
        ctx, self._asked = self._visit, True
        await ctx.say(self._words(question), self._cancel())
        answer = await self._services.conversations.answer(ctx.chat, ctx.person.id, ANSWER_SECONDS)
        if answer is None:
            raise _GivenUp
        await self._delete(answer)
        return self._cleaned(question, answer.text)

    def _words(self, question: Question) -> str:
        """What is asked; where a code was sent stands before it."""
        t, sent = self._visit.t, self._sent
        if sent is None or question not in _WORDS:
            return t(_QUESTIONS[question])
        asked = t((_QUESTIONS if sent.is_number else _WORDS)[question])
        if question is not Question.CODE:
            return asked
        return "\n\n".join((t(_WAYS[sent.method], detail=sent.detail, length=sent.length), asked))

    def _cleaned(self, question: Question, text: str) -> str:
        if question in _NUMBERS:
            return re.sub(r"[^+\d]", "", text)
        is_code = question in _WORDS and self._sent is not None and self._sent.is_number
        return re.sub(r"\D", "", text) if is_code else text

    async def _stray(self, message: ChatMessage) -> bool:
        """An answer that comes too soon, or twice, is as secret as the others."""
        if self._asked:
            await self._delete(message)
        return self._asked

    async def _delete(self, answer: ChatMessage) -> None:
        try:
            await self._services.talk.delete(self._visit.chat, [answer.id])
        except SaveAnyError:
            await self._visit.say(self._visit.t("I could not delete your answer. Please do it yourself."))

    async def _clear(self) -> None:
        """No code is shown any more."""
        picture, self._picture = self._picture, 0
        if picture:
            try:
                await self._services.talk.delete(self._visit.chat, [picture])
            except SaveAnyError as error:
                log.warning("a QR code could not be deleted", reason=error.message)

    def _cancel(self, picture: str = "") -> Keyboard:
        return ((Button(self._visit.t("Cancel"), f"login-stop:{picture}".rstrip(":")),),)


async def after_restart(services: BotServices) -> None:
    """Tell those whom an earlier process was asking for secrets, and delete what they have answered since.
    To be called before the first letter is read."""
    started = time.time_ns() // 1_000_000
    for chat, who in (await services.store.bot.logins()).items():
        services.conversations.begin(chat, who, _interrupted(services, chat, who, started))


async def _interrupted(services: BotServices, chat: int, who: int, started: int) -> None:
    late = await services.conversations.answer(chat, who, _LATE_SECONDS)
    t = translator((await services.store.preferences.get(who)).language or services.config.lang)
    if late is not None and late.date_ms <= started:
        await services.talk.delete(chat, [late.id])
    await services.talk.send_text(
        chat,
        t(
            "I was started again, which ended the login. Begin again with /login. If your last answer is "
            "still here, delete it."
        ),
    )
    await services.store.bot.login_ends(chat)


def _check(ctx: Context, name: str) -> None:
    _check_place(ctx)
    if not _NAME.fullmatch(name):
        raise CommandError(said("the name of an account has up to 32 letters, digits, - and _"))
    if name in logins.BOTS or name in (each.name for each in ctx.services.config.telegram.user_accounts):
        raise CommandError(said("{name} is taken by the configuration; choose another name"), name=name)


def _check_place(ctx: Context) -> None:
    """Buttons too: who was an admin when they were shown may be none now."""
    if not ctx.is_admin or ctx.chat != ctx.person.id:
        raise CommandError(said("only an admin may do that, in a private talk with me"))


def _kept(ctx: Context) -> list[str]:
    return logins.users(ctx.services.config.data_dir)


COMMANDS = (
    Command("login", login, said("Log in a Telegram account"), usage=("", "NAME"), admin=True, private=True),
    Command("logout", logout, said("End a login"), usage=("", "NAME"), admin=True, private=True),
    Command("accounts", accounts, said("The Telegram accounts"), admin=True, private=True),
)
PRESSES = {
    "login-qr": by_qr,
    "login-phone": by_phone,
    "login-stop": stop,
    "logout": _end,
}
