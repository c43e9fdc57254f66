"""/config, /storage, /dir and /silent: how somebody likes it."""

from __future__ import annotations

from msgspec.structs import replace

from saveany.bot.registry import Command
from saveany.bot.texts import LANGUAGES, Refused, plain, said
from saveany.bot.visit import Visit, folder_button, mark, marked, rows, storage_button
from saveany.planning.paths import folder
from saveany.store.people import Prefs, Shortcut
from saveany.telegram.letters import Button, Keyboard

_POLICIES = ("rename", "ask", "overwrite", "skip")
#: Folders that fit below a message.
_FOLDERS = 30


# /config


async def config(visit: Visit, words: str) -> None:
    """Everything that is set, and buttons to change it."""
    await visit.say(*_config(visit))


async def set_policy(visit: Visit, words: str) -> None:
    """What happens when a name is taken."""
    if words in _POLICIES:
        await visit.change(lambda prefs: replace(prefs, on_conflict=words))
    await visit.show(*_config(visit))


async def set_language(visit: Visit, words: str) -> None:
    """In which language the bot speaks."""
    if words in LANGUAGES or not words:
        await visit.change(lambda prefs: replace(prefs, language=words))
    await visit.show(*_config(visit))


async def set_silent(visit: Visit, words: str) -> None:
    """Whether a card is shown first."""
    await visit.change(lambda prefs: replace(prefs, silent=words == "on"))
    await visit.show(*_config(visit))


def _config(visit: Visit) -> tuple[str, Keyboard]:
    t, prefs = visit.t, visit.prefs
    policies = {
        "rename": t("keep both"),
        "ask": t("ask me"),
        "overwrite": t("replace it"),
        "skip": t("do not save"),
    }
    policy = prefs.on_conflict or "rename"
    lines = [
        t("Storage: {place}", place=_place(visit)),
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


def _toggle(verb: str, prefs: Prefs) -> str:
    return f"{verb}:{'off' if prefs.silent else 'on'}"


def _place(visit: Visit) -> str:
    name = visit.prefs.storage if visit.prefs.storage in visit.storages else (visit.storages or ["-"])[0]
    return f"{name}:/{visit.prefs.folder if name == visit.prefs.storage else ''}"


# /silent


async def silent(visit: Visit, words: str) -> None:
    """Turn silent mode on or off."""
    if words not in ("", "on", "off"):
        raise Refused(said("say /silent on or /silent off"))
    on = not visit.prefs.silent if not words else words == "on"
    await visit.change(lambda prefs: replace(prefs, silent=on))
    if on:
        await visit.say(visit.t("From now on I save at once, into {place}.", place=_place(visit)))
    else:
        await visit.say(visit.t("From now on I ask where to save."))


# /storage


async def storage(visit: Visit, words: str) -> None:
    """Choose where files go if nothing else is said."""
    if words:
        name, _, path = words.partition(":")
        await _set_storage(visit, name, folder(path))
        await visit.say(visit.t("Files go into {place} now.", place=_place(visit)))
        return
    choices = [storage_button(name, f"store:{mark(name)}") for name in visit.storages]
    await visit.say(
        visit.t("Files go into {place}. Where shall they go?", place=_place(visit)), rows(choices)
    )


async def press_storage(visit: Visit, words: str) -> None:
    """A storage of the list; then one of its folders, if there are any to choose from."""
    wanted, _, choice = words.partition(":")
    name = marked(visit.storages, wanted)
    folders = ["", *(each.folder for each in visit.prefs.shortcuts if each.storage == name)]
    if len(folders) > 1 and not choice:
        buttons = [folder_button(path, f"store:{wanted}:{mark(path)}") for path in folders[:_FOLDERS]]
        await visit.show(visit.t("Into which folder of {storage}?", storage=name), rows(buttons, 2))
        return
    await _set_storage(visit, name, marked(folders, choice) if choice else "")
    await visit.show(visit.t("Files go into {place} now.", place=_place(visit)))


async def _set_storage(visit: Visit, name: str, path: str) -> None:
    visit.check_storage(name)
    await visit.change(lambda prefs: replace(prefs, storage=name, folder=path))


# /dir


async def dir_(visit: Visit, words: str) -> None:
    """Folders that are offered when a storage was chosen."""
    verb, _, rest = words.partition(" ")
    if verb == "add":
        await _add_folder(visit, rest)
    elif verb in ("del", "rm"):
        await _remove_folder(visit, rest)
    elif verb:
        raise Refused(said("say /dir, /dir add STORAGE:FOLDER or /dir del NUMBER"))
    places = [f"{each.storage}:/{each.folder}" for each in visit.prefs.shortcuts]
    lines = [f"{n}. <code>{plain(each)}</code>" for n, each in enumerate(places, 1)]
    await visit.say("\n".join(lines) or visit.t("No folders yet: /dir add STORAGE:FOLDER"))


async def _add_folder(visit: Visit, words: str) -> None:
    name, _, path = words.partition(":") if ":" in words else words.partition(" ")
    visit.check_storage(name)
    made = Shortcut(name, folder(path.strip()))
    if not made.folder:
        raise Refused(said("say /dir add STORAGE:FOLDER"))
    await visit.change(lambda prefs: replace(prefs, shortcuts=tuple(dict.fromkeys((*prefs.shortcuts, made)))))


async def _remove_folder(visit: Visit, words: str) -> None:
    shortcuts = visit.prefs.shortcuts
    if not words.isdecimal() or not 0 < int(words) <= len(shortcuts):
        raise Refused(said("there is no folder of that number; /dir lists them"))
    gone = shortcuts[int(words) - 1]
    await visit.change(
        lambda prefs: replace(prefs, shortcuts=tuple(each for each in prefs.shortcuts if each != gone))
    )


COMMANDS = (
    Command("storage", storage, said("Where files go"), usage=("", "STORAGE:FOLDER")),
    Command("dir", dir_, said("Folders to choose from"), usage=("", "add STORAGE:FOLDER", "del NUMBER")),
    Command("silent", silent, said("Save at once, or ask first"), usage=("", "on", "off")),
    Command("config", config, said("Settings")),
)
PRESSES = {"policy": set_policy, "lang": set_language, "silent": set_silent, "store": press_storage}
