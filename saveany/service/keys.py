"""Keys of the API: making and revoking them, and finding the one that a request has."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from typing import Final, NamedTuple

from pydantic import SecretStr

from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.keys import ApiKey, hash_of, is_secret
from saveany.config import Config
from saveany.errors import (
    CatalogueUnavailable,
    Forbidden,
    InvalidInput,
    NotFound,
    WrongState,
)
from saveany.ids import is_id
from saveany.models import KeyScope
from saveany.service.principal import Principal
from saveany.single_flight import SingleFlight
from saveany.store import Store

#: Begins the id of a key of the configuration; its name follows.
_CONFIGURED: Final = "config:"
#: Seconds for which a key that was read is used without another look into the catalogue, and during an outage
#: of the catalogue. A revocation counts at once, except during an outage of Redis.
_FRESH_SECONDS, _OUTAGE_SECONDS = 5.0, 600.0
#: Number of keys, and of texts that are none, that are remembered.
_REMEMBERED = 10_000


class KeyService:
    """The operations on keys. Only the operator makes keys; a user sees their own, those of others do not
    exist for them (`NotFound`)."""

    def __init__(self, config: Config, store: Store, catalogue: Catalogue) -> None:
        self._config = config
        self._store = store
        self._keys = catalogue.keys
        self._configured = [
            ApiKey(
                id=f"{_CONFIGURED}{key.name}",
                user_id=key.user_id,
                name=key.name,
                scopes=frozenset(key.scopes),
                hash=hash_of(key.secret.get_secret_value().strip().encode()),
                secret=SecretStr(key.secret.get_secret_value().strip()),
            )
            for key in config.api.keys
        ]
        #: Finds working keys for requests.
        self.working = WorkingKeys(config, catalogue, self._configured)

    async def make(
        self,
        principal: Principal,
        user_id: int,
        name: str,
        scopes: Collection[KeyScope],
        *,
        readable: bool = False,
    ) -> tuple[ApiKey, str]:
        """A new key, and its secret, which cannot be read again unless it is `readable`. Raises
        `InvalidInput` if the user is not configured."""
        principal.require_operator()
        if self._config.user(user_id) is None:
            raise InvalidInput(
                "user {user} is not configured; add [[users]] with id = {user} to config.toml, or use the id "
                "of a configured user",
                "user_id",
                user=user_id,
            )
        return await self._keys.make(user_id, name, scopes, readable=readable)

    async def all(self, principal: Principal, user_id: int | None = None) -> list[ApiKey]:
        """The keys of a user, or all that the principal may see; revoked ones, too."""
        visible = principal.visible_user(user_id)
        configured = [key for key in self._configured if visible in (None, key.user_id)]
        return [*configured, *await self._keys.all(visible)]

    async def get(self, principal: Principal, key_id: str) -> ApiKey:
        """The key with this id, also a revoked one. Raises `NotFound`."""
        configured = next((key for key in self._configured if key.id == key_id), None)
        key = configured or await self._keys.get(key_id)
        if key is None or not principal.may_access(key.user_id):
            raise NotFound("there is no key {key}", key=key_id)
        return key

    async def log_in(self, login: str, secret: str, scope: KeyScope) -> ApiKey:
        """The key with this id and secret, for a protocol that sends both. Raises `Forbidden` unless it has
        the scope."""
        key = await self.with_secret(secret)
        if key is None or key.id != login or scope not in key.scopes:
            raise Forbidden("login or key is wrong, or the key lacks the scope {scope}", scope=scope)
        return key

    async def with_secret(self, secret: str) -> ApiKey | None:
        """The key with this secret, which is used thereby; None if there is none."""
        given = secret.encode("utf-8", "replace")
        if not self.working.may_be_key(given):
            return None
        return await self.working.with_secret(given, await self._store.sessions.generation())

    async def signing_key(self, key_id: str) -> ApiKey | None:
        """The key with this id, for a protocol whose requests are signed with its secret; None unless the
        secret is readable. Call `working.note_use` when the signature is right."""
        key = await self.working.with_id(key_id, await self._store.sessions.generation())
        return key if key and key.is_readable else None

    async def working_key(self, key_id: str) -> ApiKey:
        """The key with this id. Raises `Forbidden` if it does not exist, or was revoked."""
        key = await self.working.with_id(key_id, await self._store.sessions.generation())
        if key is None:
            raise Forbidden("the key was revoked")
        self.working.note_use(key)
        return key

    async def revoke(self, principal: Principal, key_id: str, *, own: str = "") -> None:
        """End the use of a key at once, in all processes. A caller that is not the operator may do that only
        with its `own` key. Raises `NotFound`, `Forbidden`, and `WrongState` for a key of the
        configuration."""
        key = await self.get(principal, key_id)
        if not (principal.is_operator or key_id == own):
            raise Forbidden("a key can revoke only itself")
        if key.is_configured:
            raise WrongState(
                "the key {name} is in the configuration; remove it there, and restart SaveAny", name=key.name
            )
        await self._keys.revoke(key_id)
        await self._store.sessions.announce()


class _Read(NamedTuple):
    generation: int
    at: float  # monotonic
    key: ApiKey | None


class WorkingKeys:
    """Finds the keys that may be used now.

    What was read is kept for some seconds, together with the generation (`Sessions`) that it belongs to.
    """

    def __init__(self, config: Config, catalogue: Catalogue, configured: Collection[ApiKey]) -> None:
        self._config = config
        self._keys = catalogue.keys
        self._by_hash = {key.hash: key for key in configured}
        self._by_id = {key.id: key for key in configured}
        self._read: OrderedDict[str, _Read] = OrderedDict()
        self._reading = SingleFlight()
        self._noted: dict[str, float] = {}  # when the use of each key was noted, monotonic

    def may_be_key(self, secret: bytes) -> bool:
        """Whether a text is the secret of a key of the configuration, or has the form of a secret."""
        return is_secret(secret) or hash_of(secret) in self._by_hash

    async def with_secret(self, secret: bytes, generation: int) -> ApiKey | None:
        """The key with this secret, which is used thereby. `generation` is the present one."""
        hash_ = hash_of(secret)
        if hash_ in self._by_hash:
            return self._by_hash[hash_]
        key = await self._find(f"hash:{hash_}", lambda: self._keys.with_secret(hash_), generation)
        if key:
            self.note_use(key)
        return key

    async def with_id(self, key_id: str, generation: int) -> ApiKey | None:
        """The key with this id, of which the caller has yet to prove that it has the secret; then call
        `note_use`. `generation` is the present one."""
        if key_id.startswith(_CONFIGURED):
            return self._by_id.get(key_id)
        if not is_id(key_id):
            return None  # and it is not remembered: it may be long
        return await self._find(f"id:{key_id}", lambda: self._keys.get(key_id), generation)

    def note_use(self, key: ApiKey) -> None:
        """Note soon that a key was used."""
        now = time.monotonic()
        if not key.is_configured and now - self._noted.get(key.id, -math.inf) > _FRESH_SECONDS:
            self._noted[key.id] = now
            self._keys.note_use(key)

    async def _find(
        self, name: str, read: Callable[[], Awaitable[ApiKey | None]], generation: int
    ) -> ApiKey | None:
        known = self._read.get(name)
        if known and known.generation != generation:
            known = None
        age = time.monotonic() - known.at if known else 0.0
        if known and age <= _FRESH_SECONDS:
            return known.key
        try:
            return await self._reading.run(
                (name, generation), lambda: self._read_again(name, read, generation)
            )
        except CatalogueUnavailable:
            if known and age <= _OUTAGE_SECONDS:
                return known.key
            raise

    async def _read_again(
        self, name: str, read: Callable[[], Awaitable[ApiKey | None]], generation: int
    ) -> ApiKey | None:
        key = await read()
        if key and (key.revoked_at is not None or self._config.user(key.user_id) is None):
            key = None
        self._read[name] = _Read(generation, time.monotonic(), key)
        self._read.move_to_end(name)
        if len(self._read) > _REMEMBERED:
            self._read.popitem(last=False)
        return key
