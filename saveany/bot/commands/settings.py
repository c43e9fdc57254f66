"""/config, /storage, /dir and /silent: a user's preferences."""

from __future__ import annotations

from msgspec.structs import replace

from saveany.bot.context import Context, choice_id, find_choice, folder_button, rows, storage_button
from saveany.bot.registry import Command
from saveany.bot.render import location
from saveany.bot.texts import CommandError, escape
from saveany.languages import LANGUAGES
from saveany.planning.paths import folder
from saveany.preferences import Preferences, Shortcut
from saveany.telegram.update_types import Button, Keyboard
from saveany.texts import gettext_noop

_POLICIES = ("rename", "ask", "overwrite", "skip")
_DUPLICATES = ("save", "skip", "link")
#: Maximum number of folder buttons below a message.
_MAX_FOLDERS = 30


# /config


async def config(ctx: Context, args: str) -> None:
    """Show all preferences, with buttons that change them."""
    await ctx.reply(*_preferences(ctx))


async def set_policy(ctx: Context, args: str) -> None:
    """Choose what happens when a name is taken."""
    if args in _POLICIES:
        await ctx.change_preferences(lambda preferences: replace(preferences, on_conflict=args))
    await ctx.edit(*_preferences(ctx))


async def set_duplicates(ctx: Context, args: str) -> None:
    """Choose what happens to files that were saved before."""
    if args in _DUPLICATES:
        await ctx.change_preferences(lambda preferences: replace(preferences, on_duplicate=args))
    await ctx.edit(*_preferences(ctx))


async def set_language(ctx: Context, args: str) -> None:
    """Choose the language of the bot."""
    if args in LANGUAGES or not args:
        await ctx.change_preferences(lambda preferences: replace(preferences, language=args))
    await ctx.edit(*_preferences(ctx))


async def set_silent(ctx: Context, args: str) -> None:
    """Turn silent mode on or off."""
    await ctx.change_preferences(lambda preferences: replace(preferences, silent=args == "on"))
    await ctx.edit(*_preferences(ctx))


def _preferences(ctx: Context) -> tuple[str, Keyboard]:
    t, preferences = ctx.t, ctx.preferences
    policies = {
        "rename": t("keep both"),
        "ask": t("ask me"),
        "overwrite": t("replace it"),
        "skip": t("do not save"),
    }
    policy = preferences.on_conflict or "rename"
    duplicates = {
        "save": t("save it again"),
        "skip": t("do not save"),
        "link": t("list it without another copy"),
    }
    duplicate = preferences.on_duplicate or "save"
    lines = [
        t("Default storage: {path}", path=_default_path(ctx)),
        t("Silent mode: {state}", state=t("on") if preferences.silent else t("off")),
        t("If a name is taken: {policy}", policy=policies[policy]),
        t("If I have saved a file before: {policy}", policy=duplicates[duplicate]),
        t("File names: {template}", template=preferences.template or t("unchanged")),
        t("Rules: {n}", n=len(preferences.rules)),
        t("Language: {language}", language=LANGUAGES[t.language]),
    ]
    silent = (
        Button(t("Turn silent mode off"), "silent:off")
        if preferences.silent
        else Button(t("Turn silent mode on"), "silent:on")
    )
    names = [
        Button(t("Name taken: {policy}", policy=label), f"policy:{key}")
        for key, label in policies.items()
        if key != policy
    ]
    again = [
        Button(t("Saved before: {policy}", policy=label), f"duplicate:{key}")
        for key, label in duplicates.items()
        if key != duplicate
    ]
    languages = [
        Button(t("Language: {language}", language=name), f"lang:{tag}")
        for tag, name in LANGUAGES.items()
        if tag != t.language
    ]
    return "\n".join(lines), ((silent,), *rows(names, 1), *rows(again, 1), *rows(languages))


def _default_path(ctx: Context) -> str:
    preferences = ctx.preferences
    name = preferences.storage if preferences.storage in ctx.storages else (ctx.storages or ["-"])[0]
    return location(name, preferences.folder if name == preferences.storage else "")


# /silent


