"""The steps of a plan: what an import changes here, one thing each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from saveany.models import Rule
from saveany.moving_in.found import FoundLogin
from saveany.planning.rules import format_rule

if TYPE_CHECKING:
    from saveany.config.write import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigStep:
    """A change of the configuration file."""

    kind = "configuration"
    subject: str
    detail: str
    change: Change = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencesStep:
    """Preferences of a user."""

    kind = "preferences"
    user_id: int
    changed: Mapping[str, Any]
    detail: str

    @property
    def subject(self) -> str:
        """What is changed."""
        return f"user {self.user_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesStep:
    """Rules of a user, after those that the user has."""

    kind = "rules"
    user_id: int
    rules: tuple[Rule, ...]
    is_on: bool | None  # None: as it is

    @property
    def subject(self) -> str:
        """What is changed."""
        return f"user {self.user_id}"

    @property
    def detail(self) -> str:
        """The rules, in the order in which they are tried."""
        lines = [format_rule(each) for each in self.rules]
        return "\n".join([*lines, "(switched off)"] if self.is_on is False else lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchStep:
    """A chat that is watched for a user, from its newest message on."""

    kind = "watch"
    user_id: int
    chat: int
    filter: Mapping[str, Any]

    @property
    def subject(self) -> str:
        """What is changed."""
        return f"user {self.user_id}"

    @property
    def detail(self) -> str:
        """The chat, and which of its files are saved."""
        pattern = self.filter.get("text", "")
        return f"{self.chat} {pattern}" if pattern else f"{self.chat}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginStep:
    """A login that moves here."""

    kind = "login"
    account: str
    login: FoundLogin

    @property
    def subject(self) -> str:
        """What is changed."""
        return f"account {self.account}"

    @property
    def detail(self) -> str:
        """Where the login comes from."""
        owner = f", user {self.login.user_id}" if self.login.user_id else ""
        return f"{self.login.program}{owner}: {self.login.source}"


Step = ConfigStep | PreferencesStep | RulesStep | WatchStep | LoginStep
