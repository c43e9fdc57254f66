"""Plans the preferences, rules and watched chats of a user of SaveAny-Bot. What the user has chosen here
stays."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from saveany.config import Config
from saveany.errors import InvalidInput
from saveany.models import Rule
from saveany.moving_in.found import FoundUser, FoundWatch, NotTaken
from saveany.moving_in.rules import filter_of, rule_of, template_of
from saveany.moving_in.steps import PreferencesStep, RulesStep, Step, WatchStep
from saveany.planning.paths import folder
from saveany.planning.rules import MAX_RULES, format_rule
from saveany.preferences import Preferences, Shortcut
from saveany.store.archives import Archive
from saveany.texts import Text

_CONFLICTS = ("rename", "overwrite", "skip", "ask")


def plan_user(
    config: Config,
    found: FoundUser,
    present: Preferences,
    archives: Sequence[Archive],
    left_out: list[NotTaken],
) -> list[Step]:
    """What is taken over for one user. Adds the rest to `left_out`."""
    user = config.user(found.id)
    if user is None:
        left_out.append(
            NotTaken(
                f"user {found.id}",
                Text("the user is not listed in [[users]]; add the user there, and import again"),
            )
        )
        return []
    planner = _UserPlanner(found, present, config.allowed_storages(user), left_out)
    return [*planner.preferences(), *planner.rules(), *planner.watches(archives)]


class _UserPlanner:
    def __init__(
        self,
        found: FoundUser,
        present: Preferences,
        storages: Collection[str],
        left_out: list[NotTaken],
    ) -> None:
        self._found = found
        self._present = present
        self._storages = storages
        self._left_out = left_out

    def preferences(self) -> Iterator[PreferencesStep]:
        """Preferences that the user has not chosen here yet."""
        changed = dict[str, Any]()
        self._destination(changed)
        self._naming(changed)
        if self._found.silent and not self._present.silent:
            if changed.get("storage") or self._present.storage:
                changed["silent"] = True
            else:
                self._skip("silent mode", Text("it needs a default storage"))
        self._shortcuts(changed)
        if changed:
            yield PreferencesStep(
                user_id=self._found.id, changed=changed, detail="\n".join(_described(changed))
            )

    def _destination(self, changed: dict[str, Any]) -> None:
        found, present = self._found, self._present
        if not found.storage:
            return
        name = f"default storage {found.storage}"
        if found.storage not in self._storages:
            self._skip(name, _no_storage(found.storage))
            return
        try:
            path = folder(found.folder or "")
        except InvalidInput as error:
            self._skip(f"default folder {found.folder}", error.text)
            path = ""
        if present.storage:
            if (present.storage, present.folder) != (found.storage, path):
                self._skip(name, _chosen(f"{present.storage}:{present.folder}"))
            return
        changed["storage"] = found.storage
        if path:
            changed["folder"] = path

    def _naming(self, changed: dict[str, Any]) -> None:
        found, present = self._found, self._present
        try:
            template = template_of(found)
        except InvalidInput as error:
            self._skip(f"name template {found.template or found.naming}", error.text)
            template = ""
        if template and present.template and present.template != template:
            self._skip(f"name template {template}", _chosen(present.template))
        elif template and not present.template:
            changed["template"] = template
        policy = found.on_conflict
        if policy and policy not in _CONFLICTS:
            self._skip(f"strategy for taken names {policy}", Text("SaveAny-Bot 0.60 has no such strategy"))
        elif policy and present.on_conflict and present.on_conflict != policy:
            self._skip(f"strategy for taken names {policy}", _chosen(present.on_conflict))
        elif policy and not present.on_conflict:
            changed["on_conflict"] = policy

    def _shortcuts(self, changed: dict[str, Any]) -> None:
        wanted = list(self._present.shortcuts)
        for storage, path in self._found.shortcuts:
            name = f"folder {storage}:{path}"
            try:
                shortcut = Shortcut(storage, folder(path))
            except InvalidInput as error:
                self._skip(name, error.text)
                continue
            if storage not in self._storages:
                self._skip(name, _no_storage(storage))
            elif shortcut not in wanted:
                wanted.append(shortcut)
        if len(wanted) > len(self._present.shortcuts):
            changed["shortcuts"] = wanted

    def rules(self) -> Iterator[RulesStep]:
        """Rules that the user does not have yet: the last of SaveAny-Bot's is the first here."""
        wanted: list[Rule] = []
        for each in reversed(self._found.rules):
            try:
                rule = rule_of(each, self._storages)
            except InvalidInput as error:
                self._skip(f"rule {each.kind} {each.data} {each.storage} {each.folder}", error.text)
                continue
            if rule not in self._present.rules and rule not in wanted:
                wanted.append(rule)
        room = MAX_RULES - len(self._present.rules)
        for rule in wanted[room:]:
            self._skip(_rule_name(rule), Text("You can have at most {n} rules.", {"n": MAX_RULES}))
        wanted = wanted[:room]
        if not wanted:
            return
        if not self._found.rules_on and self._present.rules:
            for rule in wanted:
                self._skip(_rule_name(rule), Text("the rules were switched off, and those here are in use"))
            return
        is_on = False if not self._found.rules_on else None
        yield RulesStep(user_id=self._found.id, rules=tuple(wanted), is_on=is_on)

    def watches(self, archives: Sequence[Archive]) -> Iterator[WatchStep]:
        """Chats that the user does not watch yet."""
        for each in self._found.watches:
            name = f"watched chat {each.chat} {each.filter}".strip()
            if self._found.storage not in self._storages:
                self._skip(
                    name,
                    Text(
                        "it saved nothing: its user may not use the default storage {name!r}",
                        {"name": self._found.storage},
                    ),
                )
                continue
            try:
                step = WatchStep(user_id=self._found.id, chat=_marked(each), filter=filter_of(each))
            except InvalidInput as error:
                self._skip(name, error.text)
                continue
            if not any(_is_same(known, step) for known in archives):
                yield step

    def _skip(self, name: str, reason: Text) -> None:
        self._left_out.append(NotTaken(f"user {self._found.id}: {name}", reason))


def _no_storage(name: str) -> Text:
    return Text("there is no storage {name!r} here that this user may use", {"name": name})


def _chosen(value: str) -> Text:
    return Text("the user has chosen {value} here, which stays", {"value": value})


def _rule_name(rule: Rule) -> str:
    return f"rule {format_rule(rule)}"


def _is_same(archive: Archive, step: WatchStep) -> bool:
    return (archive.chat, archive.filter) == (step.chat, dict(step.filter)) and not (
        archive.topic or archive.storage or archive.folder
    )


def _marked(watch: FoundWatch) -> int:
    """The id of the chat as Telegram's bots write it. SaveAny-Bot watches channels and groups only, and has
    stored bare ids of them, too."""
    if not watch.chat:
        raise InvalidInput("this is not the id of a chat")
    return watch.chat if watch.chat < 0 else -(10**12) - watch.chat


def _described(changed: dict[str, Any]) -> Iterator[str]:
    """What is changed, one line each."""
    if "storage" in changed:
        yield f"default storage {changed['storage']}:{changed.get('folder', '')}"
    if "template" in changed:
        yield f"name template {changed['template']}"
    if "on_conflict" in changed:
        yield f"taken names: {changed['on_conflict']}"
    if "silent" in changed:
        yield "silent mode"
    if "shortcuts" in changed:
        yield "folders " + ", ".join(f"{each.storage}:{each.folder}" for each in changed["shortcuts"])
