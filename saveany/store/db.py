"""The connection to Redis (or Valkey), and the Lua scripts on it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthenticationError,
    NoScriptError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from saveany.errors import ConfigError, Unavailable

#: All keys of the store begin with this.
PREFIX = "sa:"
#: Version of the key layout. A store written by a newer one is refused, an older one is migrated.
SCHEMA = 1

Arg = str | bytes | int | float


#: What redis-py raises while Redis restarts or is cut off.
AWAY: tuple[type[Exception], ...] = (RedisConnectionError, RedisTimeoutError)
#: The same, with what comes up from below; callers that must live through it catch these.
OUTAGE: tuple[type[Exception], ...] = (*AWAY, OSError)
#: The same, and what one raises whose memory is full: loops that go on when it is well again catch these.
TROUBLE: tuple[type[Exception], ...] = (*OUTAGE, OutOfMemoryError, Unavailable)


def client_options() -> dict[str, Any]:
    """Connection settings for every client of this Redis: a short outage is waited out, not raised.

    redis-py retries a command whose connection failed; all our scripts may run twice (they compare first).
    """
    return {
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.02), 6, supported_errors=OUTAGE),  # type: ignore[arg-type] # OSError is fine
        "retry_on_error": list(OUTAGE),
        "socket_connect_timeout": 5,
        "health_check_interval": 30,
    }


class Db:
    """One Redis: plain commands, batches of them, and the scripts of `lua/` by name."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._scripts: dict[str, tuple[str, str]] = {}

    async def do(self, *command: Arg) -> Any:
        """Run one command and return its raw reply (bytes, int, list, None)."""
        return await self.redis.execute_command(*command)  # type: ignore[no-untyped-call]

    async def many(self, commands: Sequence[tuple[Arg, ...]]) -> list[Any]:
        """Run independent commands in one round trip; replies in their order."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return list(await pipe.execute())

    async def script(self, name: str, *args: Arg, then: Sequence[tuple[Arg, ...]] = ()) -> Any:
        """Run `lua/<name>.lua`, and in the same round trip `then` other commands, which may run twice."""
        sha, source = self._script(name)
        try:
            return (await self._in_one(("EVALSHA", sha, 0, *args), *then))[0]
        except NoScriptError:
            return (await self._in_one(("EVAL", source, 0, *args), *then))[0]
        except OutOfMemoryError as e:
            raise Unavailable("the task store (Redis) is full: give it more memory (maxmemory)") from e

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

    async def listen(self, channel: str) -> AsyncIterator[bytes]:
        """Messages of a pub/sub channel, from now on; ends with an `OUTAGE` error when the connection does.

        Yields one empty message first, once the subscription stands.
        """
        async with self.redis.pubsub() as pubsub:
            await pubsub.subscribe(PREFIX + channel)
            async for message in pubsub.listen():
                if message["type"] == "subscribe":
                    yield b""
                elif message["type"] == "message":
                    yield message["data"]

    async def check(self) -> None:
        """Refuse a server that would lose tasks or cannot run the scripts; mark a new store with our schema.

        Raises `ConfigError` for a Cluster, an eviction policy, a newer schema or refused credentials, and
        `Unavailable` if the server does not answer.
        """
        try:
            info: dict[str, Any] = await self.redis.info()
        except AuthenticationError as e:
            raise ConfigError(f"redis.url: the server refused the credentials ({e})") from e
        except OUTAGE as e:
            raise Unavailable(f"redis.url: no Redis answers there ({e})") from e
        except (RedisError, ResponseError) as e:
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
        found = int(await self.do("HGET", PREFIX + "meta", "schema"))
        if found > SCHEMA:
            raise ConfigError(
                f"redis.url: this store was written by a newer SaveAny (schema {found}, this one knows "
                f"{SCHEMA}); upgrade this installation or use another Redis database"
            )

    async def close(self) -> None:
        """Close all connections."""
        await self.redis.aclose()


def connect(url: str) -> Db:
    """A lazy connection to `url` (redis://, rediss://, unix://); nothing is sent yet."""
    try:
        return Db(Redis.from_url(url, **client_options()))
    except ValueError as e:
        raise ConfigError(f"redis.url: {e}") from e
