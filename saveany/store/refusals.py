"""Error replies with which Redis refuses all commands for a while: an outage, not a mistake of the caller.

redis-py has exception classes for some of them and raises a plain `ResponseError` for the others. `Parser`
raises `CommandRefused` for all of them, and removes quoted commands from the texts of all other errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from redis.asyncio.connection import DefaultParser
from redis.exceptions import ResponseError

_FAILOVER = "wait, or point redis.url at the server that has taken over"

#: Error code -> what is wrong and what to do.
REASONS: Mapping[str, str] = {
    "READONLY": f"it is a replica, which accepts no writes; {_FAILOVER}",
    "MASTERDOWN": f"it is a replica that has lost its primary; {_FAILOVER}",
    "NOREPLICAS": "too few of its replicas are connected (min-replicas-to-write)",
    "MISCONF": "it cannot save to its disk; make room there and see its log",
    "OOM": "its memory is full; increase maxmemory",
    "BUSY": "it is busy with a script; wait, or end the script with SCRIPT KILL",
    "UNKILLABLE": "it is busy with a script",
    "NOPERM": "its user lacks the right to a command or key that SaveAny needs; see ACL GETUSER",
    "CLUSTERDOWN": "its cluster is down",
    "TRYAGAIN": "its cluster is moving keys",
    "MOVED": "it is part of a cluster, which is not supported",
    "ASK": "it is part of a cluster, which is not supported",
    "CROSSSLOT": "it is part of a cluster, which is not supported",
    "INPROG": "a failover is under way",
    "NOGOODSLAVE": "it has no replica to take over",
    "UNBLOCKED": f"it has become a replica; {_FAILOVER}",
}

#: In Redis 6 and older, an error inside a script is `ERR Error running script (…): … -READONLY You can't …`.
_IN_SCRIPT = re.compile(r"^ERR .*-(" + "|".join(REASONS) + r")\b", re.DOTALL)
#: NOPERM inside a script, in the words of different versions.
_NO_RIGHTS = ("ERR ACL failure in script", "ERR The user executing the script can't run")
#: `ERR unknown command 'X', with args beginning with: 'a' 'b'`
_QUOTED = re.compile(r",? with args beginning with.*", re.DOTALL)


class CommandRefused(ResponseError):
    """The server responds, but refuses commands for a while, or until an operator repairs it."""


class Parser(DefaultParser):  # type: ignore[misc,valid-type]  # one of two, as installed
    """redis-py's reply parser, with our exceptions."""

    async def can_read_destructive(self) -> bool:
        """Whether there is an unread reply, so that the connection must not be used. redis-py asks before
        each command, and waits for the event loop although asyncio has read what there is."""
        stream, reader = self._stream, getattr(self, "_reader", None)
        if reader and self._connected and not (stream._buffer or stream.at_eof() or stream.exception()):
            return bool(reader.has_data())
        return bool(await super().can_read_destructive())

    @classmethod
    def parse_error(cls, response: str) -> Exception:
        """The exception for an error reply."""
        if reason := REASONS.get(_code(response)):
            return CommandRefused(reason)
        error: Exception = super().parse_error(_QUOTED.sub("", response))
        return error


def _code(response: str) -> str:
    if response.startswith(_NO_RIGHTS):
        return "NOPERM"
    within = _IN_SCRIPT.match(response)
    return within[1] if within else response.partition(" ")[0]
