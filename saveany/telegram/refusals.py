"""One error for what several accounts have refused: the reasons, and what the user can do."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from saveany.advice import command
from saveany.errors import NeedsLogin, Offline, Permanent, Retryable, TaskError
from saveany.telegram.errors import joined, without_account
from saveany.telegram.messages import FilesWithheld, MessageNotFound
from saveany.texts import Text, gettext_noop

#: Advice for a chat that no account can read, and for one that no user account can read.
MEMBER_ADVICE = gettext_noop("Add the bot to the chat, or log in a user who is a member: {command}")
USER_ADVICE = gettext_noop("Log in a user who is a member of the chat: /login in the bot, or {command}")

LOGIN = "login --phone"


def combined_error(refusals: Mapping[str, TaskError], advice: str = MEMBER_ADVICE) -> TaskError:
    """The error for the errors of all accounts. `advice` is a template with the field `command`."""
    if not refusals:
        return NeedsLogin(no_account())
    retryable = [each for each in refusals.values() if each.retryable]
    missing = [each for each in refusals.values() if isinstance(each, MessageNotFound)]
    if missing and not retryable:
        best = max(missing, key=_visible_files)
        if _visible_files(best) or len(missing) == len(refusals):
            return best
    if len(retryable) == len(refusals) == 1:
        return retryable[0]
    reasons = joined([_sentence(name, error) for name, error in refusals.items()], " ")
    if retryable:
        kind = Offline if all(isinstance(each, Offline) for each in retryable) else Retryable
        after = min(each.after for each in retryable)
        return kind("No Telegram account can read this now. {reasons}", after=after, reasons=reasons)
    if all(isinstance(each, NeedsLogin) for each in refusals.values()):
        return NeedsLogin("No Telegram account is ready. {reasons}", reasons=reasons)
    return Permanent(
        "No Telegram account can read this. {reasons} {advice}",
        reasons=reasons,
        advice=Text(advice, {"command": command(LOGIN)}),
    )


def no_allowed_account(only: Collection[str]) -> Text:
    """The reason if none of the accounts that a user may use exists."""
    return Text(
        "Your links are read only through these accounts: {accounts} (see [[users]]). None of them is logged "
        "in.",
        {"accounts": ", ".join(only)},
    )


def no_account() -> Text:
    """The reason if there is no account at all."""
    return Text(
        "There is no Telegram account: set telegram.token, or log in with {command} --bot | --phone",
        {"command": command("login")},
    )


def _sentence(account: str, error: TaskError) -> Text:
    reason = without_account(error.text)
    has_full_stop = str(reason).endswith(".")
    template = gettext_noop("{account}: {reason}") if has_full_stop else gettext_noop("{account}: {reason}.")
    return Text(template, {"account": account, "reason": reason})


def _visible_files(missing: MessageNotFound) -> int:
    """The number of files of a range that an account can see although it cannot see all."""
    return len(missing.rest) if isinstance(missing, FilesWithheld) else 0
