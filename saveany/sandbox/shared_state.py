"""The state that the data centers of a sandbox share."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from saveany.sandbox.broadcast import UpdateBroadcaster
from saveany.sandbox.calls import CallCounters
from saveany.sandbox.cdn import Cdn
from saveany.sandbox.faults import Faults
from saveany.sandbox.key_store import KeyStore
from saveany.sandbox.world import World


@dataclass
class SharedState:
    """The state that all data centers of a sandbox share."""

    home: int  # the home data center of all accounts
    world: World
    key_store: KeyStore
    faults: Faults
    counters: CallCounters
    broadcaster: UpdateBroadcaster
    addresses: dict[int, tuple[str, int]] = field(default_factory=dict)
    #: TL dcOption: further addresses that are announced to clients.
    options: list[Any] = field(default_factory=list)
    cdn: Cdn | None = None
    connection_numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
