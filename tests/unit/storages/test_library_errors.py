"""Every error of a library used by a storage is translated, also errors of future versions."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress

import pytest

from saveany.errors import StorageError
from storages.ftp.connections import FtpConnections
from storages.ftp.options import FtpOptions
from storages.s3.bucket import S3Bucket
from storages.s3.options import S3Options
from storages.sftp.options import SftpOptions
from storages.sftp.storage import SftpStorage

Edge = Callable[[], AbstractContextManager[None]]

#: What only servers, terminals, web sockets and authors of service models meet; and what cannot be made
#: without what it is about, whose meanings the contract tests hold.
_LEFT_OUT = {
    *("BreakReceived", "SignalReceived", "SoftEOFReceived", "TerminalSizeChanged"),
    *("WSMessageTypeError", "UndefinedModelAttributeError", "MissingServiceIdError"),
    *("ClientError", "EventStreamError", "StatusCodeError"),
}
#: Modules that do something when they are imported.
_NOT_IMPORTED = ("__main__", "docs", "test", "crt", "win32", "pageant", "pkcs11", "sk")


def sftp() -> AbstractContextManager[None]:
    options = {"name": "nas", "type": "sftp", "host": "h", "username": "u", "password": "p"}
    return SftpStorage(SftpOptions.model_validate(options))._translated_errors("a.bin")


def ftp() -> AbstractContextManager[None]:
    return FtpConnections(
        FtpOptions.model_validate({"name": "nas", "type": "ftp", "host": "h"})
    ).translated_errors("a.bin")


def s3() -> AbstractContextManager[None]:
    options = {"name": "nas", "type": "s3", "bucket_name": "b"}
    return S3Bucket(S3Options.model_validate(options), "").translated_errors()


def errors_of(package: str) -> Iterator[type[Exception]]:
    """The exceptions that a package, or a module, defines."""
    root = importlib.import_module(package)
    modules = [root]
    for found in pkgutil.walk_packages(getattr(root, "__path__", ()), f"{package}."):
        if not any(part in _NOT_IMPORTED for part in found.name.split(".")):
            with suppress(ImportError):  # it needs what is not installed
                modules.append(importlib.import_module(found.name))
    for kind in {each for module in modules for each in vars(module).values() if inspect.isclass(each)}:
        if not issubclass(kind, Exception) or issubclass(kind, Warning):
            continue
        if kind.__module__.startswith(package) and kind.__name__ not in _LEFT_OUT:
            yield kind


@pytest.mark.parametrize(
    ("edge", "package", "least"),
    [
        (sftp, "asyncssh", 60),
        (ftp, "aioftp", 5),
        (s3, "botocore.exceptions", 60),
        (s3, "botocore.parsers", 1),
        (s3, "aiohttp.client_exceptions", 15),
        (s3, "aiohttp.http_exceptions", 8),
    ],
)
def test_every_library_error_is_translated(edge: Edge, package: str, least: int) -> None:
    kinds = list(errors_of(package))
    assert len(kinds) >= least
    raw = []
    for kind in kinds:
        try:
            with edge():
                raise kind.__new__(kind)
        except (StorageError, FileNotFoundError):
            pass
        except Exception as error:
            raw.append((kind.__qualname__, type(error).__name__))
    assert raw == []


@pytest.mark.parametrize("edge", [sftp, ftp], ids=["sftp", "ftp"])
@pytest.mark.parametrize("error", [ValueError("x"), EOFError(), OSError(5, "x"), TimeoutError()])
def test_errors_about_malformed_replies_are_translated(edge: Edge, error: Exception) -> None:
    with pytest.raises(StorageError, match="nas"), edge():
        raise error
