"""Simulates failures.

A `Fault` states what happens (`kind` and `value`) to which requests (`method`, `file`, `account`,
`connection`; an omitted condition matches any) and when (to every `every`-th of them, after each `after`
bytes of files sent for them, at most `count` times). As text, for the command line:
`flood_wait=30,every=10,file=1003`. Updates that are pushed to a client count as replies to the method
`updates`: `lose,method=updates` makes gaps. `file` may also be the id of a group call.

    kind            value                     what the client sees
    delay           seconds                   the reply is delayed
    rate            bytes/s                   the speed of each connection is limited
    total_rate      bytes/s                   the speed of all matching requests together is limited
    flood_wait      seconds                   420 FLOOD_WAIT_X
    premium_wait    seconds                   420 FLOOD_PREMIUM_WAIT_X
    error           code:TEXT                 any other rpc_error
    frozen                                    the account is frozen: 420 FROZEN_METHOD_INVALID, and for chats
                                              that it is not a member of, 400 FROZEN_PARTICIPANT_MISSING
    timeout                                   -503 Timeout
    expire                                    all file references issued so far expire
    short           bytes                     a part is too short by that many bytes
    tamper                                    a part has a wrong byte
    corrupt                                   the message key of the envelope is wrong
    drop                                      the connection is closed
    lose                                      the request is executed, but the reply is lost
    silent                                    the connection stays open but never replies again
    revoke          TEXT                      the login ends: AUTH_KEY_UNREGISTERED, or the error in `value`
    salt                                      the data center changes its salt
    session                                   a new session begins: no updates until the next request
    one_address                               AUTH_KEY_DUPLICATED if the key is in use from two addresses
    delete                                    messages with that file are deleted, its references expire
    kick                                      the account is removed from the group call; it may join again
    end_call                                  the group call ends
    move_call       data center               the stream of the group call moves to another data center
    edit            file id                   messages with that file get this one instead, references expire
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
_ALLOWED_WHEN_FROZEN = frozenset(
    {"account", "auth", "help", "ping", "pingDelayDisconnect", "updates", "upload", "users"}
)
_NUMBER, _INTEGER, _RATE = r"\d+(\.\d+)?", r"\d+", r"[1-9]\d*"


class Scope(Enum):
    """The requests that a kind of fault can apply to."""

    ALL = "all, including those of the key exchange"
    RPC = "those that can fail with an error"
    FILES = "those for a part of a file, or about a group call"


ALL, RPC, FILES = Scope

Pacer = Callable[[float, int], float]


@dataclass(eq=False, kw_only=True)
class Fault:
    """A failure to simulate; see the docstring of the module."""

    kind: str
    value: str = ""
    method: str | None = None
    file: int | None = None
    account: int | None = None
    connection: int | None = None
    every: int = 1
    after: int = 0
    count: int | None = None
    fired: int = field(default=0, init=False)  # number of times it has happened
    _seen: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)
    _clocks: dict[int, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        kind = KINDS.get(self.kind)
        if kind is None:
            raise ValueError(f"There is no fault {self.kind!r}. Faults: {', '.join(KINDS)}.")
        if not re.fullmatch(kind.value, self.value):
            raise ValueError(f"Fault {self.kind}: the value {self.value!r} is not valid.")
        if self.every < 1:
            raise ValueError(f"Fault {self.kind}: every={self.every} is not a positive number.")

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Parse the form of the command line, `kind[=value],name=value,…`. Raises `ValueError` with the
        reason."""
        (kind, value), *rest = (part.strip().partition("=")[::2] for part in text.split(","))
        numbers = {"file", "account", "connection", "every", "after", "count"}
        if unknown := [name for name, _ in rest if name not in numbers | {"method"}]:
            raise ValueError(f"Fault {kind}: unknown conditions: {', '.join(unknown)}.")
        method = dict(rest).get("method")
        return cls(kind=kind, value=value, method=method, **{n: int(v) for n, v in rest if n in numbers})

    def matches(self, call: Call) -> bool:
        """Whether it applies to such calls."""
        scope = KINDS[self.kind].scope
        if (scope is FILES and call.file is None) or (scope is RPC and call.key is None):
            return False
        chosen = ((name, getattr(self, name)) for name in ("method", "file", "account", "connection"))
        return all(wanted is None or getattr(call, name) == wanted for name, wanted in chosen)

    def fires(self) -> bool:
        """Whether it happens to this matching call. Counts the call."""
        self._seen += 1
        if self._seen % self.every or self._bytes < self.after:
            return False
        if self.count is not None and self.fired >= self.count:
            return False
        self.fired += 1
        self._bytes = 0
        return True

    def sent(self, length: int) -> None:
        """Count bytes that were sent for a matching call."""
        self._bytes += length

    def pacer(self, channel: int) -> Pacer:
        """Returns a function that computes when a reply has passed the bottleneck; each channel has a
        separate one."""

        def pace(now: float, length: int) -> float:
            start = max(now, self._clocks.get(channel, 0.0))
            self._clocks[channel] = start + length / float(self.value)
            return self._clocks[channel]

        return pace


