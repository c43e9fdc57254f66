"""All types of storages: one row per backend in `TYPES`, and those of other packages.

A backend is an options model and a storage class, named by import paths. Reading the configuration imports
only the model, opening the storage imports the class: a library is loaded only where a storage needs it.

Another package adds a backend by an entry point of the group `saveany.storages`. Its name is the `type` in
the configuration, its object a `Backend`:

    [project.entry-points."saveany.storages"]
    tape = "my_package:BACKEND"
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from saveany.errors import ConfigError
from storages.base import Capabilities, Services, Storage, StorageOptions

GROUP = "saveany.storages"
#: Types that lose their files when the process ends.
FOR_TESTS = ("memory",)


@dataclass(frozen=True, slots=True)
class Backend:
    """The import paths (`module:Name`) of a backend's classes, and a description for users."""

    options: str  # a subclass of StorageOptions
    storage: str  # a subclass of Storage, made from an instance of `options` and the `Services`
    description: str


def table(*rows: tuple[str, Backend]) -> Mapping[str, Backend]:
    """The rows by type. Raises `ConfigError` for two rows of one type: one would hide the other."""
    found: dict[str, Backend] = {}
    for type_, backend in rows:
        if type_ in found:
            raise ConfigError(
                "storage type {type!r} is registered twice; each type needs a different name", type=type_
            )
        found[type_] = backend
    return MappingProxyType(found)


TYPES = table(
    (
        "local",
        Backend(
            "storages.local.options:LocalOptions",
            "storages.local.storage:LocalStorage",
            "a folder on this machine",
        ),
    ),
    (
        "s3",
        Backend(
            "storages.s3.options:S3Options",
            "storages.s3.storage:S3Storage",
            "a bucket of S3, MinIO, R2 and others",
        ),
    ),
    (
        "minio",
        Backend(
            "storages.s3.options:MinioOptions",
            "storages.s3.storage:S3Storage",
            "s3, by its name in older configurations",
        ),
    ),
    (
        "sftp",
        Backend(
            "storages.sftp.options:SftpOptions", "storages.sftp.storage:SftpStorage", "a machine with SSH"
        ),
    ),
    (
        "ftp",
        Backend(
            "storages.ftp.options:FtpOptions",
            "storages.ftp.storage:FtpStorage",
            "an FTP server, with or without TLS",
        ),
    ),
    (
        "webdav",
        Backend(
            "storages.webdav.options:WebdavOptions",
            "storages.webdav.storage:WebdavStorage",
            "a WebDAV server",
        ),
    ),
    (
        "alist",
        Backend(
            "storages.alist.options:AlistOptions",
            "storages.alist.storage:AlistStorage",
            "an AList or OpenList server",
        ),
    ),
    (
        "rclone",
        Backend(
            "storages.rclone.options:RcloneOptions",
            "storages.rclone.storage:RcloneStorage",
            "any remote of rclone",
        ),
    ),
    (
        "openload",
        Backend(
            "storages.openload.options:OpenloadOptions",
            "storages.openload.storage:OpenloadStorage",
            "Streamtape, pstream and other video hosts with openload's API",
        ),
    ),
    (
        "telegram",
        Backend(
            "storages.telegram.options:TelegramStorageOptions",
            "storages.telegram.storage:TelegramStorage",
            "a Telegram chat",
        ),
    ),
    (
        "memory",
        Backend(
            "storages.memory:MemoryOptions",
            "storages.memory:MemoryStorage",
            "this process's memory, for tests",
        ),
    ),
)


def types() -> list[str]:
    """All types that the configuration may name, sorted. Imports no backend."""
    return sorted({*TYPES, *(entry.name for entry in _plugins())})


def backend(type_: str) -> Backend | None:
    """The backend of a type, None if there is none. Raises `ConfigError` if its package is broken."""
    plugins = [entry for entry in _plugins() if entry.name == type_]
    if len(plugins) + (type_ in TYPES) > 1:
        raise ConfigError(
            "storage type {type!r} is registered twice; remove {packages}",
            type=type_,
            packages=_packages(plugins),
        )
    return _load(plugins[0]) if plugins else TYPES.get(type_)


def options_model(type_: str) -> type[StorageOptions] | None:
    """The options model of a type, None if there is no such type."""
    known = backend(type_)
    if known is None:
        return None
    model: type[StorageOptions] = _attribute(type_, known.options, StorageOptions)
    return model


def open_storage(options: StorageOptions, services: Services | None = None) -> Storage:
    """The storage that these options describe. It connects to nothing before it is used."""
    known = backend(options.type)
    if known is None:
        raise ConfigError(
            "storage {storage!r}: unknown type {type!r}; the types are {types}",
            storage=options.name,
            type=options.type,
            types=", ".join(types()),
        )
    storage: Storage = _attribute(options.type, known.storage, Storage)(options, services or Services())
    return storage


def capabilities(type_: str) -> Capabilities:
    """The capabilities of storages of a type. Imports the backend."""
    known = backend(type_)
    if known is None:
        raise ConfigError("unknown storage type {type!r}", type=type_)
    found: Capabilities = _attribute(type_, known.storage, Storage).capabilities
    return found


def _plugins() -> Iterable[EntryPoint]:
    return _found(entry_points)


@cache
def _found(find: Callable[..., Iterable[EntryPoint]]) -> Sequence[EntryPoint]:
    """What `find` finds, once: it reads a file of every installed package."""
    return tuple(find(group=GROUP))


def _packages(plugins: Iterable[EntryPoint]) -> str:
    return ", ".join(sorted(entry.dist.name if entry.dist else entry.value for entry in plugins))


def _load(entry: EntryPoint) -> Backend:
    """Load the backend of another package. Any error becomes a `ConfigError` that names the package."""
    try:
        loaded = entry.load()
    except Exception as error:
        raise ConfigError(
            "storage type {type!r} of package {package} cannot be loaded ({reason}); install the "
            "package again, or remove it",
            type=entry.name,
            package=_packages([entry]),
            reason=str(error),
        ) from error
    if not isinstance(loaded, Backend):
        raise ConfigError(
            "storage type {type!r}: {object} is not a storages.registry.Backend",
            type=entry.name,
            object=entry.value,
        )
    return loaded


def _attribute(type_: str, path: str, base: type) -> Any:
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigError(
            "storage type {type!r} needs the Python package {package!r}, which is not installed",
            type=type_,
            package=error.name or "",
        ) from error
    except AttributeError as error:
        raise ConfigError(
            "storage type {type!r}: {module} has no {name!r}", type=type_, module=module, name=name
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(
            "storage type {type!r}: {path} is not a {base}", type=type_, path=path, base=base.__name__
        )
    return found
