"""Where a login is kept: keys in files of this machine, what Telegram told about chats in Redis.

`data_dir/sessions` (0700) holds, per account:

    <name>.session    the login: home data centre, authorization key, who it is
    <name>.dc4.key    the key for another data centre; getting one is flood-limited, so it is kept
    <name>.lock       taken while one of the others is made, by one process of this machine at a time
    machine           a random name for this machine

All are 0600 and written atomically. In Redis, per Telegram user (an access hash is worth something only to
the account that was given it):

    sa:telegram:<user>:peers         hash     marked chat id -> access hash
    sa:telegram:<user>:name:<name>   string   marked chat id, for 24 h

Per login, by the fingerprint of its key:

    sa:telegram:addresses:<login>    string   JSON: where the home data centre answers, for 30 days
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import logging
import os
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError
from telethon import utils
from telethon.crypto import AuthKey
from telethon.sessions import MemorySession, StringSession
from telethon.tl import types

from saveany import advice
from saveany.errors import ConfigError, Retryable

_log = logging.getLogger(__name__)

#: Begins every key of this package in Redis; the store's own keys begin with the same "sa:".
PREFIX = "sa:telegram:"

#: What is kept in Redis is a cache: while Redis is away the accounts go on without it.
REDIS_AWAY: tuple[type[Exception], ...] = (RedisError, OSError)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_NAME_SECONDS = 24 * 3600  # a username may move to another chat
_ADDRESSES_SECONDS = 30 * 24 * 3600
_LOCK_SECONDS = 90.0  # a login takes a few seconds; whoever holds the lock longer is stuck
_LOCK_POLL = 0.05


@dataclass(frozen=True, slots=True)
class Login:
    """One authorized key and the data centre it belongs to (`home`)."""

    dc_id: int
    host: str
    port: int
    key: bytes = field(repr=False)
    user_id: int = 0  # 0: not known yet
    display: str = ""

    @classmethod
    def from_string(cls, text: str) -> Login:
        """Read a Telethon session string; raises `ConfigError` if it is none."""
        try:
            session = StringSession(text.strip())
        except Exception as error:  # struct.error, binascii.Error, ValueError, IndexError: all mean the same
            make = advice.command("login --phone")
            raise ConfigError(f"this is not a Telethon session string; log in with: {make}") from error
        if session.auth_key is None:
            make = advice.command("login --phone")
            raise ConfigError(f"this session string holds no login; make one with: {make}")
        return cls(session.dc_id, session.server_address, session.port, session.auth_key.key)

    @property
    def fingerprint(self) -> str:
        """Tells whether two logins are the same one, without telling the key."""
        return hashlib.sha256(self.key).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _ForeignKey:
    """A key of another data centre; worth nothing without the login it was made under."""

    home: str
    key: bytes = field(repr=False)


_Kept = TypeVar("_Kept", Login, _ForeignKey)


class SessionFolder:
    """The sessions folder of this machine."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "sessions"
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """Names of all logins kept here."""
        names = (file.name.removesuffix(".session") for file in self._root.glob("*.session"))
        return sorted(name for name in names if _NAME.fullmatch(name))

    def load(self, name: str) -> Login | None:
        """The login kept under this name; None if there is none or its file is damaged."""
        return self._read(self._file(name, ".session"), Login)

    def save(self, name: str, login: Login) -> None:
        """Keep a login under this name, in place of the one that was there."""
        self._write(self._file(name, ".session"), login)

    def version(self, name: str) -> int:
        """Another number whenever a login is kept under this name; 0 while there is none."""
        try:
            return self._file(name, ".session").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def forget(self, name: str) -> None:
        """Drop the login of this name and the keys made under it; harmless if there is none."""
        self._file(name, ".session").unlink(missing_ok=True)
        for file in self._root.glob(f"{name}.dc*.key"):
            file.unlink(missing_ok=True)

    def load_key(self, name: str, dc_id: int, home: Login) -> bytes | None:
        """The key for another data centre that was made under the login `home`; None if there is none."""
        kept = self._read(self._file(name, f".dc{dc_id}.key"), _ForeignKey)
        return kept.key if kept and kept.home == home.fingerprint else None

    def save_key(self, name: str, dc_id: int, home: Login, key: bytes) -> None:
        """Keep the key for another data centre."""
        self._write(self._file(name, f".dc{dc_id}.key"), _ForeignKey(home.fingerprint, key))

    def forget_key(self, name: str, dc_id: int) -> None:
        """Drop the key for another data centre; harmless if there is none."""
        self._file(name, f".dc{dc_id}.key").unlink(missing_ok=True)

    def machine(self) -> str:
        """A random name for this folder, and so for the machine it is on; made once."""
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
        """Hold this account's lock among all processes of this machine; it ends with the process."""
        handle = os.open(self._file(name, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await _take(handle, name)
            yield
        finally:
            os.close(handle)

    def _file(self, name: str, suffix: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot name an account: use up to 32 letters, digits, - and _")
        return self._root / (name + suffix)

    def _read(self, file: Path, kind: type[_Kept]) -> _Kept | None:
        try:
            return msgspec.json.decode(file.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            _log.warning("%s is damaged and not used", file.name)
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
    """What Telethon asks for a session: the key of a `Login`, and the chats it has met.

    Telethon asks synchronously, so everything known is in memory; `flush` carries news to Redis, and
    `access_hash` and `chat_of` read through to it, which is how `/c/` links outlive a restart.
    """

    def __init__(self, login: Login | None, redis: Redis | None = None) -> None:
        super().__init__()
        self._redis = redis
        self._hashes: dict[int, int] = {}
        self._news: dict[int, int] = {}
        self.user_id = 0  # whose chats these are; nothing is shared through Redis before it is known
        if login is not None:
            self.set_dc(login.dc_id, login.host, login.port)
            self._auth_key = AuthKey(login.key)
            self.user_id = login.user_id

    def login(self, user_id: int, display: str) -> Login:
        """The login as it is now, to be kept."""
        return Login(self.dc_id, self.server_address, self.port, self.auth_key.key, user_id, display)

    async def access_hash(self, marked_id: int) -> int | None:
        """The access hash this account has for a chat, None if it has never met it."""
        if marked_id not in self._hashes and self._shared:
            with suppress(*REDIS_AWAY):
                found = _number(await _answer(self._shared.hget(self._key("peers"), str(marked_id))))
                if found is not None:
                    self._hashes[marked_id] = found
        return self._hashes.get(marked_id)

    async def forget_hash(self, marked_id: int, wrong: int) -> None:
        """Drop an access hash that Telegram has refused, unless another one is known by now."""
        for known in (self._hashes, self._news):
            if known.get(marked_id) == wrong:
                del known[marked_id]
        if self._shared:
            with suppress(*REDIS_AWAY):
                found = await _answer(self._shared.hget(self._key("peers"), str(marked_id)))
                if _number(found) in (wrong, None):
                    await _answer(self._shared.hdel(self._key("peers"), str(marked_id)))

    async def chat_of(self, username: str) -> int | None:
        """The marked id a username led to within the last 24 h."""
        if self._shared:
            with suppress(*REDIS_AWAY):
                return _number(await self._shared.get(self._key(f"name:{username.lower()}")))
        return None

    async def remember_name(self, username: str, marked_id: int) -> None:
        """Keep where a username leads, for 24 h."""
        if self._shared:
            with suppress(*REDIS_AWAY):
                await self._shared.set(self._key(f"name:{username.lower()}"), marked_id, ex=_NAME_SECONDS)

    async def forget_name(self, username: str) -> bool:
        """Ask Telegram the next time where a username leads. Whether that was remembered."""
        if self._shared:
            with suppress(*REDIS_AWAY):
                return bool(await self._shared.delete(self._key(f"name:{username.lower()}")))
        return False

    async def addresses(self) -> list[tuple[str, int]]:
        """Where the home data centre answers, beside the address of the login."""
        if self._redis and self._auth_key:
            with suppress(*REDIS_AWAY, msgspec.DecodeError):
                found = await self._redis.get(self._addresses_key())
                return msgspec.json.decode(found or b"[]", type=list[tuple[str, int]])
        return []

    async def keep_addresses(self, addresses: list[tuple[str, int]]) -> None:
        """Keep where the home data centre answers, for a start at which the address of the login is dead."""
        if self._redis and self._auth_key:
            with suppress(*REDIS_AWAY):
                text = msgspec.json.encode(addresses)
                await self._redis.set(self._addresses_key(), text, ex=_ADDRESSES_SECONDS)

    async def flush(self) -> None:
        """Carry access hashes learnt since the last time to Redis; if it is away, they wait here."""
        if self._news and self._shared:
            news, self._news = self._news, {}
            try:
                fields = {str(marked_id): access_hash for marked_id, access_hash in news.items()}
                await _answer(self._shared.hset(self._key("peers"), mapping=fields))
            except REDIS_AWAY as error:
                self._news = news | self._news
                _log.warning("access hashes could not be kept: %s", type(error).__name__)

    # What Telethon calls.

    def process_entities(self, tlo: Any) -> None:
        """Learn the access hashes of all chats and people in an answer."""
        for marked_id, access_hash, *_ in self._entities_to_rows(tlo):
            if self._hashes.get(marked_id) != access_hash:
                self._hashes[marked_id] = access_hash
                if marked_id:  # Telethon keeps who we are under 0
                    self._news[marked_id] = access_hash

    def get_entity_rows_by_id(self, id: int, exact: bool = True) -> tuple[int, int] | None:  # noqa: A002  # its name
        """`(marked id, access hash)` of a chat met before."""
        kinds = (types.PeerUser, types.PeerChat, types.PeerChannel)
        candidates = [id] if exact else [utils.get_peer_id(kind(id)) for kind in kinds]
        return next(((each, self._hashes[each]) for each in candidates if each in self._hashes), None)

    @property
    def _shared(self) -> Redis | None:
        return self._redis if self.user_id else None

    def _addresses_key(self) -> str:
        return f"{PREFIX}addresses:{self.login(0, '').fingerprint}"

    def _key(self, name: str) -> str:
        return f"{PREFIX}{self.user_id}:{name}"


async def _take(handle: int, name: str) -> None:
    deadline = asyncio.get_running_loop().time() + _LOCK_SECONDS
    while not _try_lock(handle):
        if asyncio.get_running_loop().time() > deadline:
            raise Retryable(f"another process holds the login lock of Telegram account {name}")
        await asyncio.sleep(_LOCK_POLL)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _number(kept: bytes | str | None) -> int | None:
    """What Redis has kept; None for nothing, and for what is no number."""
    try:
        return None if kept is None else int(kept)
    except ValueError:
        return None


async def _answer(command: Any) -> Any:
    """redis-py types the commands of its two clients as one, so an answer is "awaitable or not"."""
    return await command
