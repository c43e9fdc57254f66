"""Adding, changing and removing storages of the configuration. Each is tried out before it is written."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from saveany.config import Config
from saveany.config.describe import storage_options
from saveany.config.hidden import HIDDEN, without_password
from saveany.errors import InvalidInput, NotFound, SaveAnyError, WrongState
from saveany.logs import get_logger
from saveany.service.configuration import ConfigurationService, with_secrets
from saveany.service.principal import Principal
from saveany.store import Store
from saveany.texts import Text
from storages import registry
from storages.base import Storage, StorageOptions

if TYPE_CHECKING:
    from saveany.config import write
    from saveany.telegram.accounts import Accounts

#: Seconds that a new storage has to write a test file.
_SECONDS = 45.0
_TABLE = "storages"
#: Options that say where the files of a storage are; no type has all of them.
_PLACE = (
    *("url", "base_url", "endpoint", "host", "port", "username", "login"),
    *("bucket_name", "remote", "base_path", "chat_id", "topic", "account"),
)

log = get_logger("saveany.configuration")


class StorageService:
    """Changes of storages. They need the operator (`Forbidden`), and take effect within seconds."""

    def __init__(
        self,
        config: Config,
        store: Store,
        configuration: ConfigurationService,
        accounts: Callable[[], Awaitable[Accounts]],
    ) -> None:
        self._config = config
        self._store = store
        self._configuration = configuration
        self._accounts = accounts

    def tables(self, principal: Principal) -> list[dict[str, Any]]:
        """All storages as they are in the file, also those that are not enabled. Secrets are hidden."""
        principal.require_operator()
        return [_hidden(each) for each in self._configuration.tables(_TABLE)]

    def table(self, principal: Principal, name: str) -> dict[str, Any]:
        """One of `tables`. Raises `NotFound`."""
        for each in self.tables(principal):
            if each.get("name") == name:
                return each
        raise NotFound("there is no storage {name!r}", name=name)

    async def try_out(self, principal: Principal, values: Mapping[str, Any]) -> float:
        """Write a small file to a storage that may not be configured yet, and delete it. Returns the seconds
        that it took. If there is a storage of that name, secrets that are hidden are its secrets. Raises
        `InvalidInput` with the reason."""
        options = self._options(principal, values)
        return await self._probe(options)

    async def add(self, principal: Principal, values: Mapping[str, Any]) -> None:
        """Add a storage that works. Raises `InvalidInput` and `WrongState`."""
        from saveany.config import write  # loads tomlkit

        name = str(values["name"])
        if any(each.get("name") == name for each in self.tables(principal)):
            raise WrongState("there is a storage {name!r} already; choose another name", name=name)
        change = write.adding_block(_TABLE, self._with_secrets(name, values))
        await self._try(principal, change, name)
        await self._store.workers.forget_storage(name)  # of an earlier storage of that name
        await self._configuration.save(principal, change)
        log.info("storage_added", storage=name)

    async def change(
        self, principal: Principal, name: str, values: Mapping[str, Any], *, moved: bool = False
    ) -> None:
        """Change options of a storage; None restores a default. `moved`: its folder is another one from now
        on, which need not contain its files. Raises `NotFound`, `InvalidInput` and `WrongState`."""
        from saveany.config import write  # loads tomlkit

        self.table(principal, name)
        change = write.changing_block(_TABLE, "name", name, self._with_secrets(name, values))
        await self._try(principal, change, name, is_new=moved)
        if moved:
            await self._store.workers.forget_storage(name)
        await self._configuration.save(principal, change)
        log.info("storage_changed", storage=name)

    async def remove(self, principal: Principal, name: str) -> None:
        """Remove a storage from the configuration. Its files stay. Raises `NotFound` and `WrongState`."""
        from saveany.config import write  # loads tomlkit

        self.table(principal, name)
        self._configuration.require_in_file(_TABLE)
        await self._configuration.save(principal, write.removing_block(_TABLE, "name", name))
        log.info("storage_removed", storage=name)

    async def _try(
        self, principal: Principal, change: write.Change, name: str, *, is_new: bool = True
    ) -> None:
        self._configuration.require_in_file(_TABLE)
        options = self._previewed(principal, change, name)
        if options is not None:  # it is enabled
            await self._probe(options, is_new=is_new)

    def _previewed(self, principal: Principal, change: write.Change, name: str) -> StorageOptions | None:
        """The options of a storage after a change, which is not made; None if it is not enabled then. Raises
        `InvalidInput`, also for files that would be lost or belong to another storage."""
        config = self._configuration.preview(principal, change)
        options = config.storage(name)
        if options is None:
            return None
        if options.type in registry.FOR_TESTS:
            raise InvalidInput(
                "storages of type {type!r} are for tests, and lose their files; choose another type",
                "type",
                type=options.type,
            )
        for other in config.storages:
            if other.name != name and _place(other) == _place(options):
                raise InvalidInput(
                    "storage {name!r} has its files in the same place; choose another folder",
                    "base_path",
                    name=other.name,
                )
        return options

    def _options(self, principal: Principal, values: Mapping[str, Any]) -> StorageOptions:
        """The options of a storage, as they will be when they are written."""
        from saveany.config import write  # loads tomlkit

        name = str(values["name"])
        changed = {**self._with_secrets(name, values), "enable": True}
        if any(each.get("name") == name for each in self.tables(principal)):
            changed.pop("type", None)
            change = write.changing_block(_TABLE, "name", name, changed)
        else:
            change = write.adding_block(_TABLE, changed)
        options = self._previewed(principal, change, name)
        if options is None:
            raise AssertionError("the storage is enabled")
        return options

    def _with_secrets(self, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Options with the secrets of the storage of that name, where they are hidden."""
        present = next((each for each in self._configuration.tables(_TABLE) if each.get("name") == name), {})
        return {key: with_secrets(key, value, present.get(key)) for key, value in values.items()}

    async def _probe(self, options: StorageOptions, *, is_new: bool = True) -> float:
        started = time.monotonic()
        try:
            async with asyncio.timeout(_SECONDS):
                await self._use(options, is_new=is_new)
        except InvalidInput:
            raise
        except SaveAnyError as error:
            raise InvalidInput(error.text) from error
        except TimeoutError as error:
            text = Text("the storage did not respond within {seconds} seconds", {"seconds": int(_SECONDS)})
            raise InvalidInput(text) from error
        except Exception as error:  # of a library
            log.exception("storage_trial_failed", storage=options.name)
            raise InvalidInput(
                "this failed with an internal error ({error}); see the log", error=type(error).__name__
            ) from error
        return round(time.monotonic() - started, 3)

    async def _use(self, options: StorageOptions, *, is_new: bool) -> None:
        services = self._config.services
        if registry.capabilities(options.type).needs_account:
            from saveany.telegram.uploads import Uploader

            services = replace(services, message_sender=Uploader(await self._accounts()))
        storage = registry.open_storage(options, services)
        try:
            if not is_new:
                await self._check_place(storage)
            await storage.probe()
        finally:
            await storage.close()

    async def _check_place(self, storage: Storage) -> None:
        """Raise `InvalidInput` if a folder is not the one with the files of the storage."""
        if not storage.capabilities.this_machine_only:
            return
        expected = await self._store.workers.storage_identity(storage.name)
        if expected and await storage.identity() != expected:
            raise InvalidInput(
                "this folder is not the one that has the files of the storage until now; move them there "
                "with .saveany-storage first, or confirm that it starts anew there",
                "moved",
            )


def _place(options: StorageOptions) -> tuple[object, ...]:
    """Where the files are, as far as the options show it: storages with the same place share their files."""
    if folders := options.folders_here():
        return tuple(map(os.path.realpath, folders))
    named = [str(getattr(options, name, "")).strip("/") for name in _PLACE]
    return (type(options), *named)


def _hidden(table: Mapping[str, Any]) -> dict[str, Any]:
    try:
        secrets = {each.name for each in storage_options(str(table.get("type"))) if each.is_secret}
    except LookupError:
        secrets = set()
    return {
        key: HIDDEN
        if key in secrets and value
        else without_password(value)
        if isinstance(value, str)
        else value
        for key, value in table.items()
    }
