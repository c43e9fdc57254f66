"""/config, /storage, /dir and /silent: how somebody likes it."""

from __future__ import annotations

from msgspec.structs import replace

from saveany.bot.context import Context, folder_button, mark, marked, rows, storage_button
from saveany.bot.registry import Command
from saveany.bot.texts import LANGUAGES, CommandError, plain, said
from saveany.planning.paths import folder
from saveany.preferences import Preferences, Shortcut
from saveany.telegram.update_types import Button, Keyboard

_POLICIES = ("rename", "ask", "overwrite", "skip")
#: Folders that fit below a message.
_FOLDERS = 30


# /config


async def config(ctx: Context, words: str) -> None:
    """Everything that is set, and buttons to change it."""
    await ctx.say(*_config(ctx))


async def set_policy(ctx: Context, words: str) -> None:
    """What happens when a name is taken."""
    if words in _POLICIES:
        await ctx.change(lambda prefs: replace(prefs, on_conflict=words))
    await ctx.show(*_config(ctx))


async def set_language(ctx: Context, words: str) -> None:
    """In which language the bot speaks."""
    if words in LANGUAGES or not words:
        await ctx.change(lambda prefs: replace(prefs, language=words))
    await ctx.show(*_config(ctx))


async def set_silent(ctx: Context, words: str) -> None:
    """Whether a card is shown first."""
    await ctx.change(lambda prefs: replace(prefs, silent=words == "on"))
    await ctx.show(*_config(ctx))


def _config(ctx: Context) -> tuple[str, Keyboard]:
    t, prefs = ctx.t, ctx.prefs
    policies = {
        "rename": t("keep both"),
        "ask": t("ask me"),
        "overwrite": t("replace it"),
        "skip": t("do not save"),
    }
    policy = prefs.on_conflict or "rename"
    lines = [
        t("Storage: {place}", place=_place(ctx)),
        t("Silent mode: {state}", state=t("on") if prefs.silent else t("off")),
        t("When a name is taken: {policy}", policy=policies[policy]),
        t("Names: {template}", template=prefs.template or t("as they are")),
        t("Rules: {n}", n=len(prefs.rules)),
        t("Language: {language}", language=LANGUAGES[t.language]),
    ]
    silent = Button(t("Silent mode off") if prefs.silent else t("Silent mode on"), _toggle("silent", prefs))
    names = [Button(label, f"policy:{key}") for key, label in policies.items() if key != policy]
    languages = [Button(name, f"lang:{tag}") for tag, name in LANGUAGES.items() if tag != t.language]
    return "\n".join(lines), ((silent,), *rows(names), *rows(languages))


def _toggle(verb: str, prefs: Preferences) -> str:
    return f"{verb}:{'off' if prefs.silent else 'on'}"


def _place(ctx: Context) -> str:
    name = ctx.prefs.storage if ctx.prefs.storage in ctx.storages else (ctx.storages or ["-"])[0]
    return f"{name}:/{ctx.prefs.folder if name == ctx.prefs.storage else ''}"


# /silent


async def silent(ctx: Context, words: str) -> None:
    """Turn silent mode on or off."""
    if words not in ("", "on", "off"):
        raise CommandError(said("say /silent on or /silent off"))
    on = not ctx.prefs.silent if not words else words == "on"
    await ctx.change(lambda prefs: replace(prefs, silent=on))
    if on:
        await ctx.say(ctx.t("From now on I save at once, into {place}.", place=_place(ctx)))
    else:
        await ctx.say(ctx.t("From now on I ask where to save."))


# /storage


async def storage(ctx: Context, words: str) -> None:
    """Choose where files go if nothing else is said."""
    if words:
        name, _, path = words.partition(":")
        await _set_storage(ctx, name, folder(path))
        await ctx.say(ctx.t("Files go into {place} now.", place=_place(ctx)))
        return
    choices = [storage_button(name, f"store:{mark(name)}") for name in ctx.storages]
    await ctx.say(ctx.t("Files go into {place}. Where shall they go?", place=_place(ctx)), rows(choices))


async def press_storage(ctx: Context, words: str) -> None:
    """A storage of the list; then one of its folders, if there are any to choose from."""
    wanted, _, choice = words.partition(":")
    name = marked(ctx.storages, wanted)
    folders = ["", *(each.folder for each in ctx.prefs.shortcuts if each.storage == name)]
    if len(folders) > 1 and not choice:
        buttons = [folder_button(path, f"store:{wanted}:{mark(path)}") for path in folders[:_FOLDERS]]
        await ctx.show(ctx.t("Into which folder of {storage}?", storage=name), rows(buttons, 2))
        return
    await _set_storage(ctx, name, marked(folders, choice) if choice else "")
    await ctx.show(ctx.t("Files go into {place} now.", place=_place(ctx)))


async def _set_storage(ctx: Context, name: str, path: str) -> None:
    ctx.check_storage(name)
    await ctx.change(lambda prefs: replace(prefs, storage=name, folder=path))


# /dir


async def dir_(ctx: Context, words: str) -> None:
    """Folders that are offered when a storage was chosen."""
    verb, _, rest = words.partition(" ")
    if verb == "add":
        await _add_folder(ctx, rest)
    elif verb in ("del", "rm"):
        await _remove_folder(ctx, rest)
    elif verb:
        raise CommandError(said("say /dir, /dir add STORAGE:FOLDER or /dir del NUMBER"))
    places = [f"{each.storage}:/{each.folder}" for each in ctx.prefs.shortcuts]
    lines = [f"{n}. <code>{plain(each)}</code>" for n, each in enumerate(places, 1)]
    await ctx.say("\n".join(lines) or ctx.t("No folders yet: /dir add STORAGE:FOLDER"))


async def _add_folder(ctx: Context, words: str) -> None:
    name, _, path = words.partition(":") if ":" in words else words.partition(" ")
    ctx.check_storage(name)
    made = Shortcut(name, folder(path.strip()))
    if not made.folder:
        raise CommandError(said("say /dir add STORAGE:FOLDER"))
    await ctx.change(lambda prefs: replace(prefs, shortcuts=tuple(dict.fromkeys((*prefs.shortcuts, made)))))


async def _remove_folder(ctx: Context, words: str) -> None:
    shortcuts = ctx.prefs.shortcuts
    if not words.isdecimal() or not 0 < int(words) <= len(shortcuts):
        raise CommandError(said("there is no folder of that number; /dir lists them"))
    gone = shortcuts[int(words) - 1]
    await ctx.change(
        lambda prefs: replace(prefs, shortcuts=tuple(each for each in prefs.shortcuts if each != gone))
    )


COMMANDS = (
    Command("storage", storage, said("Where files go"), usage=("", "STORAGE:FOLDER")),
    Command("dir", dir_, said("Folders to choose from"), usage=("", "add STORAGE:FOLDER", "del NUMBER")),
    Command("silent", silent, said("Save at once, or ask first"), usage=("", "on", "off")),
    Command("config", config, said("Settings")),
)
PRESSES = {"policy": set_policy, "lang": set_language, "silent": set_silent, "store": press_storage}
