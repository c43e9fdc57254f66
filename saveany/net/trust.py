"""Which certificates of servers are trusted: those the system trusts, and those the operator adds.

One for the whole process, like the system's own: webhooks, downloads, storages and proxies all ask here, and
programs that we start are handed the same as a file (`bundle`). OpenSSL looks into `SSL_CERT_FILE` and
`SSL_CERT_DIR` in place of what is built into it. Where it finds nothing, as in a small container, the usual
places are tried, then the certificates that come with Python's certifi.
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

_ADVICE = "if it is your own, name the certificate that signed it in the configuration: [net] ca_file"
#: What OpenSSL calls a certificate that nobody whom it trusts has signed.
_UNKNOWN_SIGNER = (18, 19, 20, 21)
#: The same in the words of OpenSSL, Go and GnuTLS.
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
    """What was added for this process."""

    ca_file: Path | None = None


def add(ca_file: Path | None) -> None:
    """Trust the certificates in a PEM file, too, from now on; None: nobody but whom the system trusts.

    Raises `ConfigError` if there are none in it.
    """
    if ca_file:
        _check(ca_file)
    _Process.ca_file = ca_file
    shared_context.cache_clear()
    _combined.cache_clear()


def _check(ca_file: Path) -> None:
    try:
        found = ssl.create_default_context(cafile=ca_file).get_ca_certs()
    except ssl.SSLError:
        found = []
    except OSError as error:
        raise ConfigError(f"net.ca_file: cannot read {ca_file}: {error.strerror}") from error
    if not found:
        raise ConfigError(f"net.ca_file: there is no certificate in {ca_file}; it must be in PEM form")


@cache
def shared_context() -> ssl.SSLContext:
    """For connections to servers; not to be changed."""
    return new_context()


def new_context(ca_file: str | Path | None = None) -> ssl.SSLContext:
    """For the caller alone; with `ca_file` it trusts that and nobody else."""
    made = ssl.create_default_context(cafile=ca_file)
    if ca_file is None:
        if not _system_has_any(made):
            made.load_verify_locations(_system_file())
        if _Process.ca_file:
            made.load_verify_locations(_Process.ca_file)
    # What an operator adds may be the server's own certificate, and need not be a perfect one. (From Python
    # 3.13 on the first is so by itself, and the second is not.)
    made.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    made.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    return made


def bundle() -> Path:
    """All of them in one PEM file, for programs and libraries that want a file."""
    return Path(_combined().name) if _Process.ca_file else _system_file()


def explained(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with a server's certificate, and what to do."""
    return error.verify_message + (f"; {_ADVICE}" if error.verify_code in _UNKNOWN_SIGNER else "")


def advised(said: str) -> str:
    """What a program or a library said; with what to do, if it does not know who signed a certificate."""
    return f"{said}; {_ADVICE}" if _UNKNOWN_SIGNER_WORDS.search(said) else said


def environment() -> dict[str, str]:
    """For programs, under each name that one looks for: OpenSSL and Go, Python's requests, curl."""
    files = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), str(bundle()))
    folder = os.environ.get("SSL_CERT_DIR")
    return files | ({"SSL_CERT_DIR": folder} if folder else {})


@cache
def _combined() -> Any:
    """A file that is there as long as this process."""
    file = tempfile.NamedTemporaryFile(prefix="saveany-ca-", suffix=".pem")  # noqa: SIM115
    for each in (_system_file(), _Process.ca_file):
        file.write(each.read_bytes() + b"\n" if each else b"")
    file.flush()
    return file


def _system_has_any(made: ssl.SSLContext) -> bool:
    folder = ssl.get_default_verify_paths().capath  # it is read when a certificate is looked for
    return bool(made.get_ca_certs()) or bool(folder and any(Path(folder).iterdir()))


def _system_file() -> Path:
    own = ssl.get_default_verify_paths()
    places = (os.environ.get(own.openssl_cafile_env), own.cafile, *_USUAL, certifi.where())
    return Path(next(place for place in places if place and Path(place).is_file()))
