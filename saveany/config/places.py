"""Which folders of this machine storages may have: none with what SaveAny itself lives from.

Whoever may save a file into a storage chooses its name and its bytes, and whoever may transfer one reads it.
So a storage whose folder has the configuration, the logins or the program in it would give all that away.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

import saveany
import storages
from saveany.config.lines import Loc
from saveany.config.schema import Config

#: Folders in data_dir with what is SaveAny's own. Beside them a storage may be, as in the container.
OWN = ("sessions", "redis", "scratch", "aria2", "cookies")


def problems(config: Config, files: Iterable[Path], names: Mapping[str, int]) -> Iterator[tuple[Loc, str]]:
    """What is wrong with the folders of storages, each with its place: `names` says which table is whose.
    `files` are those that the configuration comes from, or would be found in."""
    own = list(_own(config, files))
    for storage in config.storages:
        for folder in storage.folders_here():
            for place, what, within in own:
                if (trouble := _trouble(folder, place, within=within)) is not None:
                    key = "base_path" if "base_path" in storage.model_fields_set else "remote"
                    yield (
                        ("storages", names[storage.name], key),
                        f"{folder} {trouble} {what} ({place}); choose a folder that is for files only",
                    )
                    break


def _own(config: Config, files: Iterable[Path]) -> Iterator[tuple[Path, str, bool]]:
    """What no storage's folder may have in it: path, name, and whether none may be in that, either."""
    for file in files:
        yield file.absolute(), "the configuration", False
    yield config.data_dir, "data_dir", False
    for name in OWN:
        yield config.data_dir / name, f"{name} of data_dir", True
    for package in (saveany, storages):
        yield Path(str(package.__file__)).parent, "the program", True
    yield Path(sys.prefix), "the Python that runs it", sys.prefix != sys.base_prefix
    for key, path in _files(config):
        yield path, key, False


def _files(table: BaseModel) -> Iterator[tuple[str, Path]]:
    """The other files that a configuration names, such as keys and certificates."""
    for name in type(table).model_fields:
        match getattr(table, name):
            case Path() as path if name not in ("data_dir", "base_path"):
                yield name, path
            case BaseModel() as inner:
                yield from _files(inner)
            case tuple() as several:
                for one in several:
                    if isinstance(one, BaseModel):
                        yield from _files(one)


def _trouble(folder: Path, place: Path, *, within: bool) -> str | None:
    """How a folder and a place meet, None if they do not."""
    if _has(folder, place):
        return "is or contains"
    return "is inside" if within and _has(place, folder) else None


def _has(folder: Path, place: Path) -> bool:
    """Whether a place is a folder or in it, by the name it is given or by that of what it links to."""
    real = Path(os.path.realpath(place))
    beside = Path(os.path.realpath(place.parent)) / place.name  # a link that could itself be replaced
    return any(_same(folder, each) for start in (real, beside) for each in (start, *start.parents))


def _same(one: Path, other: Path) -> bool:
    """Also if one of them is mounted a second time, or spelled otherwise where case does not count."""
    try:
        return one.samefile(other)
    except OSError:  # one is not there yet
        return os.path.realpath(one) == str(other)
