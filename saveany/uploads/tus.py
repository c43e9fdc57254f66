"""What resumable uploads (tus 1.0) are to become, beside their bytes in the folder of this machine."""

from __future__ import annotations

import base64
import binascii
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from saveany.errors import InvalidInput
from saveany.uploads.folder import UploadsFolder

#: The version of the protocol, and the extensions that are supported.
VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,creation-defer-length,creation-with-upload,termination,expiration,checksum"
CHECKSUMS: Final = ("sha1", "sha256", "md5")
#: Seconds without a new byte after which an upload expires.
EXPIRE_SECONDS: Final = 24 * 3600.0
_INFO = re.compile(r"\.saveany-([0-9a-v]{20})\.json")
_ID = re.compile(r"[0-9a-v]{20}")
_KEY = re.compile(r"[!-+\--~]+")


class Wanted(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the uploader wants to be done with a file. Empty fields are filled in as for any task."""

    name: str = ""
    #: whether the file gets exactly this name, and not one by the user's template
    is_exact: bool = False
    #: whether the file will be linked into the folder, so that it needs no room (`UploadsFolder.link`)
    is_linked: bool = False
    mime: str = ""
    user_id: int | None = None
    storage: str = ""
    folder: str = ""
    folder_id: int | None = None  # in the catalogue; replaces `folder`
    on_conflict: str = ""
    on_duplicate: str = ""


class TusUpload(msgspec.Struct, frozen=True):
    """A resumable upload."""

    id: str  # also of the task
    user_id: int
    length: int | None  # bytes; None until the client knows it
    metadata: str  # as the client has sent it
    wanted: Wanted
    is_submitted: bool = False  # whether the task exists


class TusUploads:
    """The records of the resumable uploads of this machine. All methods block shortly."""

    def __init__(self, folder: UploadsFolder) -> None:
        self._folder = folder

    def get(self, id_: str) -> TusUpload | None:
        """The upload with this id; None if there is none, or if its record is damaged."""
        if not _ID.fullmatch(id_):
            return None
        with suppress(FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(self._path(id_).read_bytes(), type=TusUpload)
        return None

    def put(self, upload: TusUpload) -> None:
        """Write a record, durably and in one step."""
        path = self._path(upload.id)
        draft = path.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(upload))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        self._folder.sync()

    def remove(self, id_: str) -> None:
        """Remove a record."""
        self._path(id_).unlink(missing_ok=True)

    def ids(self) -> list[str]:
        """The ids of all uploads that have a record."""
        with suppress(FileNotFoundError):
            return [found[1] for path in self._folder.path.iterdir() if (found := _INFO.fullmatch(path.name))]
        return []

    def touched(self, id_: str) -> float:
        """When the upload has last received something, in seconds since the epoch."""
        for path in (self._folder.part(id_), self._path(id_)):
            with suppress(FileNotFoundError):
                return path.stat().st_mtime
        return 0.0

    def _path(self, id_: str) -> Path:
        return self._folder.path / f".saveany-{id_}.json"


def parse_metadata(header: str) -> dict[str, str]:
    """The pairs of an Upload-Metadata header. Raises `InvalidInput`."""
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        key, _, value = pair.partition(" ")
        try:
            text = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise InvalidInput(
                "Upload-Metadata: the value of {key!r} is not UTF-8 in Base64",
                "Upload-Metadata",
                key=key[:40],
            ) from None
        if not _KEY.fullmatch(key) or key in found:
            raise InvalidInput(
                "Upload-Metadata: {key!r} is no name, or occurs twice", "Upload-Metadata", key=key[:40]
            )
        found[key] = text
    return found


def parse_checksum(header: str) -> tuple[str, bytes]:
    """The algorithm and the digest of an Upload-Checksum header. Raises `InvalidInput`."""
    algorithm, _, value = header.partition(" ")
    if algorithm not in CHECKSUMS:
        known = ", ".join(CHECKSUMS)
        raise InvalidInput("Upload-Checksum: the algorithms are {known}", "Upload-Checksum", known=known)
    try:
        return algorithm, base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("Upload-Checksum: the digest is not Base64", "Upload-Checksum") from None
