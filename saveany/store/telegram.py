"""Data about Telegram accounts that all processes share: access hashes, usernames, addresses, flood waits.

`account` is the Telegram user id of the account: an access hash is valid only for the account that received
it. `login` is the fingerprint of a session key. Everything here is a cache or expires; every method raises
`StoreUnavailable` during an outage, and callers continue without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import text

#: A username may be transferred to another chat, so it is looked up again after a day.
_NAME_SECONDS = 24 * 3600
_ADDRESSES_SECONDS = 30 * 24 * 3600

Address = tuple[str, int]

_decode_addresses = msgspec.json.Decoder(list[Address]).decode


@dataclass(frozen=True, slots=True)
class AccountPresence:
    """The processes that download with an account from a data center now."""

    processes: int
    flood_ms: int  # left of the flood wait that any of them received; 0 if none


class TelegramStore:
    """Reads and writes the shared data."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def access_hash(self, account: int, chat: int) -> int | None:
        """The access hash of a chat (marked id), or None."""
        return _number(await self._db.do("HGET", keys.ACCOUNT_CHATS(account), chat))

    async def keep_access_hashes(self, account: int, hashes: Mapping[int, int]) -> None:
        """Add access hashes, by marked chat id."""
        pairs = [value for pair in hashes.items() for value in pair]
        await self._db.do("HSET", keys.ACCOUNT_CHATS(account), *pairs)

    async def forget_access_hash(self, account: int, chat: int, wrong: int) -> None:
        """Remove an access hash that Telegram refused, unless a different one is stored by now."""
        if await self.access_hash(account, chat) in (wrong, None):
            await self._db.do("HDEL", keys.ACCOUNT_CHATS(account), chat)

    async def chat_of(self, account: int, username: str) -> int | None:
        """The marked id of the chat that had this username within the last 24 hours, or None."""
        return _number(await self._db.do("GET", _name(account, username)))

    async def keep_name(self, account: int, username: str, chat: int) -> None:
        """Store the chat of a username for 24 hours."""
        await self._db.do("SET", _name(account, username), chat, "EX", _NAME_SECONDS)

    async def forget_name(self, account: int, username: str) -> bool:
        """Remove a username. Returns whether it was stored."""
        return bool(await self._db.do("DEL", _name(account, username)))

    async def addresses(self, login: str) -> list[Address]:
        """Addresses (host, port) of the home data center, besides the one in the session."""
        raw = await self._db.do("GET", keys.ACCOUNT_ADDRESSES(login))
        return (self._db.records.one("addresses", login, raw, _decode_addresses) if raw else None) or []

    async def keep_addresses(self, login: str, addresses: Sequence[Address]) -> None:
        """Store the addresses of the home data center for 30 days."""
        encoded = codec.encode(addresses)
        await self._db.do("SET", keys.ACCOUNT_ADDRESSES(login), encoded, "EX", _ADDRESSES_SECONDS)

    async def claim_login(self, login: str, machine: str, seconds: int) -> bool:
        """Reserve a login for this machine for `seconds`. False if another machine uses it: Telegram ends a
        login that is used from two addresses at once."""
        key = keys.ACCOUNT_MACHINE(login)
        await self._db.do("SET", key, machine, "NX", "EX", seconds)
        holder = await self._db.do("GET", key)
        if holder is not None and text(holder) != machine:
            return False
        await self._db.do("EXPIRE", key, seconds)
        return True

    async def announce(
        self, account: int, dc_id: int, process: str, expire_ms: int, flood_ms: int
    ) -> AccountPresence:
        """Announce a process that downloads until `expire_ms` from now, and share its own flood wait."""
        processes, flood = await self._db.script("announce", account, dc_id, process, expire_ms, flood_ms)
        return AccountPresence(processes, max(0, flood))

    async def leave(self, account: int, dc_id: int, process: str) -> None:
        """Withdraw the announcement of a process."""
        await self._db.do("ZREM", keys.ACCOUNT_PROCESSES(account, dc_id), process)


def _name(account: int, username: str) -> str:
    return keys.ACCOUNT_NAME(account, username.lower())


def _number(raw: bytes | None) -> int | None:
    """A stored 64-bit number; None if there is none or it is damaged."""
    try:
        number = int(raw or b"")
    except ValueError:
        return None
    return number if -(2**63) <= number < 2**63 else None
