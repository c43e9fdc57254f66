"""Plans which logins move here, and under which names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from saveany.config import Config
from saveany.moving_in.found import ADDRESSES, FoundLogin, NotTaken
from saveany.moving_in.steps import LoginStep
from saveany.texts import Text

#: The name of the first account; others are numbered from 2.
_NAME = "me"


def plan_logins(
    config: Config,
    found: Sequence[FoundLogin],
    present: Mapping[str, str],
    owners: Mapping[int, str],
    left_out: list[NotTaken],
) -> list[LoginStep]:
    """The logins that move here. Adds the others to `left_out`."""
    steps: list[LoginStep] = []
    taken = set(present.values()) | {each.name for each in config.telegram.user_accounts}
    names = _names(taken)
    sources = dict[str, str]()
    for login in found:
        reason = _problem(config, login) or _duplicate(login, present, owners, sources)
        if reason:
            left_out.append(NotTaken(f"{login.source}: login of {login.program}", reason))
        else:
            steps.append(LoginStep(account=next(names), login=login))
        sources.setdefault(login.fingerprint, login.source)
    return steps


def _names(taken: set[str]) -> Iterator[str]:
    number = 1
    while True:
        name = _NAME if number == 1 else f"{_NAME}{number}"
        if name not in taken:
            yield name
        number += 1


def _problem(config: Config, login: FoundLogin) -> Text | None:
    """Why a login cannot be used here; None if it can."""
    if login.is_bot:
        return _BOT
    if config.telegram.dc_address:  # a test server: it knows its own logins
        return None
    if login.of_test_server:
        return Text("it is a login of Telegram's test servers")
    if login.dc_id not in ADDRESSES:
        return Text("Telegram has no data center {number}", {"number": login.dc_id})
    return None


_BOT = Text("it is the login of a bot; a bot needs only its token (telegram.token)")


def bot_login() -> Text:
    """Why the login of a bot does not move."""
    return _BOT


def _duplicate(
    login: FoundLogin, present: Mapping[str, str], owners: Mapping[int, str], sources: Mapping[str, str]
) -> Text | None:
    """Why a login is here already; None if it is not."""
    if name := present.get(login.fingerprint):
        return Text("this login is here already, as the account {name}", {"name": name})
    if source := sources.get(login.fingerprint):
        return Text("it is the same login as that of {source}", {"source": source})
    if name := owners.get(login.user_id):
        return already_logged_in(name)
    return None


def already_logged_in(name: str) -> Text:
    """Why the login of an account does not move that has another login here."""
    return Text("this account is logged in already, as {name}; nothing is changed", {"name": name})
