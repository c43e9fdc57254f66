"""Replies by which Redis refuses to work now: an outage, not a mistake of who asked.

redis-py knows some of them by classes of its own, and raises a plain `ResponseError` for the rest. `Parser`
makes all of them `CommandRefused`, and cuts out of every other error what the server quotes of the command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from redis.asyncio.connection import DefaultParser
from redis.exceptions import ResponseError

_OVER = "wait, or point redis.url at the server that has taken over"

#: Code of the reply -> what is wrong, and what to do.
REASONS: Mapping[str, str] = {
    "READONLY": f"it is a replica, which takes no writes; {_OVER}",
    "MASTERDOWN": f"it is a replica that has lost its primary; {_OVER}",
    "NOREPLICAS": "too few of its replicas are connected (min-replicas-to-write)",
    "MISCONF": "it cannot save to its disk; make room there, its log tells more",
    "OOM": "its memory is full; give it more (maxmemory)",
    "BUSY": "it is busy with a script; wait, or end that with SCRIPT KILL",
    "UNKILLABLE": "it is busy with a script",
    "NOPERM": "its user may not use a command or a key that is needed; see ACL GETUSER",
    "CLUSTERDOWN": "its cluster is down",
    "TRYAGAIN": "its cluster is moving keys",
    "MOVED": "it is part of a cluster, which is not supported",
    "ASK": "it is part of a cluster, which is not supported",
    "CROSSSLOT": "it is part of a cluster, which is not supported",
    "INPROG": "a failover is under way",
    "NOGOODSLAVE": "it has no replica that could take over",
    "UNBLOCKED": f"it has become a replica; {_OVER}",
}

#: Up to Redis 6 a script's error is `ERR Error running script (…): … -READONLY You can't …`.
_IN_SCRIPT = re.compile(r"^ERR .*-(" + "|".join(REASONS) + r")\b", re.DOTALL)
#: The same of NOPERM, in the words of different versions.
_NO_RIGHTS = ("ERR ACL failure in script", "ERR The user executing the script can't run")
#: `ERR unknown command 'X', with args beginning with: 'a' 'b'`
_QUOTED = re.compile(r",? with args beginning with.*", re.DOTALL)


class CommandRefused(ResponseError):
    """The server answers, but does not do what it is asked: for a while, or until somebody mends it."""


class Parser(DefaultParser):  # type: ignore[misc,valid-type]  # one of two, as installed
    """redis-py's parser of replies, with our errors."""

    @classmethod
    def parse_error(cls, response: str) -> Exception:
        """The exception that an error reply becomes."""
        if reason := REASONS.get(_code(response)):
            return CommandRefused(reason)
        error: Exception = super().parse_error(_QUOTED.sub("", response))
        return error


def _code(response: str) -> str:
    if response.startswith(_NO_RIGHTS):
        return "NOPERM"
    within = _IN_SCRIPT.match(response)
    return within[1] if within else response.partition(" ")[0]
