"""Applies changes of the configuration file to a process that runs, where that needs no restart."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from saveany import logs
from saveany.config import files, keys, loader
from saveany.config.schema import Config
from saveany.errors import ConfigError
from saveany.loops import repeat

#: Seconds between two checks whether the file was changed.
_POLL_SECONDS = 2.0
#: Environment variable with the value of SAVEANY_REDIS_URL that the user has set, for a process in which its
#: supervisor has replaced it.
REDIS_VARIABLE = "_SAVEANY_REDIS_URL"
_REPLACED = "SAVEANY_REDIS_URL"
#: Keys whose changes running processes apply, as `Config.adopt` does; the others need a restart.
LIVE = ("users", "storages", "limits", "inboxes", "telegram.accounts", "telegram.sessions")

log = logs.get_logger("saveany.config")


class ConfigFollower:
    """Keeps a configuration equal to its file, as far as that needs no restart."""

    def __init__(self, config: Config, on_change: Callable[[], None] | None = None) -> None:
        """`on_change` is called after each change."""
        self._config = config
        self._on_change = on_change or _nothing
        self._version = config.file_version

    async def run(self) -> None:
        """Apply changes within seconds, until canceled. Without a file there is nothing to do."""
        if self._config.file is not None:
            await repeat("config", self.check, _POLL_SECONDS)

    async def check(self) -> None:
        """Apply the file if it has changed. One that does not load changes nothing; its problems are
        logged."""
        version = files.version(self._config.file)
        if version == self._version or self._config.file is None:
            return
        self._version = version
        try:
            new = loader.load(self._config.file, user_environment())
        except ConfigError as error:
            log.warning("config_not_applied", reason=error.message)
            return
        for secret in new.secrets():
            logs.register_secret(secret)
        if self._config.adopt(new):
            log.info("config_applied")
            self._on_change()


def needs_restart(key: str) -> bool:
    """Whether a change of the key with that dotted name takes effect with a restart only."""
    return not any(key == live or key.startswith(f"{live}.") for live in LIVE)


def changed_keys(before: Config, after: Config) -> list[str]:
    """Dotted names of the keys that need a restart and have different values in two configurations."""
    return [
        name
        for name, key in keys.KEYS.items()
        if needs_restart(name)
        and _value(before, key) != _value(after, key)
        and not (name == "redis.url" and _is_replaced(before))
    ]


def user_environment(env: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """The environment as the user has set it, without what a supervisor has added."""
    if REDIS_VARIABLE not in env:
        return env
    return {**env, _REPLACED: env[REDIS_VARIABLE]}


def _is_replaced(config: Config) -> bool:
    """Whether the supervisor has replaced the address of Redis, so that the user's is not known."""
    return REDIS_VARIABLE in os.environ and config.redis.url == os.environ.get(_REPLACED)


def _value(config: Config, key: keys.ConfigKey) -> object:
    value: object = config
    for name in key.path:
        value = getattr(value, str(name))
    return value


def _nothing() -> None:
    """No one wants to know."""
