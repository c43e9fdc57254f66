"""What can go wrong, on purpose.

A `Fault` says what happens (`kind` and its `value`) to which requests (`method`, `file`, `account`,
`connection`; what is left out fits any) and when (`every` n-th of them, each time `after` so many bytes of
files were sent for them, `count` times at most). As text, for the command line:
`flood_wait=30,every=10,file=1003`. Updates that are pushed to a client are replies too, to the `method`
called `updates`: `lose,method=updates` makes gaps.

    kind            value                     what the client sees
    delay           seconds                   the reply comes later
    rate            bytes/s                   each connection is no faster
    total_rate      bytes/s                   all requests that fit are together no faster
    flood_wait      seconds                   420 FLOOD_WAIT_X
    premium_wait    seconds                   420 FLOOD_PREMIUM_WAIT_X
    error           code:TEXT                 any other rpc_error
    frozen                                    the account is frozen: 420 FROZEN_METHOD_INVALID, and for chats
                                              that it is not a member of, 400 FROZEN_PARTICIPANT_MISSING
    timeout                                   -503 Timeout
    expire                                    file references given out so far expire
    short           bytes                     a part lacks its last bytes
    tamper                                    a part has a wrong byte
    corrupt                                   the envelope's message key does not fit
    drop                                      the connection is closed
    lose                                      nothing: what was asked is done, but the reply does not come
    silent                                    the connection stays open and answers nothing any more
    revoke          TEXT                      the login is gone: AUTH_KEY_UNREGISTERED, or what `value` says
    salt                                      the data centre wants another salt from now on
    session                                   a new session begins: updates come after the next request
    one_address                               AUTH_KEY_DUPLICATED if the key is in use from two addresses
    delete                                    messages with that file are deleted, its references expire
    edit            a file's id               messages with that file carry this one now, references expire
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from saveany.sandbox.calls import Call
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.world import World

#: Methods of these namespaces work for frozen accounts (https://core.telegram.org/api/auth#frozen-accounts).
_FROZEN_MAY = frozenset(
    {"account", "auth", "help", "ping", "pingDelayDisconnect", "updates", "upload", "users"}
)
_NUMBER, _INTEGER, _RATE = r"\d+(\.\d+)?", r"\d+", r"[1-9]\d*"


class Scope(Enum):
    """Requests that a kind of fault can happen to."""

    ALL = "also those of the key exchange"
    RPC = "those that can be answered with an error"
    FILES = "those for a part of a file"


ALL, RPC, FILES = Scope

Pacer = Callable[[float, int], float]


@dataclass(eq=False, kw_only=True)
class Fault:
    """See the module's text."""

    kind: str
    value: str = ""
    method: str | None = None
    file: int | None = None
    account: int | None = None
    connection: int | None = None
    every: int = 1
    after: int = 0
    count: int | None = None
    fired: int = field(default=0, init=False)  # how many times it has happened
    _seen: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)
    _clocks: dict[int, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        kind = KINDS.get(self.kind)
        if kind is None:
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(KINDS)}")
        if not re.fullmatch(kind.value, self.value):
            raise ValueError(f"fault {self.kind}: {self.value!r} is not a value of it")
        if self.every < 1:
            raise ValueError(f"fault {self.kind}: every={self.every} is not a number from 1 on")

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Read the command line's form, `kind[=value],name=value,…`; ValueError says what is wrong."""
        (kind, value), *rest = (part.strip().partition("=")[::2] for part in text.split(","))
        numbers = {"file", "account", "connection", "every", "after", "count"}
        if unknown := [name for name, _ in rest if name not in numbers | {"method"}]:
            raise ValueError(f"fault {kind}: no such condition: {', '.join(unknown)}")
        method = dict(rest).get("method")
        return cls(kind=kind, value=value, method=method, **{n: int(v) for n, v in rest if n in numbers})

    def concerns(self, call: Call) -> bool:
        """Whether it is about such calls at all."""
        scope = KINDS[self.kind].scope
        if (scope is FILES and call.file is None) or (scope is RPC and call.key is None):
            return False
        chosen = ((name, getattr(self, name)) for name in ("method", "file", "account", "connection"))
        return all(wanted is None or getattr(call, name) == wanted for name, wanted in chosen)

    def due(self) -> bool:
        """Whether it happens to this one of the calls that it is about."""
        self._seen += 1
        if self._seen % self.every or self._bytes < self.after:
            return False
        if self.count is not None and self.fired >= self.count:
            return False
        self.fired += 1
        self._bytes = 0
        return True

    def sent(self, length: int) -> None:
        """Bytes were sent for a call that it is about."""
        self._bytes += length

    def pacer(self, lane: int) -> Pacer:
        """When a reply of some length, ready now, has gone through the bottleneck; each lane has one."""

        def pace(now: float, length: int) -> float:
            start = max(now, self._clocks.get(lane, 0.0))
            self._clocks[lane] = start + length / float(self.value)
            return self._clocks[lane]

        return pace


