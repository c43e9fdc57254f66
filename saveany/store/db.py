"""The connection to Redis (or Valkey): commands, batches, channels and the Lua scripts.

Every method raises `StoreUnavailable` while the server is unreachable or refuses commands (`refusals`), and
`StoreDamaged` for a key that cannot be used. Neither text contains a command, which may hold secrets. Code
that gives `Db.redis` to a library wraps the calls in `mapped_errors`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from saveany.errors import ConfigError, StoreDamaged, StoreUnavailable
from saveany.net import trust
from saveany.store import keys
from saveany.store.batches import CommandBatches
from saveany.store.records import Records
from saveany.store.refusals import CommandRefused, Parser
from saveany.store.repair import repair_types

PREFIX = keys.PREFIX
#: Version of the key layout. A store written by a newer version is refused; an older one is migrated.
SCHEMA = 1

Arg = str | bytes | int | float

_CONNECTION_ERRORS: tuple[type[Exception], ...] = (RedisConnectionError, RedisTimeoutError, OSError)
_OUTAGE_ERRORS: tuple[type[Exception], ...] = (*_CONNECTION_ERRORS, CommandRefused)
_ERRORS: tuple[type[Exception], ...] = (*_OUTAGE_ERRORS, ResponseError)


@contextmanager
def mapped_errors() -> Iterator[None]:
    """Raise `StoreUnavailable` in place of what redis-py raises in this block during an outage."""
    try:
        yield
    except _OUTAGE_ERRORS as e:
        raise _unavailable(e) from e


def client_options() -> dict[str, Any]:
    """Connection settings for every client of this Redis.

    redis-py retries a command whose connection failed, for about two seconds. A retried command may run
    twice; all our scripts permit that, because they compare before they write.
    """
    retry = Retry(ExponentialBackoff(cap=0.5, base=0.02), 6, supported_errors=_CONNECTION_ERRORS)  # type: ignore[arg-type]  # OSError is fine
    return {
        "retry": retry,
        "retry_on_error": list(_CONNECTION_ERRORS),
        "socket_connect_timeout": 5,
        "health_check_interval": 30,
        "parser_class": Parser,
    }


class _Pipeline(Pipeline):
    def annotate_exception(self, exception: Exception, number: int, command: Iterable[object]) -> None:
        """Leave an error unchanged: redis-py would add the whole command to it, including secrets."""


class RedisClient(Redis):
    """redis-py's client, without commands in the texts of its errors."""

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """A batch of commands for one round trip."""
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class Db:
    """One Redis server: commands, batches of them, and the scripts in `lua/` by name."""

    def __init__(self, redis: Redis, *, repairs: bool = True) -> None:
        self.redis = redis
        self.records = Records()
        self._scripts: dict[str, tuple[str, str]] = {}
        self._repairs = repairs
        self._repaired = 0  # number of repairs so far
        self._repairing = asyncio.Lock()
        self._batches = CommandBatches(self._exchange)
        self._encode: Callable[[Arg], bytes] = redis.get_encoder().encode  # type: ignore[no-untyped-call]  # redis-py has no types here

    async def do(self, *command: Arg) -> Any:
        """The raw reply to one command: bytes, int, list or None."""
        try:
            return await self.redis.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py has no types here
        except _ERRORS as e:
            await self._handle(e)
            return await self.do(*command)

    async def many(self, commands: Sequence[tuple[Arg, ...]], *, together: bool = False) -> list[Any]:
        """The replies to several commands in one round trip. With `together` all of them run, or none."""
        try:
            async with self.redis.pipeline(transaction=together) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return list(await pipe.execute())
        except _ERRORS as e:
            await self._handle(e)
            return await self.many(commands, together=together)

    async def script(self, name: str, *args: Arg) -> Any:
        """The reply of `lua/<name>.lua`. Calls that wait at the same time share a round trip."""
        sha, source = self._script(name)
        # Encoded here: what cannot be encoded must not fail the other calls of its batch.
        encoded = map(self._encode, ("EVALSHA", sha, 0, *args))
        try:
            return await self._batches.run(tuple(encoded))
        except NoScriptError:
            return await self.do("EVAL", source, 0, *args)
        except _ERRORS as e:
            await self._handle(e)
            return await self.script(name, *args)

    async def _exchange(self, commands: Sequence[tuple[Arg, ...]]) -> list[Any]:
        """The replies to several commands in one round trip; those that failed have an exception."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return list(await pipe.execute(raise_on_error=False))

    async def _handle(self, error: Exception) -> None:
        """Return if a repair makes a retry worthwhile; otherwise raise the mapped error."""
        if isinstance(error, NoScriptError):
            raise error
        if isinstance(error, _OUTAGE_ERRORS):
            raise _unavailable(error) from error
        if self._repairs and "WRONGTYPE" in str(error):
            before = self._repaired
            async with self._repairing:
                if self._repaired != before or await repair_types(Db(self.redis, repairs=False)):
                    self._repaired += 1
                    return
        raise StoreDamaged(
            "The task store (Redis) holds something that cannot be used: {reason}", reason=str(error)
        ) from error

    def _script(self, name: str) -> tuple[str, str]:
        """SHA-1 and source of a script, with the shared functions in front of it."""
        if name not in self._scripts:
            folder = files("saveany.store") / "lua"
            lib, body = ((folder / f"{part}.lua").read_text() for part in ("_lib", name))
            source = f"local P = '{PREFIX}'\n{lib}\n{body}"
            self._scripts[name] = (hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(), source)
        return self._scripts[name]

    async def time_ms(self) -> int:
        """Milliseconds since the epoch by the clock of the Redis server, from which all times are taken."""
        seconds, micros = await self.do("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def info(self, *sections: str) -> dict[str, Any]:
        """The reply to INFO."""
        with mapped_errors():
            return dict(await self.redis.execute_command("INFO", *sections))  # type: ignore[no-untyped-call]  # redis-py has no types here

    async def uptime_seconds(self) -> float:
        """Seconds since the server started."""
        return float((await self.info("server"))["uptime_in_seconds"])

    async def check_writable(self) -> None:
        """Write a test key. Raises `StoreUnavailable` if the server accepts no writes: it may serve reads
        while its memory or disk is full, or after it has become a replica."""
        await self.do("SET", keys.WRITTEN(), 1, "PX", 60_000)

    async def listen(self, channel: str) -> AsyncIterator[bytes]:
        """Messages published on a channel from now on.

        Yields one empty message when the subscription is active. Raises `StoreUnavailable` when the
        connection breaks; messages published until the next call are lost.
        """
        with mapped_errors():
            async with self.redis.pubsub() as pubsub:
                await pubsub.subscribe(PREFIX + channel)
                async for message in pubsub.listen():
                    if message["type"] == "subscribe":
                        yield b""
                    elif message["type"] == "message":
                        yield message["data"]

    async def check(self) -> None:
        """Reject a server that would lose tasks or cannot run the scripts; write our schema to a new store.

        Raises `ConfigError` for a Cluster, an eviction policy, a newer schema or wrong credentials, and
        `StoreUnavailable` if the server is unreachable or refuses commands.
        """
        try:
            info: dict[str, Any] = await self.redis.info()
        except AuthenticationError as e:
            raise ConfigError(
                "redis.url: the server refused the credentials ({reason})", reason=str(e)
            ) from e
        except CommandRefused as e:
            raise _unavailable(e) from e
        except _CONNECTION_ERRORS as e:
            reason = trust.with_advice(str(e))
            raise StoreUnavailable(
                "redis.url: no Redis server replies there ({reason})", reason=reason
            ) from e
        except RedisError as e:
            raise ConfigError("redis.url: the server cannot be used ({reason})", reason=str(e)) from e
        if info.get("cluster_enabled"):
            raise ConfigError(
                "redis.url: this is a Redis Cluster, which is not supported; use a single server"
            )
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise ConfigError(
                "redis.url: the server's maxmemory-policy is {policy}, so it may delete tasks when its "
                "memory is full; set `maxmemory-policy noeviction` in its configuration",
                policy=str(policy),
            )
        await self._check_schema()

    async def _check_schema(self) -> None:
        await self.do("HSETNX", keys.META(), "schema", SCHEMA)
        raw = await self.do("HGET", keys.META(), "schema")
        found = self.records.one("schema", "meta", raw, int) or SCHEMA
        if found > SCHEMA:
            raise ConfigError(
                "redis.url: this store was written by a newer SaveAny (schema {found}, this one knows "
                "{known}); upgrade this installation or use another Redis database",
                found=found,
                known=SCHEMA,
            )

    async def close(self) -> None:
        """Close all connections."""
        await self.redis.aclose()


def _unavailable(error: Exception) -> StoreUnavailable:
    if isinstance(error, CommandRefused):
        return StoreUnavailable("The task store (Redis) refuses commands: {reason}", reason=str(error))
    return StoreUnavailable("The task store (Redis) does not respond; try again in a moment.")


def connect(url: str) -> Db:
    """A connection to `url` (redis://, rediss:// or unix://), opened with the first command."""
    try:
        tls: dict[str, Any] = {"ssl_ca_certs": str(trust.bundle())} if url.startswith("rediss://") else {}
        return Db(RedisClient.from_url(url, **client_options(), **tls))
    except ValueError as e:
        raise ConfigError("redis.url: {reason}", reason=str(e)) from e
