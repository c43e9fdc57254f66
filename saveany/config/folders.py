"""Folders of this machine that a storage must not use: those that contain the configuration, logins or
program.

A user who saves files into a storage chooses their names and content, and a user who transfers files from one
reads them. A storage on such a folder would give away the accounts and the machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel

import saveany
import storages
from saveany.config.lines import Loc
from saveany.config.schema import Config

#: Folders and files in data_dir that belong to SaveAny. A storage may use other folders there, as it does in
#: the container.
RESERVED = (
    "sessions",
    "redis",
    "scratch",
    "aria2",
    "cookies",
    "locks",
    "uploads",
    "thumbnails",
    "restart",
    "catalogue.db",
    "catalogue.db-shm",
    "catalogue.db-wal",
)


#: What two paths of one folder have in common, even if it is mounted twice, or written in another case on a
#: file system that ignores case: its device and number; its path if it does not exist yet, or cannot be read.
_Identity = tuple[int, int] | str


class _Place:
    """A path, looked up on the disk once, as it is written and with symbolic links followed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        real = Path(_real(path))
        entry = Path(_real(path.parent)) / path.name  # a link itself could be replaced
        self._identity = _identity(path, _real(path))
        self._above = {
            _identity(each, str(each)) for start in {real, entry} for each in (start, *start.parents)
        }

    def contains(self, other: _Place) -> bool:
        """Whether the other is the same or inside it."""
        return self._identity in other._above


@dataclass(frozen=True, slots=True)
class _Protected:
    """A file or folder that no storage may contain."""

    place: _Place
    name: str
    inside: bool = False  # whether a storage must not be inside it, either

    def relation(self, folder: _Place) -> str | None:
        """Why a folder conflicts with it; None if it does not."""
        if folder.contains(self.place):
            return "is or contains"
        return "is inside" if self.inside and self.place.contains(folder) else None


def problems(config: Config, files: Iterable[Path], tables: Mapping[str, int]) -> Iterator[tuple[Loc, str]]:
    """The location and reason of each storage folder that is refused.

    `files` are the configuration files in use, or those that would be found. `tables` maps the names of
    storages to the numbers of their tables.
    """
    protected = list(_protected(config, files))
    for storage in config.storages:
        for folder in map(_Place, storage.folders_here()):
            for each in protected:
                if (relation := each.relation(folder)) is not None:
                    key = "base_path" if "base_path" in storage.model_fields_set else "remote"
                    yield (
                        ("storages", tables[storage.name], key),
                        f"{folder.path} {relation} {each.name} ({each.place.path}); choose a folder that is "
                        "for files only",
                    )
                    break


def inbox_problems(config: Config, files: Iterable[Path]) -> Iterator[tuple[Loc, str]]:
    """The location and reason of each watched folder that is refused: one that would save what it has
    received, or what is not for others."""
    protected = [replace(each, inside=True) for each in _protected(config, files)]
    for storage in config.storages:
        protected += [
            _Protected(_Place(folder), f"storage {storage.name!r}", inside=True)
            for folder in storage.folders_here()
        ]
    earlier: list[_Protected] = []
    for index, inbox in enumerate(config.inboxes):
        place = _Place(inbox.path)
        for each in (*protected, *earlier):
            if (relation := each.relation(place)) is not None:
                yield (
                    ("inboxes", index, "path"),
                    f"{inbox.path} {relation} {each.name} ({each.place.path}); watch a folder that has only "
                    "files to be saved",
                )
                break
        earlier.append(_Protected(place, f"inboxes[{index}]", inside=True))
    for index, inbox in enumerate(config.inboxes):
        if (moved := inbox.moved_files) is not None:
            yield from _move_problems(config, index, moved)


def _move_problems(config: Config, index: int, moved: Path) -> Iterator[tuple[Loc, str]]:
    """Why files must not be moved to a folder: they would be saved again."""
    for number, inbox in enumerate(config.inboxes):
        own_default = number == index and config.inboxes[index].move_to is None
        if not own_default and _Place(inbox.path).contains(_Place(moved)):
            yield (
                ("inboxes", index, "move_to"),
                f"{moved} is or is inside the watched folder inboxes[{number}]; choose another folder, or "
                "leave it out",
            )


def _protected(config: Config, files: Iterable[Path]) -> Iterator[_Protected]:
    for file in files:
        yield _Protected(_Place(file.absolute()), "the configuration")
    yield _Protected(_Place(config.data_dir), "data_dir")
    for name in RESERVED:
        yield _Protected(_Place(config.data_dir / name), f"{name} of data_dir", inside=True)
    for package in (saveany, storages):
        yield _Protected(_Place(Path(str(package.__file__)).parent), "the program", inside=True)
    in_virtual_environment = sys.prefix != sys.base_prefix
    yield _Protected(_Place(Path(sys.prefix)), "the Python that runs it", inside=in_virtual_environment)
    for key, path in _named_files(config):
        yield _Protected(_Place(path), key)


def _named_files(table: BaseModel) -> Iterator[tuple[str, Path]]:
    """The keys and paths of files that the configuration names, such as private keys and certificates."""
    for name in type(table).model_fields:
        match getattr(table, name):
            case Path() as path if name not in ("data_dir", "base_path", "path", "move_to"):
                yield name, path
            case BaseModel() as inner:
                yield from _named_files(inner)
            case tuple() as several:
                for one in several:
                    if isinstance(one, BaseModel):
                        yield from _named_files(one)


def _identity(path: Path, otherwise: str) -> _Identity:
    """What identifies a path; `otherwise` if it cannot be looked up."""
    try:
        found = path.stat()
    except OSError:
        return otherwise
    return found.st_dev, found.st_ino


def _real(path: Path) -> str:
    """The path with symbolic links followed, as far as they can be read."""
    try:
        return os.path.realpath(path)
    except OSError:
        return str(path.absolute())
