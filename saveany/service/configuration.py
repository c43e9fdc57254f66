"""The configuration of a running SaveAny: what it is, and changes of its file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from saveany import advice, restart
from saveany.config import Config, files, keys, loader
from saveany.config.follow import ConfigFollower, changed_keys, needs_restart, user_environment
from saveany.config.hidden import HIDDEN, restored
from saveany.config.variables import read_variables
from saveany.errors import ConfigError, InvalidInput, WrongState
from saveany.logs import get_logger
from saveany.restart import RestartRequests
from saveany.service.principal import Principal
from saveany.texts import Text, joined

if TYPE_CHECKING:
    from saveany.config import write

Source = Literal["default", "file", "environment"]

#: Lists of tables with operations of their own.
_CHANGED_ELSEWHERE = ("users", "storages")

log = get_logger("saveany.configuration")


@dataclass(frozen=True, slots=True)
class Setting:
    """One key with its value."""

    key: keys.ConfigKey
    value: Any  # as in JSON; secrets are hidden
    source: Source
    needs_restart: bool


@dataclass(frozen=True, slots=True)
class Configuration:
    """The configuration that the file contains now."""

    file: str
    settings: list[Setting]
    warnings: list[str]
    waiting: list[str]  # keys that have changed since the start, and need a restart
    can_restart: bool


class ConfigurationService:
    """Reads and changes the configuration file. Everything needs the operator (`Forbidden`).

    A change is written only if the file loads with it. This process applies it at once, the others within
    seconds.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._writing = asyncio.Lock()
        self._requests = RestartRequests(config.data_dir)
        self._follower = ConfigFollower(config)

    @asynccontextmanager
    async def following(self, on_change: Callable[[], None]) -> AsyncIterator[None]:
        """Apply changes of the file until the block ends; `on_change` is called after each."""
        self._follower = ConfigFollower(self._config, on_change)
        running = asyncio.create_task(self._follower.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.wait([running])

    def read(self, principal: Principal) -> Configuration:
        """All settings. Raises `WrongState` if the file does not load."""
        principal.require_operator()
        now, env = self._load(), user_environment()
        file = self._config.file
        data = files.toml(files.read(file), file) if file else {}
        given = {setting.key.dotted for setting in read_variables(env).settings}
        settings = [
            Setting(key, _value(now, key), _source(key, data, given), needs_restart(name))
            for name, key in keys.KEYS.items()
        ]
        return Configuration(
            file=str(file or ""),
            settings=settings,
            warnings=list(now.warnings),
            waiting=changed_keys(self._config, now),
            can_restart=restart.is_possible(),
        )

    def checked(self, principal: Principal, values: Mapping[str, Any]) -> tuple[Config, Config]:
        """The configuration before and after a change of these keys, which is not made. None restores a
        default. Raises `InvalidInput`."""
        principal.require_operator()
        return self._load(), self._preview(self._change_of(values))

    async def change(self, principal: Principal, values: Mapping[str, Any]) -> None:
        """Change these keys; None restores a default. Raises `InvalidInput` and `WrongState`."""
        principal.require_operator()
        change = self._change_of(values)
        await self.save(principal, change)
        log.info("config_changed", keys=sorted(values))

    def preview(self, principal: Principal, change: write.Change) -> Config:
        """The configuration after a change, which is not made. Raises `InvalidInput` and `WrongState`."""
        principal.require_operator()
        return self._preview(change)

    async def save(self, principal: Principal, change: write.Change) -> None:
        """Change the file, and apply it. Raises `InvalidInput` and `WrongState`."""
        from saveany.config import write  # loads tomlkit

        principal.require_operator()
        async with self._writing:
            try:
                await asyncio.to_thread(write.update, self._file(), change, user_environment())
            except ConfigError as error:
                raise self._refused(error) from error
        await self._follower.check()

    def require_in_file(self, table: str) -> None:
        """Raise `WrongState` if a variable of the environment sets this key, which a change of the file would
        not change."""
        for variable in _variables(keys.find(table)):
            if user_environment().get(variable):
                raise WrongState("{key} is set by {variable}; change it there", key=table, variable=variable)

    def restart(self, principal: Principal) -> None:
        """Restart all processes of this machine. Raises `WrongState` if this SaveAny cannot do that."""
        principal.require_operator()
        if not restart.is_possible():
            raise WrongState("this SaveAny cannot restart itself; stop it, and start it again")
        self._requests.make()

    def _load(self) -> Config:
        if self._config.file is None:
            return self._config
        try:
            return loader.load(self._config.file, user_environment())
        except ConfigError as error:
            raise WrongState(
                "the configuration file has problems, so it cannot be changed here: {reason}",
                reason=error.text,
            ) from error

    def _change_of(self, values: Mapping[str, Any]) -> write.Change:
        from saveany.config import write  # loads tomlkit

        now, found = self._load(), dict[keys.ConfigKey, object]()
        for name, value in values.items():
            if name not in keys.KEYS or name in _CHANGED_ELSEWHERE:
                raise InvalidInput("there is no key {key!r} that can be changed here", name, key=name)
            self.require_in_file(name)
            if value != HIDDEN:
                key = keys.KEYS[name]
                found[key] = with_secrets(name, value, _value(now, key, reveal=True))
        return write.setting(found)

    def tables(self, name: str) -> list[dict[str, Any]]:
        """The blocks of a list of tables as they are in the file. Raises `WrongState` if it does not load."""
        known = getattr(self._load(), name)
        if self._config.file is None:
            return [each.model_dump(mode="json", exclude_unset=True) for each in known]
        return list(files.toml(files.read(self._config.file), self._config.file).get(name, ()))

    def _preview(self, change: write.Change) -> Config:
        from saveany.config import write  # loads tomlkit

        try:
            return write.preview(self._file(), change, user_environment())
        except ConfigError as error:
            raise self._refused(error) from error

    def _file(self) -> Path:
        if self._config.file is None:
            raise WrongState(
                "there is no configuration file to change; `{command}` writes one",
                command=advice.command("init"),
            )
        return self._config.file

    def _refused(self, error: ConfigError) -> InvalidInput:
        """The error for a change with which the file does not load, without the name of the file."""
        if not isinstance(error, loader.WrongValues):
            return InvalidInput(error.text)
        first = error.problems[0].key
        field = first if first in keys.KEYS or "[" in first else ""
        texts = [
            Text("{name}: {reason}", {"name": each.key, "reason": each.text})
            if each.key and each.key != field
            else each.text
            for each in error.problems
        ]
        return InvalidInput(joined(texts, "; "), field)


def with_secrets(name: str, value: Any, present: Any) -> Any:
    """A value that was sent, with the secrets of the present one where they are hidden in it. Raises
    `InvalidInput` if there are none, or it is not certain which of several is meant."""
    try:
        return restored(value, present)
    except ValueError as error:
        raise InvalidInput("a secret is hidden here; enter it again", name) from error


def _value(config: Config, key: keys.ConfigKey, *, reveal: bool = False) -> Any:
    value: object = config
    for name in key.path:
        value = getattr(value, str(name))
    return keys.plain(value, reveal=reveal)


def _source(key: keys.ConfigKey, data: Mapping[str, Any], given: set[str]) -> Source:
    if key.dotted in given:
        return "environment"
    table: Any = data
    for name in key.path:
        if not isinstance(table, dict) or name not in table:
            return "default"
        table = table[str(name)]
    return "file"


def _variables(key: keys.ConfigKey) -> tuple[str, str]:
    return key.variable, f"{key.variable}_FILE"
