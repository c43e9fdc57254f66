"""Stores what a sandbox needs after a restart: its keys, the keys of its clients, its ports.

Messages are not stored; only the number of runs is, so that message ids continue
(`World.continue_numbering`).

Everything is in one folder, in separate files that are replaced atomically.
"""

import json
import os
import secrets
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from telethon.crypto import AuthKey


@dataclass(frozen=True)
class Challenge:
    """A challenge that proves knowledge of the password (https://core.telegram.org/api/srp)."""

    id: int
    algorithm: Any  # TL PasswordKdfAlgo
    verifier: int
    secret: int
    public: int


@dataclass(eq=False)
class StoredKey:
    """An authorization key: it belongs to one data center and at most one account."""

    auth: Any
    dc: int
    account: int | None = None
    refused: tuple[int, str] | None = None  # the error for every request with this key, permanently
    hosts: Counter[str] = field(default_factory=Counter)  # live connections by client address
    awaiting_password: int | None = None  # the account whose login still needs the password
    challenge: Challenge | None = None

    @property
    def id(self) -> int:
        """The 64-bit number that identifies the key."""
        return int(self.auth.key_id)


class KeyStore:
    """Keys and ports, stored in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "keys").mkdir(parents=True, exist_ok=True)
        self.rsa = self._rsa("rsa.pem")
        self.public_key_file = folder / "public.pem"
        _replace(self.public_key_file, self.public_key.encode())
        self.ticket_secret = secrets.token_bytes(32)  # signs authorizations for another data center
        self._keys = {key.id: key for key in map(self._load, (folder / "keys").glob("*.json"))}

    @property
    def public_key(self) -> str:
        """The RSA public key in PEM format (PKCS#1); clients must know it beforehand."""
        return pem(self.rsa)

    def cdn_rsa(self) -> rsa.RSAPrivateKey:
        """The RSA key of the CDN."""
        return self._rsa("cdn.pem")

    def key(self, key_id: int, dc: int) -> StoredKey | None:
        """The key with that id, if it was created with this data center."""
        key = self._keys.get(key_id)
        return key if key is not None and key.dc == dc else None

    def add(self, secret: bytes, dc: int) -> StoredKey:
        """Store a new key."""
        key = StoredKey(AuthKey(secret), dc)
        self._keys[key.id] = key
        self.save(key)
        return key

    def bind(self, key: StoredKey, account: int | None) -> None:
        """Log a key in to an account, or out with None."""
        key.account = account
        self.save(key)

    def refuse(self, key: StoredKey, code: int, text: str) -> None:
        """End a key's session. A key that is merely logged out can be logged in again, others are
        unusable."""
        key.account = None
        if text != "AUTH_KEY_UNREGISTERED":
            key.refused = (code, text)
        self.save(key)

    def save(self, key: StoredKey) -> None:
        """Write the current state of a key to disk."""
        record = {"key": key.auth.key.hex(), "dc": key.dc, "account": key.account, "refused": key.refused}
        _replace(self.folder / "keys" / f"{key.id:016x}.json", json.dumps(record).encode())

    def session_key(self, account: int, dc: int) -> bytes:
        """The 256 bytes of the permanent key that is logged in to an account; created on first use."""
        path = self.folder / f"session-{account}"
        if not path.exists():
            # No leading zero: a client would strip it, and a session string would be shifted by it.
            secret = bytes([1 + secrets.randbelow(255)]) + secrets.token_bytes(255)
            self.bind(self.add(secret, dc), account)
            _replace(path, secret)
        return path.read_bytes()

    def count_run(self) -> int:
        """The number of previous runs. Counts this one."""
        path = self.folder / "runs"
        before = int(path.read_text()) if path.exists() else 0
        _replace(path, b"%d" % (before + 1))
        return before

    def ports(self) -> dict[int, int]:
        """The port of each data center in the last run."""
        path = self.folder / "ports.json"
        return {int(dc): port for dc, port in json.loads(path.read_text()).items()} if path.exists() else {}

    def save_ports(self, ports: dict[int, int]) -> None:
        """Store the ports."""
        _replace(self.folder / "ports.json", json.dumps(ports).encode())

    def _rsa(self, name: str) -> rsa.RSAPrivateKey:
        path = self.folder / name
        if not path.exists():
            _replace(path, _rsa_key(name))
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError(f"{path} does not contain an RSA key")
        return key

    def _load(self, path: Path) -> StoredKey:
        record = json.loads(path.read_text())
        refused = record["refused"]
        return StoredKey(
            AuthKey(bytes.fromhex(record["key"])),
            record["dc"],
            record["account"],
            (refused[0], refused[1]) if refused else None,
        )


def pem(private: rsa.RSAPrivateKey) -> str:
    """The public key in PEM format (PKCS#1)."""
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.PKCS1
    return private.public_key().public_bytes(encoding, form).decode()


@cache
def _rsa_key(name: str) -> bytes:
    """A private key in PEM format, one of each name per process: creating one takes a tenth of a second."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    return private.private_bytes(encoding, form, serialization.NoEncryption())


def _replace(path: Path, data: bytes) -> None:
    """Replace a file atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)
