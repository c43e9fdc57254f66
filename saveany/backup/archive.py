"""The file of a backup: a tar archive whose last member lists all others with their hashes.

An archive without that last member is not complete, whatever else it contains. It gets its name when it is
complete and on the disk.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from saveany.errors import ConfigError, SaveAnyError

#: Version of the form of the archive.
FORMAT = 1
MANIFEST = "manifest.json"
#: Members of an archive. Members with other names are refused.
CONFIG, SQLITE, POSTGRESQL, REDIS = "config.toml", "catalogue.db", "catalogue.dump", "redis.rdb"
LOGINS = "logins"
_LOGIN = re.compile(rf"{LOGINS}/[A-Za-z0-9_-]+(\.session|\.dc\d+\.key)?")
#: Maximum size of the manifest in bytes.
_MAX_MANIFEST = 1 << 20


class BackupPart(msgspec.Struct, frozen=True):
    """A file in the archive."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of an archive."""

    format: int = FORMAT
    saveany: str  # version that has written it
    made_at: str
    schema: str  # of the catalogue
    layout: int  # of the keys in Redis
    redis_db: int  # number of the database in the snapshot
    members: dict[str, BackupPart]


def check_free(file: Path, *, overwrite: bool) -> None:
    """Raise `SaveAnyError` if the file exists, unless it may be replaced."""
    if file.exists() and not overwrite:
        raise SaveAnyError("{file} exists; --overwrite replaces it", file=str(file))


def write(file: Path, parts: Mapping[str, Path], manifest: Manifest) -> Manifest:
    """Write an archive of `parts` (name -> file); `members` of the manifest are replaced. Only its owner can
    read it. Replaces an existing file. Raises `SaveAnyError` if it cannot be written."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
            with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for name, part in parts.items():
                    archive.add(part, name, recursive=False, filter=_anonymous)
                members = {name: _member(part) for name, part in parts.items()}
                manifest = msgspec.structs.replace(manifest, members=members)
                _add_manifest(archive, manifest)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)
    except OSError as error:
        raise SaveAnyError(
            "cannot write {file}: {reason}", file=str(file), reason=error.strerror or ""
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def extract(file: Path, folder: Path) -> Manifest:
    """Extract a complete, undamaged archive into an empty folder. Raises `SaveAnyError` for any other file,
    and `ConfigError` if a newer SaveAny has written it."""
    try:
        with tarfile.open(file, mode="r:") as archive:
            names = archive.getnames()
            if names[-1:] != [MANIFEST]:
                raise _not_whole(file, "its end is missing")
            manifest = _manifest(archive)
            if manifest.format > FORMAT:
                raise ConfigError(
                    "{file} was written by SaveAny {version}, whose backups this version does not know; "
                    "upgrade this installation",
                    file=str(file),
                    version=manifest.saveany,
                )
            if sorted(names[:-1]) != sorted(manifest.members) or not all(map(_is_known, manifest.members)):
                raise _not_whole(file, "its list of contents is wrong")
            archive.extractall(folder, filter="data")
    except FileNotFoundError:
        raise SaveAnyError("there is no file {file}", file=str(file)) from None
    except (OSError, EOFError, tarfile.TarError, msgspec.MsgspecError) as error:
        raise _not_whole(file, str(error)) from error
    for name, member in manifest.members.items():
        if _member(folder / name) != member:
            raise _not_whole(file, f"{name} is damaged")
    return manifest


def _is_known(name: str) -> bool:
    return name in (CONFIG, SQLITE, POSTGRESQL, REDIS) or bool(_LOGIN.fullmatch(name))


def _manifest(archive: tarfile.TarFile) -> Manifest:
    found = archive.extractfile(MANIFEST)
    return msgspec.json.decode(found.read(_MAX_MANIFEST) if found else b"", type=Manifest)


def _add_manifest(archive: tarfile.TarFile, manifest: Manifest) -> None:
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    info = tarfile.TarInfo(MANIFEST)
    info.size, info.mode = len(text), 0o600
    archive.addfile(info, io.BytesIO(text))


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member that only its owner can read, whoever extracts it."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o600
    return info


def _member(file: Path) -> BackupPart:
    with file.open("rb") as part:
        return BackupPart(file.stat().st_size, hashlib.file_digest(part, "sha256").hexdigest())


def _not_whole(file: Path, reason: str) -> SaveAnyError:
    return SaveAnyError("{file} is not a complete backup: {reason}", file=str(file), reason=reason)
