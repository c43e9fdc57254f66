"""Trusted certificates of servers: those that the system trusts, and those that the operator adds.

The whole process uses the same certificates: webhooks, downloads, storages and proxies get them from here,
and programs that we start get them as a file (`bundle`). OpenSSL reads `SSL_CERT_FILE` and `SSL_CERT_DIR`
instead of its built-in paths. If it finds nothing, as in a small container, the usual paths are tried, then
the certificates of Python's certifi.
"""

from __future__ import annotations

import os
import re
import ssl
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import certifi

from saveany.errors import ConfigError
from saveany.texts import Text

#: OpenSSL's error codes for a certificate with an unknown issuer.
_UNKNOWN_SIGNER = (18, 19, 20, 21)
#: The same errors as worded by OpenSSL, Go and GnuTLS.
_UNKNOWN_SIGNER_WORDS = re.compile(
    r"unable to (get (local )?issuer|verify the first) certificate|self[- ]signed certificate|unknown ca\b"
    r"|certificate signed by unknown authority|not signed by known authorities|issuer is unknown",
    re.IGNORECASE,
)

_USUAL = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


class _Process:
    """The certificates that were added in this process."""

    ca_file: Path | None = None


def add(ca_file: Path | None) -> None:
    """Also trust the certificates in a PEM file from now on; None: only those that the system trusts.

    Raises `ConfigError` if there are none in it.
    """
    if ca_file:
        _check(ca_file)
    _Process.ca_file = ca_file
    shared_context.cache_clear()
    http_context.cache_clear()
    _combined.cache_clear()


def _check(ca_file: Path) -> None:
    try:
        found = ssl.create_default_context(cafile=ca_file).get_ca_certs()
    except ssl.SSLError:
        found = []
    except OSError as error:
        raise ConfigError(
            "net.ca_file: cannot read {file}: {reason}", file=str(ca_file), reason=error.strerror or ""
        ) from error
    if not found:
        raise ConfigError("net.ca_file: {file} contains no certificate in PEM format", file=str(ca_file))


@cache
def shared_context() -> ssl.SSLContext:
    """The shared TLS context for connections to servers. Do not change it."""
    return new_context()


@cache
def http_context() -> ssl.SSLContext:
    """The shared TLS context for HTTP. Do not change it."""
    context = new_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def new_context(ca_file: str | Path | None = None) -> ssl.SSLContext:
    """A new TLS context; with `ca_file` it trusts only the certificates in that file."""
    context = ssl.create_default_context(cafile=ca_file)
    if ca_file is None:
        if not _system_has_any(context):
            context.load_verify_locations(_system_file())
        if _Process.ca_file:
            context.load_verify_locations(_Process.ca_file)
    # The operator may add the certificate of the server itself, and it may violate RFC 5280. Since Python
    # 3.13 the first is the default, but the second is not.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    return context


def bundle() -> Path:
    """The path of a PEM file with all trusted certificates, for programs and libraries that need a file."""
    return Path(_combined().name) if _Process.ca_file else _system_file()


def explained(error: ssl.SSLCertVerificationError) -> Text:
    """Why a certificate was rejected, and what to do."""
    reason = error.verify_message
    return _with_advice(reason) if error.verify_code in _UNKNOWN_SIGNER else Text(reason)


def with_advice(message: str) -> Text:
    """The message of a program or library; with advice if it is about an unknown issuer of a certificate."""
    return _with_advice(message) if _UNKNOWN_SIGNER_WORDS.search(message) else Text(message)


def _with_advice(reason: str) -> Text:
    return Text(
        "{reason}; if it is your own, name the certificate that signed it in the configuration: "
        "[net] ca_file",
        {"reason": reason},
    )


def environment() -> dict[str, str]:
    """Environment variables with the PEM file for child programs: OpenSSL and Go, Python's requests, curl."""
    files = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), str(bundle()))
    folder = os.environ.get("SSL_CERT_DIR")
    return files | ({"SSL_CERT_DIR": folder} if folder else {})


@cache
def _combined() -> Any:
    """A file that exists until this process ends."""
    file = tempfile.NamedTemporaryFile(prefix="saveany-ca-", suffix=".pem")  # noqa: SIM115  # closed at the end
    for each in (_system_file(), _Process.ca_file):
        file.write(each.read_bytes() + b"\n" if each else b"")
    file.flush()
    return file


def _system_has_any(context: ssl.SSLContext) -> bool:
    folder = ssl.get_default_verify_paths().capath  # OpenSSL reads it when it looks up a certificate
    return bool(context.get_ca_certs()) or bool(folder and any(Path(folder).iterdir()))


def _system_file() -> Path:
    own = ssl.get_default_verify_paths()
    paths = (os.environ.get(own.openssl_cafile_env), own.cafile, *_USUAL, certifi.where())
    return Path(next(path for path in paths if path and Path(path).is_file()))
