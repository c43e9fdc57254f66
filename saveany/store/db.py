"""The connection to Redis (or Valkey), and the Lua scripts on it.

A server that is away, or that refuses what it is asked (`refusals`), is an outage: every method of `Db`
raises `StoreUnavailable` then, whose text holds nothing of the command. Who uses `Db.redis` itself gets what
redis-py raises (`AWAY`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from saveany.errors import ConfigError, StoreDamaged, StoreUnavailable, Unavailable
from saveany.net import trust
from saveany.store import keys
from saveany.store.records import Records
from saveany.store.refusals import CommandRefused, Parser

#: All keys of the store begin with this.
PREFIX = keys.PREFIX
#: Version of the key layout. A store written by a newer one is refused, an older one is migrated.
SCHEMA = 1

Arg = str | bytes | int | float


_LOST: tuple[type[Exception], ...] = (RedisConnectionError, RedisTimeoutError, OSError)
#: What redis-py raises while Redis restarts, is cut off, or refuses what it is asked.
AWAY: tuple[type[Exception], ...] = (*_LOST, CommandRefused, StoreUnavailable)
_FAILURES: tuple[type[Exception], ...] = (*AWAY, ResponseError)
#: The same; callers that must live through an outage catch these.
OUTAGE: tuple[type[Exception], ...] = AWAY
#: The same, with what a part of the service says that is not there now.
TROUBLE: tuple[type[Exception], ...] = (*OUTAGE, Unavailable)


def client_options() -> dict[str, Any]:
    """Connection settings for every client of this Redis: a short outage is waited out, not raised.

    redis-py retries a command whose connection failed; all our scripts may run twice (they compare first).
    """
    return {
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.02), 6, supported_errors=_LOST),  # type: ignore[arg-type] # OSError is fine
        "retry_on_error": list(_LOST),
        "socket_connect_timeout": 5,
        "health_check_interval": 30,
        "parser_class": Parser,
    }


class _Pipeline(Pipeline):
    def annotate_exception(self, exception: Exception, number: int, command: Iterable[object]) -> None:
        """Leave an error as it is: redis-py would write the whole command into it, secrets included."""


class RedisClient(Redis):
    """redis-py's client, but no error of it holds a command."""

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Several commands in one round trip."""
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class Db:
    """One Redis: plain commands, batches of them, and the scripts of `lua/` by name."""

    def __init__(self, redis: Redis, *, mends: bool = True) -> None:
        self.redis = redis
        self.records = Records()
        self._scripts: dict[str, tuple[str, str]] = {}
        self._mends = mends
        self._mended = 0  # how often
        self._mending = asyncio.Lock()

    async def do(self, *command: Arg) -> Any:
        """Run one command and return its raw reply (bytes, int, list, None)."""
        try:
            return await self.redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except _FAILURES as e:
            await self._handle(e)
            return await self.do(*command)

    async def many(self, commands: Sequence[tuple[Arg, ...]], *, together: bool = False) -> list[Any]:
        """Run commands in one round trip; replies in their order. They are independent of each other unless
        `together`: then all are done, or none."""
        try:
            async with self.redis.pipeline(transaction=together) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return list(await pipe.execute())
        except _FAILURES as e:
            await self._handle(e)
            return await self.many(commands, together=together)

    async def script(self, name: str, *args: Arg, then: Sequence[tuple[Arg, ...]] = ()) -> Any:
        """Run `lua/<name>.lua`, and in the same round trip `then` other commands, which may run twice."""
        sha, source = self._script(name)
        try:
            return (await self._in_one(("EVALSHA", sha, 0, *args), *then))[0]
        except NoScriptError:
            return (await self._in_one(("EVAL", source, 0, *args), *then))[0]

    async def _handle(self, error: Exception) -> None:
        """Return if the same may be tried again, because a key of a wrong type was put aside; else raise what
        the error is to those who use the store."""
        if isinstance(error, NoScriptError):
            raise error
        if isinstance(error, AWAY):
            raise _unavailable(error) from error
        if self._mends and "WRONGTYPE" in str(error):
            before = self._mended
            async with self._mending:
                if self._mended != before or await keys.mend(Db(self.redis, mends=False)):
                    self._mended += 1
                    return
        raise StoreDamaged(f"the task store (Redis) holds something that cannot be used: {error}") from error

    async def _in_one(self, *commands: tuple[Arg, ...]) -> list[Any]:
        return await self.many(commands) if len(commands) > 1 else [await self.do(*commands[0])]

    def _script(self, name: str) -> tuple[str, str]:
        if name not in self._scripts:
            folder = files("saveany.store") / "lua"
            lib, body = ((folder / f"{part}.lua").read_text() for part in ("_lib", name))
            source = f"local P = '{PREFIX}'\n{lib}\n{body}"
            self._scripts[name] = (hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(), source)
        return self._scripts[name]

    async def time_ms(self) -> int:
        """The clock everything is dated by: milliseconds since the epoch, of the Redis server."""
        seconds, micros = await self.do("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def uptime_seconds(self) -> float:
        """How long the server has been running."""
        try:
            return float((await self.redis.info("server"))["uptime_in_seconds"])
        except AWAY as e:
            raise _unavailable(e) from e

    async def check_writable(self) -> None:
        """Write something. Raises `StoreUnavailable` if the server takes no writes now: it may answer reads
        while its memory or disk is full, or after it has become a replica."""
        await self.do("SET", PREFIX + "written", 1, "PX", 60_000)

    async def listen(self, channel: str) -> AsyncIterator[bytes]:
        """Messages of a pub/sub channel, from now on; ends with `StoreUnavailable` when the connection does.

        Yields one empty message first, once the subscription stands.
        """
        try:
            async with self.redis.pubsub() as pubsub:
                await pubsub.subscribe(PREFIX + channel)
                async for message in pubsub.listen():
                    if message["type"] == "subscribe":
                        yield b""
                    elif message["type"] == "message":
                        yield message["data"]
        except AWAY as e:
            raise _unavailable(e) from e

    async def check(self) -> None:
        """Refuse a server that would lose tasks or cannot run the scripts; mark a new store with our schema.

        Raises `ConfigError` for a Cluster, an eviction policy, a newer schema or refused credentials, and
        `StoreUnavailable` if the server does not answer, or refuses to work now.
        """
        try:
            info: dict[str, Any] = await self.redis.info()
        except AuthenticationError as e:
            raise ConfigError(f"redis.url: the server refused the credentials ({e})") from e
        except CommandRefused as e:
            raise _unavailable(e) from e
        except _LOST as e:
            raise StoreUnavailable(f"redis.url: no Redis answers there ({trust.advised(str(e))})") from e
        except RedisError as e:
            raise ConfigError(f"redis.url: the server cannot be used ({e})") from e
        if info.get("cluster_enabled"):
            raise ConfigError(
                "redis.url: this is a Redis Cluster, which is not supported; use a single server"
            )
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise ConfigError(
                f"redis.url: the server's maxmemory-policy is {policy}, so it may drop tasks when memory is "
                "short; set `maxmemory-policy noeviction` in its configuration"
            )
        await self._check_schema()

    async def _check_schema(self) -> None:
        await self.do("HSETNX", PREFIX + "meta", "schema", SCHEMA)
        raw = await self.do("HGET", PREFIX + "meta", "schema")
        found = self.records.one("schema", "meta", raw, int) or SCHEMA
        if found > SCHEMA:
            raise ConfigError(
                f"redis.url: this store was written by a newer SaveAny (schema {found}, this one knows "
                f"{SCHEMA}); upgrade this installation or use another Redis database"
            )

    async def close(self) -> None:
        """Close all connections."""
        await self.redis.aclose()


def _unavailable(error: Exception) -> StoreUnavailable:
    """What an outage is to those who use the store."""
    if isinstance(error, StoreUnavailable):
        return error
    if isinstance(error, CommandRefused):
        return StoreUnavailable(f"the task store (Redis) takes no commands now: {error}")
    return StoreUnavailable("the task store (Redis) does not answer; try again in a moment")


def connect(url: str) -> Db:
    """A lazy connection to `url` (redis://, rediss://, unix://); nothing is sent yet."""
    try:
        tls: dict[str, Any] = {"ssl_ca_certs": str(trust.bundle())} if url.startswith("rediss://") else {}
        return Db(RedisClient.from_url(url, **client_options(), **tls))
    except ValueError as e:
        raise ConfigError(f"redis.url: {e}") from e