@dataclass
class Outcome:
    """What the faults make of one call."""

    call: Call
    error: RpcFailure | None = None
    refuse: tuple[int, str] | None = None  # from now on, for every request with the same key
    delay: float = 0.0  # seconds
    short: int = 0  # bytes
    tamper: bool = False
    corrupt: bool = False
    drop: bool = False
    lose: bool = False
    silent: bool = False
    salt: bool = False
    session: bool = False
    pacers: list[Pacer] = field(default_factory=list)

    def ready(self, now: float, length: int) -> float:
        """When a reply of this length that is made now may leave."""
        return max((pace(now, length) for pace in self.pacers), default=now) + self.delay


Effect = Callable[[Fault, Outcome, World], None]


class FaultKind(NamedTuple):
    """What a kind of fault does, which values it takes, and for which requests it makes sense."""

    effect: Effect
    value: str  # a regular expression
    scope: Scope


KINDS: dict[str, FaultKind] = {}


class Faults:
    """The faults in force."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._faults: list[Fault] = []

    def add(self, fault: Fault | str) -> Fault:
        """Put a fault, or its text, in force."""
        made = Fault.parse(fault) if isinstance(fault, str) else fault
        self._faults.append(made)
        return made

    def remove(self, fault: Fault) -> None:
        """Let it happen no more."""
        self._faults.remove(fault)

    def clear(self) -> None:
        """Let nothing go wrong any more; the slow sample is fast now too."""
        self._faults.clear()

    def meet(self, call: Call) -> Outcome:
        """Let whatever is due happen to a call."""
        outcome = Outcome(call)
        for fault in list(self._faults):
            if fault.concerns(call) and fault.due():
                KINDS[fault.kind].effect(fault, outcome, self._world)
        return outcome

    def sent(self, call: Call, length: int) -> None:
        """Bytes of a file were sent for a call."""
        for fault in self._faults:
            if fault.concerns(call):
                fault.sent(length)


def _kind(name: str, value: str = "", scope: Scope = ALL) -> Callable[[Effect], Effect]:
    """Name an effect: the pattern its value must have, and the requests it makes sense for."""

    def register(effect: Effect) -> Effect:
        KINDS[name] = FaultKind(effect, value, scope)
        return effect

    return register


@_kind("delay", _NUMBER)
def _delay(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.delay += float(fault.value)


@_kind("rate", _RATE)
def _rate(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.pacers.append(fault.pacer(outcome.call.connection))


@_kind("total_rate", _RATE)
def _total_rate(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.pacers.append(fault.pacer(0))


@_kind("flood_wait", _INTEGER, RPC)
def _flood_wait(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.error = RpcFailure(420, f"FLOOD_WAIT_{fault.value}")


@_kind("premium_wait", _INTEGER, RPC)
def _premium_wait(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.error = RpcFailure(420, f"FLOOD_PREMIUM_WAIT_{fault.value}")


@_kind("error", r"-?\d+:\w+", RPC)
def _error(fault: Fault, outcome: Outcome, world: World) -> None:
    code, _, text = fault.value.partition(":")
    outcome.error = RpcFailure(int(code), text)


@_kind("frozen", scope=RPC)
def _frozen(fault: Fault, outcome: Outcome, world: World) -> None:
    namespace = outcome.call.method.partition(".")[0]
    if namespace == "channels":  # as if it were a member of none
        outcome.error = RpcFailure(400, "FROZEN_PARTICIPANT_MISSING")
    elif namespace not in _FROZEN_MAY:
        outcome.error = RpcFailure(420, "FROZEN_METHOD_INVALID")


@_kind("timeout", scope=RPC)
def _timeout(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.error = RpcFailure(-503, "Timeout")


@_kind("short", _INTEGER, scope=FILES)
def _short(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.short = int(fault.value)


@_kind("tamper", scope=FILES)
def _tamper(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.tamper = True


@_kind("corrupt")
def _corrupt(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.corrupt = True


@_kind("drop")
def _drop(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.drop = True


@_kind("lose")
def _lose(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.lose = True


@_kind("silent")
def _silent(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.silent = True


@_kind("salt")
def _salt(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.salt = True


@_kind("session", scope=RPC)
def _session(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.session = True


@_kind("revoke", r"\w*", RPC)
def _revoke(fault: Fault, outcome: Outcome, world: World) -> None:
    outcome.refuse = (401, fault.value or "AUTH_KEY_UNREGISTERED")


@_kind("one_address", scope=RPC)
def _one_address(fault: Fault, outcome: Outcome, world: World) -> None:
    key = outcome.call.key
    if key is not None and len(key.hosts) > 1:
        outcome.refuse = (406, "AUTH_KEY_DUPLICATED")


@_kind("expire", scope=FILES)
def _expire(fault: Fault, outcome: Outcome, world: World) -> None:
    file = world.files.get(outcome.call.file or 0)
    if file is not None:
        world.expire(file)


@_kind("delete", scope=FILES)
def _delete(fault: Fault, outcome: Outcome, world: World) -> None:
    for chat, message in world.holders(outcome.call.file or 0):
        world.delete(chat, message.id)
    _expire(fault, outcome, world)


@_kind("edit", _INTEGER, scope=FILES)
def _edit(fault: Fault, outcome: Outcome, world: World) -> None:
    for chat, message in world.holders(outcome.call.file or 0):
        world.edit(chat, message.id, file=world.files[int(fault.value)])
    _expire(fault, outcome, world)
