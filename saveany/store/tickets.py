"""Tickets: random texts that permit one thing for some time. Redis has a hash of each."""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from saveany.ids import is_token, new_token
from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder

T = TypeVar("T", bound=msgspec.Struct)


class Tickets:
    """Tickets by what they permit, which is a struct with a tag of its own."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def issue(self, permits: msgspec.Struct, seconds: int) -> str:
        """A new ticket, which expires."""
        ticket = new_token()
        await self._db.do("SET", _key(ticket), codec.encode(permits), "EX", seconds)
        return ticket

    async def read(self, ticket: str, type_: type[T]) -> T | None:
        """What a ticket permits; None if it has expired, or permits something else."""
        return await self._found("GET", ticket, type_)

    async def take(self, ticket: str, type_: type[T]) -> T | None:
        """The same, once."""
        return await self._found("GETDEL", ticket, type_)

    async def _found(self, command: str, ticket: str, type_: type[T]) -> T | None:
        raw = await self._db.do(command, _key(ticket)) if is_token(ticket) else None
        return self._db.records.one("ticket", "ticket", raw, decoder(type_)) if raw else None


def _key(ticket: str) -> str:
    return keys.TICKET(hashlib.sha256(ticket.encode()).hexdigest())
