"""Errors that several storages raise."""

from __future__ import annotations

from saveany.errors import NameTaken, StorageError
from saveany.texts import Text


def located(storage: str, path: str) -> Text:
    """The storage and the path that an error is about, as its beginning; an empty path is left out."""
    if path:
        return Text("storage {storage!r}: {path!r}", {"storage": storage, "path": path})
    return Text("storage {storage!r}", {"storage": storage})


def name_taken(storage: str, path: str) -> NameTaken:
    """The error for a path at which something exists already."""
    return NameTaken("storage {storage!r}: {path!r} already exists", storage=storage, path=path)


def folder_needed(storage: str, path: str) -> StorageError:
    """The error for a path that must be a folder, but is a file."""
    return StorageError(
        "storage {storage!r}: {path!r} is a file, but a folder is needed there", storage=storage, path=path
    )


def not_a_folder(storage: str, path: str) -> StorageError:
    """The error for a path that should be listed, but is a file."""
    return StorageError("storage {storage!r}: {path!r} is not a folder", storage=storage, path=path)
