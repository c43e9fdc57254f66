"""Where the files of a scenario go, each seen from outside: on the disk, or by a client that is not ours."""

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


class Shelf(abc.ABC):
    """A storage of the configuration, and the place that it stands for."""

    def __init__(self, table: dict[str, Any], *, resumes: bool, rehashes: bool = False) -> None:
        self.table = table  # its row of `[[storages]]`
        self.name: str = table["name"]
        self.resumes = resumes  # whether a later worker goes on with what is durable
        self.rehashes = rehashes  # whether the hash is recorded also of a file that was gone on with

    @abc.abstractmethod
    def look(self) -> dict[str, int]:
        """The bytes of everything that has a name there, parts too, by its path."""

    @abc.abstractmethod
    def sha256(self, path: str) -> str:
        """In hexadecimal, of what is there now."""

    def unfinished(self) -> list[str]:
        """What is left of uploads and has no name."""
        return []


class Folder(Shelf):
    """A folder of this machine, which a server may serve under other names."""

    def __init__(
        self,
        table: dict[str, Any],
        folder: Path,
        *,
        resumes: bool,
        rehashes: bool = False,
        decode: Callable[[str], str] = str,
    ) -> None:
        super().__init__(table, resumes=resumes, rehashes=rehashes)
        self._folder = folder
        self._decode = decode

    def look(self) -> dict[str, int]:
        found = {}
        for path in self._folder.rglob("*"):
            with suppress(FileNotFoundError):  # renamed or removed just now
                if path.name != MARKER and (path.is_symlink() or not path.is_dir()):
                    name = "/".join(map(self._decode, path.relative_to(self._folder).parts))
                    found[name] = path.lstat().st_size
        return found

    def sha256(self, path: str) -> str:
        with (self._folder / path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class Bucket(Shelf):
    """A bucket, as botocore sees it."""

    def __init__(self, server: S3Server) -> None:
        self._client, self._bucket = server.client(), server.bucket()
        super().__init__(table_of(server.options(self._bucket, name="s3", base_path="")), resumes=True)

    def look(self) -> dict[str, int]:
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


def local(name: str, folder: Path) -> Folder:
    """A `local` storage."""
    table = {"name": name, "type": "local", "base_path": str(folder)}
    return Folder(table, folder, resumes=True, rehashes=True)


@contextmanager
def of_s3(folder: Path) -> Iterator[Shelf]:
    with s3.moto(folder) as server:
        yield Bucket(server)


@contextmanager
def of_sftp(folder: Path) -> Iterator[Shelf]:
    with sftp.openssh(folder) as server:
        (server.root / "box").mkdir()
        table = table_of(server.options("box", name="sftp"))
        yield Folder(table, server.root / "box", resumes=True)


@contextmanager
def of_webdav(_: Path) -> Iterator[Shelf]:
    with webdav.wsgidav() as server:
        table = table_of(server.options("", name="webdav"))
        yield Folder(table, server.files, resumes=False, decode=decode_name)


_SERVED: dict[str, Callable[[Path], AbstractContextManager[Shelf]]] = {
    "s3": of_s3,
    "sftp": of_sftp,
    "webdav": of_webdav,
}


@contextmanager
def served(folder: Path) -> Iterator[tuple[list[Shelf], list[str]]]:
    """Every shelf behind a server, and why there are no others; in CI a missing server is a failure."""
    shelves: list[Shelf] = []
    missing: list[str] = []
    with ExitStack() as stack:
        for name, make in _SERVED.items():
            own = folder / f"server-{name}"
            own.mkdir(parents=True)
            try:
                shelves.append(stack.enter_context(make(own)))
            except pytest.skip.Exception as why:
                missing.append(f"{name} skipped: {why}")
        yield shelves, missing
