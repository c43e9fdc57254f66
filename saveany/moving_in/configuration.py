"""Plans what of the configuration of a SaveAny-Bot is taken over.

Without a configuration here, the file is taken as it is. Otherwise what is missing here is added: users,
storages, the bot and the application. Other settings stay as they are here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from tomlkit import TOMLDocument, parse

from saveany.config import Config, compat, files, keys, write
from saveany.errors import ConfigError
from saveany.moving_in.found import FoundConfig, NotTaken
from saveany.moving_in.steps import ConfigStep
from saveany.texts import Text

#: Keys of which more is said than that they stay.
_TAKEN = ("users", "storages", "telegram.token", "telegram.app_id", "telegram.app_hash")


def plan_configuration(
    config: Config, found: Sequence[FoundConfig], left_out: list[NotTaken]
) -> tuple[Config, list[ConfigStep]]:
    """The configuration as it will be, and the steps to it. Adds the rest to `left_out`."""
    steps: list[ConfigStep] = []
    for each in found:
        made = _whole(config, each) if config.file is None else _missing(config, each, left_out)
        for step in made:
            try:
                config = preview(config, [*steps, step])
            except ConfigError as error:
                left_out.append(NotTaken(f"{each.file}: {step.subject}", error.text))
                continue
            steps.append(step)
    return config, steps


def target(config: Config) -> Path:
    """The file that is changed."""
    return config.file or files.DEFAULT_FILES[0]


def preview(config: Config, steps: Sequence[ConfigStep]) -> Config:
    """The configuration after some steps. Raises `ConfigError`."""
    return write.preview(target(config), combined(steps))


def combined(steps: Sequence[ConfigStep]) -> write.Change:
    """All steps as one change."""

    def change(document: TOMLDocument) -> None:
        for step in steps:
            step.change(document)

    return change


def _whole(config: Config, found: FoundConfig) -> list[ConfigStep]:
    """The file as it is, except that its relative paths lead where they have led."""

    def change(document: TOMLDocument) -> None:
        for key, item in parse(found.text).body:
            document.append(key, item)
        for storage in document.get("storages", ()):
            if (place := _absolute(found, storage, target(config).parent)) is not None:
                storage["base_path"] = place

    return [ConfigStep(subject=str(target(config)), detail=f"made from {found.file}", change=change)]


def _missing(config: Config, found: FoundConfig, left_out: list[NotTaken]) -> list[ConfigStep]:
    """What is missing here."""
    storages = _tables(found.data, "storages")
    steps = [*_telegram(config, found, left_out)]
    _leave_out_others(config, found, left_out)
    known = {each.name for each in config.storages} | _names_in(config)
    for storage in storages:
        name = storage.get("name")
        if not isinstance(name, str) or name in known:
            continue
        if storage.get("enable") is not True:
            left_out.append(NotTaken(f"storage {name}", Text("it was switched off (enable)")))
            continue
        values = {key: value for key, value in storage.items() if key != "spilt_size_mb"}
        if (place := _absolute(found, storage, target(config).parent)) is not None:
            values["base_path"] = place
        known.add(name)
        steps.append(
            ConfigStep(
                subject=f"storage {name}",
                detail=str(storage.get("type", "")),
                change=write.adding_block("storages", values),
            )
        )
    for user in _tables(found.data, "users"):
        id_ = user.get("id")
        if type(id_) is not int or config.user(id_) is not None:
            continue
        steps.append(_user(id_, user, known))
    return steps


def _user(id_: int, user: Mapping[str, Any], known: set[str]) -> ConfigStep:
    names = [each for each in user.get("storages", ()) if each in known]
    values: dict[str, Any] = {"id": id_}
    if names:
        values["storages"] = names
    if user.get("blacklist") is True:
        values["blacklist"] = True
    how = "all storages but" if user.get("blacklist") is True else "storages"
    return ConfigStep(
        subject=f"user {id_}",
        detail=f"{how} {', '.join(names)}" if names else "all storages",
        change=write.adding_block("users", values),
    )


def _telegram(config: Config, found: FoundConfig, left_out: list[NotTaken]) -> list[ConfigStep]:
    table = found.data.get("telegram")
    theirs = table if isinstance(table, dict) else {}
    ours = config.telegram
    steps = []
    token = theirs.get("token")
    if isinstance(token, str) and token:
        if not ours.token.get_secret_value():
            steps.append(_setting("bot", f"of {token.partition(':')[0]}", {"telegram.token": token}))
        elif ours.token.get_secret_value() != token:
            left_out.append(
                NotTaken(f"{found.file}: bot", Text("there is another bot here (telegram.token)"))
            )
    if not ours.app_id and isinstance(theirs.get("app_id"), int) and theirs.get("app_hash"):
        values = {"telegram.app_id": theirs["app_id"], "telegram.app_hash": theirs["app_hash"]}
        steps.append(_setting("application", str(theirs["app_id"]), values))
    return steps


def _leave_out_others(config: Config, found: FoundConfig, left_out: list[NotTaken]) -> None:
    """Name the settings that have other values there, and those that mean nothing here."""
    data = deepcopy(found.data)
    for loc, why in compat.take_ignored(data):
        left_out.append(NotTaken(f"{found.file}: {'.'.join(map(str, loc))}", Text(why.partition(" ")[2])))
    for name, key in keys.KEYS.items():
        theirs: Any = data
        ours: Any = config
        for part in map(str, key.path):
            theirs, ours = (theirs.get(part) if isinstance(theirs, dict) else None), getattr(ours, part)
        if name in _TAKEN or theirs is None or theirs == keys.plain(ours, reveal=True):
            continue
        left_out.append(NotTaken(f"{found.file}: {name}", Text("the setting here stays as it is")))


def _setting(subject: str, detail: str, values: Mapping[str, Any]) -> ConfigStep:
    change = write.setting({keys.find(name): value for name, value in values.items()})
    return ConfigStep(subject=subject, detail=detail, change=change)


def _names_in(config: Config) -> set[str]:
    """The names of all storages in our file, also of those that are switched off."""
    data = files.toml(files.read(config.file), config.file) if config.file else {}
    return {str(each.get("name")) for each in _tables(data, "storages")}


def _tables(data: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = data.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _absolute(found: FoundConfig, storage: Mapping[str, Any], folder: Path) -> str | None:
    """The absolute path of a local storage whose path starts from the other folder; None for others."""
    place = storage.get("base_path")
    if storage.get("type") != "local" or not isinstance(place, str) or Path(place).is_absolute():
        return None
    theirs = found.file.absolute().parent
    return None if theirs == folder.absolute() else str((theirs / place).resolve())
