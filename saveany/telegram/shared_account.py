"""What the processes that download with one account from one data centre tell each other, through Redis.

Telegram counts connections and flood waits per account, whatever the number of processes. Each of them that
downloads announces itself, and is counted until it leaves or stops renewing that; the same exchange brings
a flood wait that any of them was told. Keys, per account and data centre:

    sa:telegram:lines:…  zset: process -> when its announcement ends, by the clock of Redis in ms
    sa:telegram:flood:…  is there as long as the flood wait lasts
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

from redis.asyncio import Redis

from saveany.logs import get_logger
from saveany.telegram.flow import FloodClock
from saveany.telegram.session import PREFIX, REDIS_AWAY

#: How often a process that downloads renews its announcement, and learns of the others.
RENEW_SECONDS = 2.0
#: A process that has not renewed for so long counts as dead.
EXPIRE_SECONDS = 10.0
#: A Redis that takes longer to answer counts as away.
_ANSWER_SECONDS = 5.0
_LEAVE_SECONDS = 1.0
#: The longest that a new connection is held back for the first news.
_NEWS_SECONDS = 0.5
#: Two ends of a flood wait that are no farther apart are the same one, told over different ways.
_SAME_SECONDS = 0.5

_log = get_logger(__name__)

# A wait is only ever extended: whoever was told a shorter one must not shorten that of the others.
_MEET = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expire, flood = tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + expire, ARGV[1])
redis.call('PEXPIRE', KEYS[1], expire)
if flood > math.max(0, redis.call('PTTL', KEYS[2])) then
  redis.call('SET', KEYS[2], '', 'PX', flood)
end
return {redis.call('ZCARD', KEYS[1]), redis.call('PTTL', KEYS[2])}
"""


class SharedAccount:
    """The processes that use an account at a data centre now, this one among them while it has downloads.

    Redis only informs: without it, or while it is away, everything stays as it was last known.
    """

    def __init__(
        self,
        redis: Redis | None,
        account: int,
        dc_id: int,
        clock: FloodClock,
        met: Callable[[], Awaitable[None]],
    ) -> None:
        self.size = 1
        self._redis = redis
        self._keys = [f"{PREFIX}{what}:{account}:{dc_id}" for what in ("lines", "flood")]
        self._member = secrets.token_hex(8)
        self._clock = clock
        self._met = met  # told every few seconds, after `size` was counted
        self._told = FloodClock()  # what Telegram told this process itself; only that is passed on
        self._downloads = 0
        self._wake = asyncio.Event()
        self._informed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def enter(self) -> None:
        """A download begins. Returns at once; the others are told meanwhile."""
        self._downloads += 1
        if self._redis is not None and (self._task is None or self._task.done()):
            self._informed.clear()
            self._task = asyncio.get_running_loop().create_task(self._keep(self._redis))

    def exit(self) -> None:
        """A download has ended. The others are told a little later, unless the next one begins before."""
        self._downloads -= 1

    async def news(self) -> None:
        """Wait for what the others have to say to a process that comes, but not for long."""
        if self._redis is not None:
            await _within(_NEWS_SECONDS, self._informed)

    def flood(self, seconds: float) -> None:
        """Telegram asked this process to wait: so do all."""
        self._clock.hit(seconds)
        self._told.hit(seconds)
        self._wake.set()

    async def close(self) -> None:
        """Leave now."""
        if self._redis is not None and self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
            await self._leave(self._redis)

    def _wanted(self) -> bool:
        """A wait is passed on even if the download that was told it has ended."""
        return self._downloads > 0 or self._wake.is_set()

    async def _keep(self, redis: Redis) -> None:
        while self._wanted():
            try:
                with suppress(*REDIS_AWAY):
                    await self._meet(redis)
                self._informed.set()
                await self._met()
            except Exception:  # the others would not hear of us any more
                _log.exception("what the processes share could not be told")
            await _within(RENEW_SECONDS, self._wake)
            if not self._wanted():
                await self._leave(redis)

    async def _meet(self, redis: Redis) -> None:
        self._wake.clear()
        args = (self._member, int(EXPIRE_SECONDS * 1000), int(self._told.left * 1000))
        async with asyncio.timeout(_ANSWER_SECONDS):
            self.size, flood = await redis.register_script(_MEET)(self._keys, args)
        if flood / 1000 > self._clock.left + _SAME_SECONDS:
            self._clock.hit(flood / 1000)

    async def _leave(self, redis: Redis) -> None:
        with suppress(*REDIS_AWAY):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await redis.zrem(self._keys[0], self._member)


async def _within(seconds: float, event: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
