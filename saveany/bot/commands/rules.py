"""/rule and /fnametmpl: where files go by what they are, and how they are called."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from saveany.bot.context import Context
from saveany.bot.registry import Command
from saveany.bot.texts import CommandError, plain, said
from saveany.models import Rule
from saveany.planning import rules, templates
from saveany.planning.paths import folder
from saveany.preferences import Preferences

# /rule


async def rule(ctx: Context, words: str) -> None:
    """List, add, move, remove and try out rules."""
    verb, _, rest = words.partition(" ")
    if verb not in _VERBS:
        raise CommandError(said("say /rule {verbs}, or nothing"), verbs=", ".join(filter(None, _VERBS)))
    await _VERBS[verb](ctx, rest.strip())


async def _list(ctx: Context, words: str) -> None:
    await ctx.say("\n".join(_listed(ctx)))


def _listed(ctx: Context) -> Iterator[str]:
    t = ctx.t
    if not ctx.prefs.rules:
        yield t("There are no rules yet. This one puts films into a folder of their own:")
        yield "<code>/rule add name=\\.mkv$ size&gt;100MB -&gt; nas:Movies/{{ year }}</code>"
        return
    yield t("The first rule that fits decides:") if ctx.prefs.rules_on else t("Rules are off.")
    for n, each in enumerate(ctx.prefs.rules, 1):
        yield f"{n}. <code>{plain(rules.shown(each))}</code>"


async def _add(ctx: Context, words: str) -> None:
    made = rules.checked(rules.parse_rule(words), ctx.storages)
    await _change(ctx, lambda old: (*old, made))


async def _remove(ctx: Context, words: str) -> None:
    gone = _numbered(ctx, words)
    await _change(ctx, lambda old: tuple(each for each in old if each != gone))


async def _move(ctx: Context, words: str) -> None:
    """Rule 3 to the first place: `move 3 1`."""
    number, _, place = words.partition(" ")
    moved = _numbered(ctx, number)
    if not place.isdecimal() or not 0 < int(place) <= len(ctx.prefs.rules):
        raise CommandError(said("say /rule move NUMBER PLACE"))

    def moved_to(old: tuple[Rule, ...]) -> tuple[Rule, ...]:
        others = [each for each in old if each != moved]
        others.insert(int(place) - 1, moved)
        return tuple(others)

    await _change(ctx, moved_to)


async def _preset(ctx: Context, words: str) -> None:
    storage, _, base = words.partition(":") if ":" in words else words.partition(" ")
    made = [rules.checked(each, ctx.storages) for each in rules.presets(storage, folder(base.strip()))]
    await _change(ctx, lambda old: tuple(dict.fromkeys((*old, *made))))


async def _switch(ctx: Context, words: str) -> None:
    await ctx.change(lambda prefs: replace(prefs, rules_on=not prefs.rules_on))
    await _list(ctx, "")


async def _test(ctx: Context, words: str) -> None:
    """What would become of a file of that name."""
    if not words:
        raise CommandError(said("say /rule test FILENAME"))
    facts = dataclasses.replace(templates.SAMPLE, name=words, kind="")
    found = rules.decide(ctx.prefs.rules, facts)
    if found is None:
        await ctx.say(ctx.t("No rule fits {name}.", name=words))
        return
    where = templates.folder_path(found.folder, facts) or ""
    await ctx.say(
        ctx.t(
            "{name} goes to {place} by <code>{rule}</code>",
            name=words,
            place=f"{found.storage}:/{where}",
            rule=rules.shown(found),
        )
    )


async def _change(ctx: Context, how: Callable[[tuple[Rule, ...]], tuple[Rule, ...]]) -> None:
    def changed(prefs: Preferences) -> Preferences:
        new = how(prefs.rules)
        if len(new) > rules.MAX_RULES:
            raise CommandError(said("there cannot be more than {n} rules"), n=rules.MAX_RULES)
        return replace(prefs, rules=new)

    await ctx.change(changed)
    await _list(ctx, "")


def _numbered(ctx: Context, words: str) -> Rule:
    known = ctx.prefs.rules
    if not words.isdecimal() or not 0 < int(words) <= len(known):
        raise CommandError(said("there is no rule of that number; /rule lists them"))
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


async def fnametmpl(ctx: Context, words: str) -> None:
    """Show, try out and set how files are called."""
    if not words:
        now = ctx.prefs.template or ctx.t("as they are")
        await ctx.say(ctx.t("Names: {template}", template=now))
        return
    template = "" if words in ("off", "default") else templates.checked(words)
    await ctx.change(lambda prefs: replace(prefs, template=template))
    if not template:
        await ctx.say(ctx.t("Files keep their names."))
        return
    await ctx.say(
        ctx.t("Files are called like this now: <code>{name}</code>", name=templates.preview(template))
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
