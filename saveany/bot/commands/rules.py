"""/rule and /fnametmpl: rules that choose folders, and templates for file names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from saveany.bot.context import Context
from saveany.bot.registry import Command
from saveany.bot.render import location
from saveany.bot.texts import CommandError, escape
from saveany.models import Rule
from saveany.planning import rules, templates
from saveany.planning.paths import folder
from saveany.preferences import Preferences
from saveany.texts import gettext_noop

# /rule


async def rule(ctx: Context, args: str) -> None:
    """List, add, move, remove and test rules."""
    verb, _, rest = args.partition(" ")
    if verb not in _VERBS:
        raise CommandError(
            "Send /rule alone to list your rules, or with one of: {verbs}.",
            verbs=", ".join(filter(None, _VERBS)),
        )
    await _VERBS[verb](ctx, rest.strip())


async def _list(ctx: Context, args: str) -> None:
    await ctx.reply("\n".join(_lines(ctx)))


def _lines(ctx: Context) -> Iterator[str]:
    t = ctx.t
    if not ctx.preferences.rules:
        yield t("You have no rules yet. This one sorts large videos by year:")
        yield "<code>/rule add name=\\.mkv$ size&gt;100MB -&gt; nas:Movies/{{ year }}</code>"
        return
    yield t("The first matching rule applies:") if ctx.preferences.rules_on else t("Rules are turned off.")
    for n, each in enumerate(ctx.preferences.rules, 1):
        yield f"{n}. <code>{escape(rules.format_rule(each))}</code>"


async def _add(ctx: Context, args: str) -> None:
    added = rules.validate_rule(rules.parse_rule(args), ctx.storages)
    await _change(ctx, lambda old: (*old, added))


async def _remove(ctx: Context, args: str) -> None:
    removed = _numbered(ctx, args)
    await _change(ctx, lambda old: tuple(each for each in old if each != removed))


async def _move(ctx: Context, args: str) -> None:
    """`move 3 1` makes the third rule the first."""
    number, _, position = args.partition(" ")
    moved = _numbered(ctx, number)
    if not position.isdecimal() or not 0 < int(position) <= len(ctx.preferences.rules):
        raise CommandError("Send /rule move NUMBER POSITION.")

    def move(old: tuple[Rule, ...]) -> tuple[Rule, ...]:
        others = [each for each in old if each != moved]
        others.insert(int(position) - 1, moved)
        return tuple(others)

    await _change(ctx, move)


async def _preset(ctx: Context, args: str) -> None:
    storage, _, base = args.partition(":") if ":" in args else args.partition(" ")
    added = [rules.validate_rule(each, ctx.storages) for each in rules.presets(storage, folder(base.strip()))]
    await _change(ctx, lambda old: tuple(dict.fromkeys((*old, *added))))


async def _switch(ctx: Context, args: str) -> None:
    await ctx.change_preferences(lambda preferences: replace(preferences, rules_on=not preferences.rules_on))
    await _list(ctx, "")


async def _test(ctx: Context, args: str) -> None:
    """Show which rule applies to a file of that name."""
    if not args:
        raise CommandError("Send /rule test FILENAME.")
    facts = dataclasses.replace(templates.SAMPLE, name=args, kind="")
    found = rules.first_match(ctx.preferences.rules, facts)
    if found is None:
        await ctx.reply(ctx.t("No rule matches {name}.", name=args))
        return
    path = templates.folder_path(found.folder, facts) or ""
    await ctx.reply(
        ctx.t(
            "{name} is saved to {path} because of <code>{rule}</code>",
            name=args,
            path=location(found.storage, path),
            rule=rules.format_rule(found),
        )
    )


async def _change(ctx: Context, change: Callable[[tuple[Rule, ...]], tuple[Rule, ...]]) -> None:
    def changed(preferences: Preferences) -> Preferences:
        new = change(preferences.rules)
        if len(new) > rules.MAX_RULES:
            raise CommandError("You can have at most {n} rules.", n=rules.MAX_RULES)
        return replace(preferences, rules=new)

    await ctx.change_preferences(changed)
    await _list(ctx, "")


def _numbered(ctx: Context, number: str) -> Rule:
    known = ctx.preferences.rules
    if not number.isdecimal() or not 0 < int(number) <= len(known):
        raise CommandError("There is no rule with that number. /rule lists your rules.")
    return known[int(number) - 1]


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


async def fnametmpl(ctx: Context, args: str) -> None:
    """Show or set the template for file names, with an example of its result."""
    if not args:
        template = ctx.preferences.template or ctx.t("unchanged")
        await ctx.reply(ctx.t("File names: {template}", template=template))
        return
    template = "" if args in ("off", "default") else templates.validate_template(args)
    await ctx.change_preferences(lambda preferences: replace(preferences, template=template))
    if not template:
        await ctx.reply(ctx.t("Files keep their names."))
        return
    example = templates.preview(template)
    await ctx.reply(ctx.t("Files are now named like this: <code>{name}</code>", name=example))


COMMANDS = (
    Command(
        "rule",
        rule,
        gettext_noop("Rules that sort files into folders"),
        usage=(
            "",
            "add name=\\.mkv$ size>100MB -> STORAGE:FOLDER",
            "del NUMBER",
            "move NUMBER POSITION",
            "test FILENAME",
            "preset STORAGE:FOLDER",
            "switch",
        ),
    ),
    Command(
        "fnametmpl",
        fnametmpl,
        gettext_noop("Template for file names"),
        usage=("", "{{ date | date('%Y-%m-%d') }}_{{ name }}", "off"),
    ),
)
