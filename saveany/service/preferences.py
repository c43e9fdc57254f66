"""The preferences and rules of users."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from saveany.config import Config, User
from saveany.errors import Forbidden, InvalidInput, NotFound
from saveany.models import Rule
from saveany.planning import rules, templates
from saveany.planning.paths import folder
from saveany.preferences import Preferences, Shortcut
from saveany.service.principal import Principal
from saveany.store import Store

#: Maximum number of folders to choose from.
_MAX_SHORTCUTS = 100


class PreferencesService:
    """Reads and changes the preferences of one user. Raises `NotFound` for a user that the principal must not
    see."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store

    def user(self, principal: Principal, user_id: int | None) -> User:
        """The user with that id; without one the user of a key, or the first that is configured."""
        wanted = principal.visible_user(user_id)
        known = self._config.users
        user = self._config.user(wanted) if wanted is not None else next(iter(known), None)
        if user is None:
            raise NotFound("there is no user {user}", user=wanted or 0)
        return user

    def storages(self, user: User) -> list[str]:
        """Names of the storages that a user may use."""
        return self._config.allowed_storages(user)

    async def get(self, user: User) -> Preferences:
        """The preferences of a user."""
        return await self._store.preferences.get(user.id)

    async def change(self, user: User, changed: Mapping[str, Any]) -> Preferences:
        """Change some preferences. Raises `InvalidInput`, whose `field` is the one that is wrong."""
        checked = {name: _CHECKS.get(name, _unchanged)(value) for name, value in changed.items()}
        if checked.get("storage"):
            self._check_storage(user, checked["storage"], "storage")
        if "shortcuts" in checked:
            checked["shortcuts"] = self._shortcuts(user, checked["shortcuts"])
        return await self._store.preferences.change(user.id, lambda before: replace(before, **checked))

    async def set_rules(self, user: User, lines: Sequence[str], is_on: bool | None) -> Preferences:
        """Replace the rules of a user by those that are written in `lines`."""
        found = await self.known_rules(user, lines)
        if len(found) > rules.MAX_RULES:
            raise InvalidInput("You can have at most {n} rules.", "rules", n=rules.MAX_RULES)
        changed: dict[str, Any] = {"rules": tuple(dict.fromkeys(found))}
        if is_on is not None:
            changed["rules_on"] = is_on
        return await self._store.preferences.change(user.id, lambda before: replace(before, **changed))

    def preset(self, user: User, storage: str, base: str) -> list[str]:
        """Rules that sort files by their kind, as lines."""
        made = rules.presets(storage, folder(base))
        return [rules.format_rule(rules.validate_rule(each, self.storages(user))) for each in made]

    async def try_rules(self, user: User, name: str, lines: Sequence[str] | None) -> tuple[str, str, str]:
        """The rule that applies to a file of that name, with the storage and the folder; all are empty if
        none applies. `lines` are tried instead of the stored rules."""
        known = await self.known_rules(user, lines)
        facts = dataclasses.replace(templates.SAMPLE, name=name, kind="")
        found = rules.first_match(known, facts)
        if found is None:
            return "", "", ""
        path = templates.folder_path(found.folder, facts) or ""
        return rules.format_rule(found), found.storage, path

    async def known_rules(self, user: User, lines: Sequence[str] | None) -> tuple[Rule, ...]:
        """The rules that are written in `lines`, or the stored ones for None. Raises as `set_rules`."""
        if lines is None:
            return (await self.get(user)).rules
        return tuple(self._rule(user, number, line) for number, line in enumerate(lines))

    def _rule(self, user: User, number: int, line: str) -> Rule:
        try:
            return rules.validate_rule(rules.parse_rule(line), self.storages(user))
        except InvalidInput as error:
            raise InvalidInput(error.text, f"rules[{number}]") from error

    def _shortcuts(self, user: User, given: Sequence[Shortcut]) -> tuple[Shortcut, ...]:
        if len(given) > _MAX_SHORTCUTS:
            raise InvalidInput("You can have at most {n} folders.", "shortcuts", n=_MAX_SHORTCUTS)
        for each in given:
            self._check_storage(user, each.storage, "shortcuts")
        return tuple(dict.fromkeys(Shortcut(each.storage, folder(each.folder)) for each in given))

    def _check_storage(self, user: User, name: str, field: str) -> None:
        if self._config.storage(name) is None:
            raise InvalidInput("there is no storage {name!r}", field, name=name)
        if name not in self.storages(user):
            raise Forbidden("user {user} may not use storage {storage!r}", user=user.id, storage=name)


def example(template: str) -> str:
    """How a file is named with a template; "" without one."""
    return templates.preview(template) if template else ""


def _template(text: str) -> str:
    try:
        return templates.validate_template(text) if text else ""
    except InvalidInput as error:
        raise InvalidInput(error.text, "template") from error


def _folder(text: str) -> str:
    try:
        return folder(text)
    except InvalidInput as error:
        raise InvalidInput(error.text, "folder") from error


def _unchanged(value: Any) -> Any:
    return value


_CHECKS: Mapping[str, Callable[[Any], Any]] = {"template": _template, "folder": _folder}