async def silent(ctx: Context, args: str) -> None:
    """Turn silent mode on or off."""
    if args not in ("", "on", "off"):
        raise CommandError("Send /silent on or /silent off.")
    on = not ctx.preferences.silent if not args else args == "on"
    await ctx.change_preferences(lambda preferences: replace(preferences, silent=on))
    if on:
        await ctx.reply(
            ctx.t("Silent mode is on: I save files to {path} without asking.", path=_default_path(ctx))
        )
    else:
        await ctx.reply(ctx.t("Silent mode is off: I ask where to save each file."))


# /storage


async def storage(ctx: Context, args: str) -> None:
    """Choose the default storage and folder."""
    if args:
        name, _, path = args.partition(":")
        await _set_default(ctx, name, folder(path))
        await ctx.reply(ctx.t("Files are now saved to {path} by default.", path=_default_path(ctx)))
        return
    buttons = [storage_button(name, f"store:{choice_id(name)}") for name in ctx.storages]
    text = ctx.t("Files are saved to {path} by default. Choose another storage:", path=_default_path(ctx))
    await ctx.reply(text, rows(buttons))


async def choose_default(ctx: Context, args: str) -> None:
    """Choose a storage from the list, then one of its folders if there is more than one."""
    wanted, _, choice = args.partition(":")
    name = find_choice(ctx.storages, wanted)
    folders = ["", *(each.folder for each in ctx.preferences.shortcuts if each.storage == name)]
    if len(folders) > 1 and not choice:
        buttons = [
            folder_button(path, f"store:{wanted}:{choice_id(path)}") for path in folders[:_MAX_FOLDERS]
        ]
        await ctx.edit(ctx.t("Which folder of {storage}?", storage=name), rows(buttons, 2))
        return
    await _set_default(ctx, name, find_choice(folders, choice) if choice else "")
    await ctx.edit(ctx.t("Files are now saved to {path} by default.", path=_default_path(ctx)))


async def _set_default(ctx: Context, name: str, path: str) -> None:
    ctx.check_storage(name)
    await ctx.change_preferences(lambda preferences: replace(preferences, storage=name, folder=path))


# /dir


async def dir_(ctx: Context, args: str) -> None:
    """List, add and remove the folders that cards offer."""
    verb, _, rest = args.partition(" ")
    if verb == "add":
        await _add_folder(ctx, rest)
    elif verb in ("del", "rm"):
        await _remove_folder(ctx, rest)
    elif verb:
        raise CommandError("Send /dir, /dir add STORAGE:FOLDER or /dir del NUMBER.")
    paths = [location(each.storage, each.folder) for each in ctx.preferences.shortcuts]
    lines = [f"{n}. <code>{escape(path)}</code>" for n, path in enumerate(paths, 1)]
    await ctx.reply(
        "\n".join(lines) or ctx.t("You have no folders yet. Add one with /dir add STORAGE:FOLDER.")
    )


async def _add_folder(ctx: Context, args: str) -> None:
    name, _, path = args.partition(":") if ":" in args else args.partition(" ")
    ctx.check_storage(name)
    added = Shortcut(name, folder(path.strip()))
    if not added.folder:
        raise CommandError("Send /dir add STORAGE:FOLDER.")

    def change(preferences: Preferences) -> Preferences:
        return replace(preferences, shortcuts=tuple(dict.fromkeys((*preferences.shortcuts, added))))

    await ctx.change_preferences(change)


async def _remove_folder(ctx: Context, args: str) -> None:
    shortcuts = ctx.preferences.shortcuts
    if not args.isdecimal() or not 0 < int(args) <= len(shortcuts):
        raise CommandError("There is no folder with that number. /dir lists your folders.")
    removed = shortcuts[int(args) - 1]

    def change(preferences: Preferences) -> Preferences:
        others = tuple(each for each in preferences.shortcuts if each != removed)
        return replace(preferences, shortcuts=others)

    await ctx.change_preferences(change)


COMMANDS = (
    Command("storage", storage, gettext_noop("Default storage"), usage=("", "STORAGE:FOLDER")),
    Command(
        "dir",
        dir_,
        gettext_noop("Folders to choose from"),
        usage=("", "add STORAGE:FOLDER", "del NUMBER"),
    ),
    Command("silent", silent, gettext_noop("Save without asking"), usage=("", "on", "off")),
    Command("config", config, gettext_noop("Settings")),
)
BUTTONS = {
    "policy": set_policy,
    "duplicate": set_duplicates,
    "lang": set_language,
    "silent": set_silent,
    "store": choose_default,
}
