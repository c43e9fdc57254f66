"""Tickets for protocols in which one request permits another one, which has no key."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Final

import msgspec

from saveany.catalogue.keys import ApiKey
from saveany.errors import Forbidden, NotFound
from saveany.service.keys import KeyService
from saveany.store import Store

#: Seconds for which a ticket is valid.
UPLOAD_SECONDS: Final = 24 * 3600
DOWNLOAD_SECONDS: Final = 3600


class UploadPermit(msgspec.Struct, frozen=True, tag="upload"):
    """One file may be uploaded into a folder, if it has these hashes."""

    key_id: str
    folder_id: int = 0  # 0: the root
    sha256: str = ""  # "": any
    sha1: str = ""  # "": any


class DownloadPermit(msgspec.Struct, frozen=True, tag="download"):
    """A file may be downloaded."""

    key_id: str
    file_id: str


class TicketService:
    """Issues tickets and checks them. A ticket is worth no more than the key it was issued to: once that is
    revoked, so are its tickets (`Forbidden`)."""

    def __init__(self, store: Store, keys: KeyService) -> None:
        self._store = store
        self._tickets = store.tickets
        self._keys = keys
        self._secret = b""

    async def issue(self, permit: UploadPermit | DownloadPermit) -> tuple[str, float]:
        """A new ticket, and when it expires, in seconds since the epoch."""
        seconds = UPLOAD_SECONDS if isinstance(permit, UploadPermit) else DOWNLOAD_SECONDS
        return await self._tickets.issue(permit, seconds), time.time() + seconds

    async def take_upload(self, ticket: str) -> tuple[UploadPermit, ApiKey]:
        """Use up a ticket for an upload. Raises `NotFound` if there is none, or it was used."""
        permit = await self._tickets.take(ticket, UploadPermit)
        if permit is None:
            raise NotFound("this upload address was used, or has expired; request another one")
        return permit, await self._keys.working_key(permit.key_id)

    async def download(self, ticket: str, file_id: str) -> ApiKey:
        """The key that a ticket for a file was issued to. Raises `Forbidden` if it is for another file, or
        has expired."""
        permit = await self._tickets.read(ticket, DownloadPermit)
        if permit is None or permit.file_id != file_id:
            raise Forbidden("this ticket is for another file, or has expired; request another one")
        return await self._keys.working_key(permit.key_id)

    async def signature(self, file_id: str) -> str:
        """A text that permits to watch a file until it is deleted. Nobody else can make it."""
        if not self._secret:
            self._secret = (await self._store.secret("pages", secrets.token_hex(32))).encode()
        return hmac.new(self._secret, file_id.encode(), hashlib.sha256).hexdigest()[:32]

    async def is_signed(self, file_id: str, signature: str) -> bool:
        """Whether a text is the `signature` of a file."""
        return hmac.compare_digest(
            await self.signature(file_id), signature.encode("ascii", "replace").decode()
        )