@dataclass
class Outcome:
    """The combined effect of all faults on one call."""

    call: Call
    error: RpcFailure | None = None
    refuse: tuple[int, str] | None = None  # error for all later requests with the same key
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
        """The time at which a reply of this length that is ready now may be sent."""
        return max((pace(now, length) for pace in self.pacers), default=now) + self.delay


Effect = Callable[[Fault, Outcome, World], None]


class FaultKind(NamedTuple):
    """The effect of a kind of fault, the pattern of its value and the requests that it can apply to."""

    effect: Effect
    value: str  # a regular expression
    scope: Scope


KINDS: dict[str, FaultKind] = {}


class Faults:
    """The active faults."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._faults: list[Fault] = []

    def add(self, fault: Fault | str) -> Fault:
        """Activate a fault, given as an object or as text."""
        made = Fault.parse(fault) if isinstance(fault, str) else fault
        self._faults.append(made)
        return made

    def remove(self, fault: Fault) -> None:
        """Deactivate a fault."""
        self._faults.remove(fault)

    def clear(self) -> None:
        """Deactivate all faults, including the limited speed of the slow sample."""
        self._faults.clear()

    def apply(self, call: Call) -> Outcome:
        """The combined effect of all faults that happen to a call."""
        outcome = Outcome(call)
        for fault in list(self._faults):
            if fault.matches(call) and fault.fires():
                KINDS[fault.kind].effect(fault, outcome, self._world)
        return outcome

    def sent(self, call: Call, length: int) -> None:
        """Count bytes of a file that were sent for a call."""
        for fault in self._faults:
            if fault.matches(call):
                fault.sent(length)


def _kind(name: str, value: str = "", scope: Scope = ALL) -> Callable[[Effect], Effect]:
    """Register the effect of a kind of fault, with the pattern of its value and its scope."""

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
    elif namespace not in _ALLOWED_WHEN_FROZEN:
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


@_kind("kick", scope=FILES)
def _kick(fault: Fault, outcome: Outcome, world: World) -> None:
    call = world.calls.get(outcome.call.file or 0)
    if call is not None:
        world.calls.remove(call, outcome.call.account or 0)


@_kind("end_call", scope=FILES)
def _end_call(fault: Fault, outcome: Outcome, world: World) -> None:
    call = world.calls.get(outcome.call.file or 0)
    if call is not None and not call.ended:
        world.calls.end(call)


@_kind("move_call", _INTEGER, FILES)
def _move_call(fault: Fault, outcome: Outcome, world: World) -> None:
    call = world.calls.get(outcome.call.file or 0)
    if call is not None:
        world.calls.move(call, int(fault.value))


@_kind("delete", scope=FILES)
def _delete(fault: Fault, outcome: Outcome, world: World) -> None:
    for chat, message in world.messages_with(outcome.call.file or 0):
        world.delete(chat, message.id)
    _expire(fault, outcome, world)


@_kind("edit", _INTEGER, scope=FILES)
def _edit(fault: Fault, outcome: Outcome, world: World) -> None:
    for chat, message in world.messages_with(outcome.call.file or 0):
        world.edit(chat, message.id, file=world.files[int(fault.value)])
    _expire(fault, outcome, world)
