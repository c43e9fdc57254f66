"""Stores logins: keys in files on this machine, and what Telegram sends about chats in the store.

`data_dir/sessions` (0700) contains, per account:

    <name>.session    the login: home data center, authorization key, user
    <name>.dc4.key    the key for another data center; kept because creating one is flood-limited
    <name>.lock       held by one process of this machine at a time while it creates one of the files above
    machine           a random name for this machine

All are 0600 and written atomically. Access hashes, usernames and addresses are kept in the store
(`saveany.store.telegram`): an access hash is valid only for the account that received it.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from telethon import utils
from telethon.crypto import AuthKey
from telethon.sessions import MemorySession, StringSession
from telethon.tl import types

from saveany import advice
from saveany.errors import ConfigError, Retryable, StoreUnavailable
from saveany.logs import get_logger
from saveany.store.telegram import TelegramStore

_log = get_logger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_LOCK_SECONDS = 90.0  # a login takes a few seconds; a process that holds the lock longer is stuck
_LOCK_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Login:
    """An authorized key, and its home data center."""

    dc_id: int
    host: str
    port: int
    key: bytes = field(repr=False)
    user_id: int = 0  # 0: unknown
    display: str = ""

    @classmethod
    def from_string(cls, text: str) -> Login:
        """Read a Telethon session string. Raises `ConfigError` if it is invalid."""
        try:
            session = StringSession(text.strip())
        except Exception as error:  # struct.error, binascii.Error, ValueError, IndexError: an invalid string
            raise ConfigError(
                "This is not a Telethon session string; log in with: {command}",
                command=advice.command("login --phone"),
            ) from error
        if session.auth_key is None:
            raise ConfigError(
                "This session string contains no login; create one with: {command}",
                command=advice.command("login --phone"),
            )
        return cls(session.dc_id, session.server_address, session.port, session.auth_key.key)

    @property
    def fingerprint(self) -> str:
        """Identifies the login without revealing its key."""
        return hashlib.sha256(self.key).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _ForeignKey:
    """A key for another data center; valid only with the login under which it was created."""

    home: str  # fingerprint of that login
    key: bytes = field(repr=False)


_Stored = TypeVar("_Stored", Login, _ForeignKey)


class SessionFolder:
    """The sessions folder of this machine."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "sessions"
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """Names of all stored logins."""
        names = (file.name.removesuffix(".session") for file in self._root.glob("*.session"))
        return sorted(name for name in names if _NAME.fullmatch(name))

    def files(self) -> list[Path]:
        """All files that belong in a backup: the logins, their keys, and the name of this machine."""
        return [
            file
            for file in sorted(self._root.iterdir())
            if not file.name.startswith(".") and file.suffix != ".lock"
        ]

    def put(self, file: Path) -> None:
        """Move one of the `files` of a backup here."""
        file.replace(self._root / file.name)

    def load(self, name: str) -> Login | None:
        """The login of this name; None if there is none or its file is damaged."""
        return self._read(self._path(name, ".session"), Login)

    def save(self, name: str, login: Login) -> None:
        """Store a login under this name. Replaces an existing one."""
        self._write(self._path(name, ".session"), login)

    def version(self, name: str) -> int:
        """A number that changes whenever a login of this name is stored; 0 if there is none."""
        try:
            return self._path(name, ".session").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def forget(self, name: str) -> None:
        """Delete the login of this name and the keys created under it. Does nothing if there is none."""
        self._path(name, ".session").unlink(missing_ok=True)
        for file in self._root.glob(f"{name}.dc*.key"):
            file.unlink(missing_ok=True)

    def load_key(self, name: str, dc_id: int, home: Login) -> bytes | None:
        """The key for another data center that was created under the login `home`; None if there is none."""
        kept = self._read(self._path(name, f".dc{dc_id}.key"), _ForeignKey)
        return kept.key if kept and kept.home == home.fingerprint else None

    def save_key(self, name: str, dc_id: int, home: Login, key: bytes) -> None:
        """Store the key for another data center."""
        self._write(self._path(name, f".dc{dc_id}.key"), _ForeignKey(home.fingerprint, key))

    def forget_key(self, name: str, dc_id: int) -> None:
        """Delete the key for another data center. Does nothing if there is none."""
        self._path(name, f".dc{dc_id}.key").unlink(missing_ok=True)

    def machine(self) -> str:
        """A random name for this machine, created once and stored in the folder."""
        file = self._root / "machine"
        with suppress(FileNotFoundError):
            return file.read_text().strip()
        file_name = self._temporary(base64.b32encode(os.urandom(10)))
        with suppress(FileExistsError):
            os.link(file_name, file)  # the first process wins
        Path(file_name).unlink()
        return file.read_text().strip()

    @asynccontextmanager
    async def lock(self, name: str) -> AsyncIterator[None]:
        """Hold this account's lock among all processes of this machine. It is released when the process
        ends."""
        handle = os.open(self._path(name, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await _acquire_lock(handle, name)
            yield
        finally:
            os.close(handle)

    def _path(self, name: str, suffix: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                '"{name}" cannot be the name of an account: use up to 32 letters, digits, - and _', name=name
            )
        return self._root / (name + suffix)

    def _read(self, file: Path, kind: type[_Stored]) -> _Stored | None:
        try:
            return msgspec.json.decode(file.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            _log.warning("session_file_damaged", file=file.name)
            return None

    def _write(self, file: Path, value: Login | _ForeignKey) -> None:
        Path(self._temporary(msgspec.json.encode(value))).replace(file)

    def _temporary(self, data: bytes) -> str:
        handle, name = tempfile.mkstemp(dir=self._root, prefix=".")  # made with mode 0600
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return name


class Session(MemorySession):  # type: ignore[misc]  # Telethon is not typed
    """The session object that Telethon requires: the key of a `Login`, and the access hashes of known chats.

    Telethon calls it synchronously, so its data are in memory. `flush` writes new data to the store;
    `access_hash` and `chat_of` also read from it, so that `/c/` links keep working after a restart.
    """

    def __init__(self, login: Login | None, store: TelegramStore | None = None) -> None:
        super().__init__()
        self._store = store
        self._hashes: dict[int, int] = {}
        self._unsaved: dict[int, int] = {}
        self.user_id = 0  # owner of the access hashes; the store is not used before it is known
        if login is not None:
            self.set_dc(login.dc_id, login.host, login.port)
            self._auth_key = AuthKey(login.key)
            self.user_id = login.user_id

    def login(self, user_id: int, display: str) -> Login:
        """The current login, for storing it."""
        return Login(self.dc_id, self.server_address, self.port, self.auth_key.key, user_id, display)

    async def access_hash(self, marked_id: int) -> int | None:
        """The access hash of a chat for this account; None if it is unknown."""
        if marked_id not in self._hashes and self._shared:
            with suppress(StoreUnavailable):
                found = await self._shared.access_hash(self.user_id, marked_id)
                if found is not None:
                    self._hashes[marked_id] = found
        return self._hashes.get(marked_id)

    async def forget_hash(self, marked_id: int, wrong: int) -> None:
        """Delete an access hash that Telegram has refused, unless another one is known by now."""
        for known in (self._hashes, self._unsaved):
            if known.get(marked_id) == wrong:
                del known[marked_id]
        if self._shared:
            with suppress(StoreUnavailable):
                await self._shared.forget_access_hash(self.user_id, marked_id, wrong)

    async def chat_of(self, username: str) -> int | None:
        """The marked id of a username, if it was resolved within the last 24 h."""
        if self._shared:
            with suppress(StoreUnavailable):
                return await self._shared.chat_of(self.user_id, username)
        return None

    async def keep_name(self, username: str, marked_id: int) -> None:
        """Store the marked id of a username for 24 h."""
        if self._shared:
            with suppress(StoreUnavailable):
                await self._shared.keep_name(self.user_id, username, marked_id)

    async def forget_name(self, username: str) -> bool:
        """Delete the stored id of a username, so that it is resolved again. Returns whether one was
        stored."""
        if self._shared:
            with suppress(StoreUnavailable):
                return await self._shared.forget_name(self.user_id, username)
        return False

    async def addresses(self) -> list[tuple[str, int]]:
        """Other addresses of the home data center than the one in the login."""
        if self._store and self._auth_key:
            with suppress(StoreUnavailable):
                return await self._store.addresses(self.login(0, "").fingerprint)
        return []

    async def keep_addresses(self, addresses: list[tuple[str, int]]) -> None:
        """Store the addresses of the home data center, for a start when the address in the login is dead."""
        if self._store and self._auth_key:
            with suppress(StoreUnavailable):
                await self._store.keep_addresses(self.login(0, "").fingerprint, addresses)

    async def flush(self) -> None:
        """Write new access hashes to the store; if it is unavailable, they are written next time."""
        if self._unsaved and self._shared:
            unsaved, self._unsaved = self._unsaved, {}
            try:
                await self._shared.keep_access_hashes(self.user_id, unsaved)
            except StoreUnavailable as error:
                self._unsaved = unsaved | self._unsaved
                _log.warning("access_hashes_not_saved", reason=error.message)

    # Called by Telethon.

    def process_entities(self, tlo: Any) -> None:
        """Remember the access hashes of all chats and users in a reply."""
        for marked_id, access_hash, *_ in self._entities_to_rows(tlo):
            if self._hashes.get(marked_id) != access_hash:
                self._hashes[marked_id] = access_hash
                if marked_id:  # Telethon stores the account's user id under 0
                    self._unsaved[marked_id] = access_hash

    def get_entity_rows_by_id(self, id: int, exact: bool = True) -> tuple[int, int] | None:  # noqa: A002  # its name
        """`(marked id, access hash)` of a known chat."""
        kinds = (types.PeerUser, types.PeerChat, types.PeerChannel)
        candidates = [id] if exact else [utils.get_peer_id(kind(id)) for kind in kinds]
        return next(((each, self._hashes[each]) for each in candidates if each in self._hashes), None)

    @property
    def _shared(self) -> TelegramStore | None:
        return self._store if self.user_id else None


async def _acquire_lock(handle: int, name: str) -> None:
    deadline = asyncio.get_running_loop().time() + _LOCK_SECONDS
    while not _try_lock(handle):
        if asyncio.get_running_loop().time() > deadline:
            raise Retryable(
                "Another process holds the login lock of Telegram account {account}.", account=name
            )
        await asyncio.sleep(_LOCK_POLL_SECONDS)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
