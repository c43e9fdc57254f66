"""Nonces of signed requests: each is accepted once."""

from __future__ import annotations

import hashlib
from uuid import uuid4

from saveany.store.db import Db


class Nonces:
    """The nonces that were accepted, until their signatures are too old anyway. Redis has a hash of each."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def accept(self, key_id: str, nonce: str, first: int, last: int) -> tuple[bool, int]:
        """Accept a nonce of a key between two times, in ms since the epoch. Of several calls with the same
        nonce at most one is accepted, whatever process they are in. Returns whether this one is, and the
        present time; all by the clock of Redis, which is the same for all processes."""
        hash_ = hashlib.sha256(f"{key_id}\n{nonce}".encode()).hexdigest()
        accepted, now = await self._db.script("accept_nonce", hash_, uuid4().hex, first, last)
        return bool(accepted), int(now)
