"""The storages of a scenario, observed from outside: on the disk, or with a client other than SaveAny."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from storages.webdav.names import decode_name
from tests.fixtures import s3, sftp, webdav
from tests.fixtures.s3 import S3Server
from tests.fixtures.tables import table as table_of

MARKER = ".saveany-storage"


class ObservedStorage(abc.ABC):
    """A storage of the configuration, and access to its files without SaveAny."""

    def __init__(self, table: dict[str, Any], *, resumes: bool, hashes_resumed: bool = False) -> None:
        self.table = table  # its table in `[[storages]]`
        self.name: str = table["name"]
        self.resumes = resumes  # whether another worker continues from the durable bytes
        self.hashes_resumed = hashes_resumed  # whether the hash of a resumed file is recorded, too

    @abc.abstractmethod
    def files_by_path(self) -> dict[str, int]:
        """Path -> size of all files in it, including unfinished ones."""

    @abc.abstractmethod
    def sha256(self, path: str) -> str:
        """The SHA-256 of a file in hexadecimal."""

    def unfinished(self) -> list[str]:
        """Unfinished uploads that have no path yet."""
        return []


class ObservedFolder(ObservedStorage):
    """A folder on this machine. A server may have encoded the names in it: `decode` decodes them."""

    def __init__(
        self,
        table: dict[str, Any],
        folder: Path,
        *,
        resumes: bool,
        hashes_resumed: bool = False,
        decode: Callable[[str], str] = str,
    ) -> None:
        super().__init__(table, resumes=resumes, hashes_resumed=hashes_resumed)
        self._folder = folder
        self._decode = decode

    def files_by_path(self) -> dict[str, int]:
        found = {}
        for path in self._folder.rglob("*"):
            with suppress(FileNotFoundError):  # renamed or removed meanwhile
                if path.name != MARKER and (path.is_symlink() or not path.is_dir()):
                    name = "/".join(map(self._decode, path.relative_to(self._folder).parts))
                    found[name] = path.lstat().st_size
        return found

    def sha256(self, path: str) -> str:
        with (self._folder / path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class ObservedBucket(ObservedStorage):
    """An S3 bucket, accessed with botocore."""

    def __init__(self, server: S3Server) -> None:
        self._client, self._bucket = server.client, server.bucket()
        super().__init__(table_of(server.options(self._bucket, name="s3", base_path="")), resumes=True)

    def files_by_path(self) -> dict[str, int]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket)
        return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", [])}

    def sha256(self, path: str) -> str:
        digest = hashlib.sha256()
        for piece in self._client.get_object(Bucket=self._bucket, Key=path)["Body"].iter_chunks(1 << 20):
            digest.update(piece)
        return digest.hexdigest()

    def unfinished(self) -> list[str]:
        uploads = self._client.list_multipart_uploads(Bucket=self._bucket).get("Uploads") or []
        return [f"{each['Key']}, upload {each['UploadId']}" for each in uploads]


def local_storage(name: str, folder: Path) -> ObservedFolder:
    """A `local` storage in a folder."""
    table = {"name": name, "type": "local", "base_path": str(folder)}
    return ObservedFolder(table, folder, resumes=True, hashes_resumed=True)


@contextmanager
def open_s3(folder: Path) -> Iterator[ObservedStorage]:
    with s3.moto(folder) as server:
        yield ObservedBucket(server)


@contextmanager
def open_sftp(folder: Path) -> Iterator[ObservedStorage]:
    with sftp.openssh(folder) as server:
        (server.root / "box").mkdir()
        table = table_of(server.options("box", name="sftp"))
        yield ObservedFolder(table, server.root / "box", resumes=True)


@contextmanager
def open_webdav(_: Path) -> Iterator[ObservedStorage]:
    with webdav.wsgidav() as server:
        table = table_of(server.options("", name="webdav"))
        yield ObservedFolder(table, server.files, resumes=False, decode=decode_name)


_SERVERS: dict[str, Callable[[Path], AbstractContextManager[ObservedStorage]]] = {
    "s3": open_s3,
    "sftp": open_sftp,
    "webdav": open_webdav,
}


@contextmanager
def open_servers(folder: Path) -> Iterator[tuple[list[ObservedStorage], list[str]]]:
    """A storage on each server that is installed, and messages about those that are not; in CI a missing
    server is a failure."""
    storages: list[ObservedStorage] = []
    missing: list[str] = []
    with ExitStack() as stack:
        for name, open_server in _SERVERS.items():
            own = folder / f"server-{name}"
            own.mkdir(parents=True)
            try:
                storages.append(stack.enter_context(open_server(own)))
            except pytest.skip.Exception as reason:
                missing.append(f"{name} skipped: {reason}")
        yield storages, missing
