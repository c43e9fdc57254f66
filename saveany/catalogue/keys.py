"""Keys of the API: who may use it for which user, and what for."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import msgspec
from pydantic import SecretStr
from sqlalchemy import ColumnElement, Row, insert, or_, select, update

from saveany.catalogue.database import Database
from saveany.catalogue.tables import clean, keys
from saveany.errors import Unavailable
from saveany.ids import new_id
from saveany.models import KEY_SCOPES, KeyScope
from saveany.store import Store

#: Begins every secret, so that a scanner finds one in a published file.
PREFIX: Final = "sa_"
#: Random bytes of a secret: 160 bits, so that its hash needs neither salt nor iterations.
_BYTES: Final = 20
_SECRET: Final = re.compile(rb"%b[a-z2-7]{%d}" % (PREFIX.encode(), _BYTES * 8 // 5))
#: Milliseconds before the last use of a key is written again.
_USED_MS: Final = 60_000


class ApiKey(msgspec.Struct, frozen=True):
    """A key. Times are ms since the epoch."""

    id: str
    user_id: int
    name: str
    scopes: frozenset[KeyScope]
    hash: str  # SHA-256 of the secret, in hexadecimal
    secret: SecretStr = SecretStr("")  # kept only if it is readable, for requests that are signed with it
    made_at: int | None = None  # None: it is in the configuration
    used_at: int | None = None
    revoked_at: int | None = None

    @property
    def is_readable(self) -> bool:
        """Whether the secret is kept."""
        return bool(self.secret.get_secret_value())

    @property
    def is_configured(self) -> bool:
        """Whether it is in the configuration, and not in the catalogue."""
        return self.made_at is None


class ApiKeys:
    """Making, finding and revoking keys."""

    def __init__(self, database: Database, store: Store) -> None:
        self._database = database
        self._store = store
        self._noting: set[asyncio.Task[None]] = set()

    async def make(
        self, user_id: int, name: str, scopes: Iterable[KeyScope], *, readable: bool = False
    ) -> tuple[ApiKey, str]:
        """A new key of a user, and its secret. Only a `readable` secret can be read again."""
        secret = PREFIX + base64.b32encode(secrets.token_bytes(_BYTES)).decode().lower()
        key = ApiKey(
            id=new_id(),
            user_id=user_id,
            name=clean(name),
            scopes=frozenset(scopes),
            hash=hash_of(secret.encode()),
            secret=SecretStr(secret if readable else ""),
            made_at=await self._store.db.time_ms(),
        )
        row = {name: getattr(key, name) for name in ("id", "user_id", "name", "hash", "made_at")}
        row |= {"scopes": " ".join(sorted(key.scopes)), "secret": secret if readable else ""}
        async with self._database.write() as connection:
            await connection.execute(insert(keys).values(row))
        return key, secret

    async def with_secret(self, hash_: str) -> ApiKey | None:
        """The key whose secret has this hash, unless it is revoked."""
        return await self._one(keys.c.hash == hash_, keys.c.revoked_at.is_(None))

    async def get(self, key_id: str) -> ApiKey | None:
        """The key with this id, also a revoked one."""
        return await self._one(keys.c.id == key_id) if key_id.isascii() and key_id.isalnum() else None

    async def all(self, user_id: int | None = None) -> list[ApiKey]:
        """All keys, or those of a user, oldest first."""
        query = select(keys).order_by(keys.c.id)
        if user_id is not None:
            query = query.where(keys.c.user_id == user_id)
        async with self._database.read() as connection:
            return [_key(row) for row in await connection.execute(query)]

    async def revoke(self, key_id: str) -> None:
        """End the use of a key, and forget its secret. Nothing changes if it is revoked already."""
        now = await self._store.db.time_ms()
        change = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
        async with self._database.write() as connection:
            await connection.execute(change.values(revoked_at=now, secret=""))

    def note_use(self, key: ApiKey) -> None:
        """Note soon that a key was used, unless that was noted within the last minute."""
        task = asyncio.create_task(self._note_use(key))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def close(self) -> None:
        """Wait until all uses are noted."""
        await asyncio.gather(*self._noting)

    async def _note_use(self, key: ApiKey) -> None:
        with suppress(Unavailable):  # a later use is noted
            now = await self._store.db.time_ms()
            if key.used_at is not None and key.used_at > now - _USED_MS:
                return
            is_due = or_(keys.c.used_at.is_(None), keys.c.used_at <= now - _USED_MS)
            change = update(keys).where(keys.c.id == key.id, is_due)
            async with self._database.write() as connection:
                await connection.execute(change.values(used_at=now))

    async def _one(self, *where: ColumnElement[bool]) -> ApiKey | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(keys).where(*where))).one_or_none()
        return _key(row) if row else None


def hash_of(secret: bytes) -> str:
    """The form in which secrets are stored and compared."""
    return hashlib.sha256(secret).hexdigest()


def is_secret(text: bytes) -> bool:
    """Whether a text has the form of a secret."""
    return bool(_SECRET.fullmatch(text))


def _key(row: Row[Any]) -> ApiKey:
    columns = {name: getattr(row, name) for name in ("id", "user_id", "name", "hash")}
    times = {name: getattr(row, name) for name in ("made_at", "used_at", "revoked_at")}
    named = row.scopes.split()
    scopes = frozenset(scope for scope in KEY_SCOPES if scope in named)  # a newer version may know more
    return ApiKey(**columns, **times, scopes=scopes, secret=SecretStr(row.secret))
