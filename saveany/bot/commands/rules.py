"""/rule and /fnametmpl: where files go by what they are, and how they are called."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from saveany.bot.registry import Command
from saveany.bot.texts import Refused, plain, said
from saveany.bot.visit import Visit
from saveany.models import Rule
from saveany.planning import rules, templates
from saveany.planning.paths import folder
from saveany.store.people import Prefs

# /rule


async def rule(visit: Visit, words: str) -> None:
    """List, add, move, remove and try out rules."""
    verb, _, rest = words.partition(" ")
    if verb not in _VERBS:
        raise Refused(said("say /rule {verbs}, or nothing"), verbs=", ".join(filter(None, _VERBS)))
    await _VERBS[verb](visit, rest.strip())


async def _list(visit: Visit, words: str) -> None:
    await visit.say("\n".join(_listed(visit)))


def _listed(visit: Visit) -> Iterator[str]:
    t = visit.t
    if not visit.prefs.rules:
        yield t("There are no rules yet. This one puts films into a folder of their own:")
        yield "<code>/rule add name=\\.mkv$ size&gt;100MB -&gt; nas:Movies/{{ year }}</code>"
        return
    yield t("The first rule that fits decides:") if visit.prefs.rules_on else t("Rules are off.")
    for n, each in enumerate(visit.prefs.rules, 1):
        yield f"{n}. <code>{plain(rules.shown(each))}</code>"


async def _add(visit: Visit, words: str) -> None:
    made = rules.checked(rules.parse_rule(words), visit.storages)
    await _change(visit, lambda old: (*old, made))


async def _remove(visit: Visit, words: str) -> None:
    gone = _numbered(visit, words)
    await _change(visit, lambda old: tuple(each for each in old if each != gone))


async def _move(visit: Visit, words: str) -> None:
    """Rule 3 to the first place: `move 3 1`."""
    number, _, place = words.partition(" ")
    moved = _numbered(visit, number)
    if not place.isdecimal() or not 0 < int(place) <= len(visit.prefs.rules):
        raise Refused(said("say /rule move NUMBER PLACE"))

    def moved_to(old: tuple[Rule, ...]) -> tuple[Rule, ...]:
        others = [each for each in old if each != moved]
        others.insert(int(place) - 1, moved)
        return tuple(others)

    await _change(visit, moved_to)


async def _preset(visit: Visit, words: str) -> None:
    storage, _, base = words.partition(":") if ":" in words else words.partition(" ")
    made = [rules.checked(each, visit.storages) for each in rules.presets(storage, folder(base.strip()))]
    await _change(visit, lambda old: tuple(dict.fromkeys((*old, *made))))


async def _switch(visit: Visit, words: str) -> None:
    await visit.change(lambda prefs: replace(prefs, rules_on=not prefs.rules_on))
    await _list(visit, "")


async def _test(visit: Visit, words: str) -> None:
    """What would become of a file of that name."""
    if not words:
        raise Refused(said("say /rule test FILENAME"))
    facts = dataclasses.replace(templates.SAMPLE, name=words, kind="")
    found = rules.decide(visit.prefs.rules, facts)
    if found is None:
        await visit.say(visit.t("No rule fits {name}.", name=words))
        return
    where = templates.folder_path(found.folder, facts) or ""
    await visit.say(
        visit.t(
            "{name} goes to {place} by <code>{rule}</code>",
            name=words,
            place=f"{found.storage}:/{where}",
            rule=rules.shown(found),
        )
    )


async def _change(visit: Visit, how: Callable[[tuple[Rule, ...]], tuple[Rule, ...]]) -> None:
    def changed(prefs: Prefs) -> Prefs:
        new = how(prefs.rules)
        if len(new) > rules.MAX_RULES:
            raise Refused(said("there cannot be more than {n} rules"), n=rules.MAX_RULES)
        return replace(prefs, rules=new)

    await visit.change(changed)
    await _list(visit, "")


def _numbered(visit: Visit, words: str) -> Rule:
    known = visit.prefs.rules
    if not words.isdecimal() or not 0 < int(words) <= len(known):
        raise Refused(said("there is no rule of that number; /rule lists them"))
    return known[int(words) - 1]


_VERBS = {
    "": _list,
    "add": _add,
    "del": _remove,
    "move": _move,
    "preset": _preset,
    "switch": _switch,
    "test": _test,
}


# /fnametmpl


async def fnametmpl(visit: Visit, words: str) -> None:
    """Show, try out and set how files are called."""
    if not words:
        now = visit.prefs.template or visit.t("as they are")
        await visit.say(visit.t("Names: {template}", template=now))
        return
    template = "" if words in ("off", "default") else templates.checked(words)
    await visit.change(lambda prefs: replace(prefs, template=template))
    if not template:
        await visit.say(visit.t("Files keep their names."))
        return
    await visit.say(
        visit.t("Files are called like this now: <code>{name}</code>", name=templates.preview(template))
    )


COMMANDS = (
    Command(
        "rule",
        rule,
        said("Where files go by what they are"),
        usage=(
            "",
            "add name=\\.mkv$ size>100MB -> STORAGE:FOLDER",
            "del NUMBER",
            "move NUMBER PLACE",
            "test FILENAME",
            "preset STORAGE:FOLDER",
            "switch",
        ),
    ),
    Command(
        "fnametmpl",
        fnametmpl,
        said("How files are called"),
        usage=("", "{{ date | date('%Y-%m-%d') }}_{{ name }}", "off"),
    ),
)
