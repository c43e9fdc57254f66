"""The words that the Lua scripts return. A test compares each enum with the header of its script."""

from __future__ import annotations

from enum import StrEnum


class AcceptResult(StrEnum):
    """What `accept.lua` did with a submission."""

    ACCEPTED = "accepted"
    REPLAYED = "replayed"  # the idempotency key is known: nothing new was recorded
    REUSED = "reused"  # the idempotency key is known, with a different body


class CancelResult(StrEnum):
    """What `cancel.lua` did with a task."""

    CANCELED = "canceled"  # it was queued, and has ended
    REQUESTED = "requested"  # it is running; its worker will end it
    ENDED = "ended"  # it had ended before
    UNKNOWN = "unknown"  # there is no such task


class PauseResult(StrEnum):
    """What `pause.lua` did with a task."""

    PAUSED = "paused"  # it waits in the queue
    REQUESTED = "requested"  # it is running; its worker will put it back into the queue
    ENDED = "ended"  # it has ended, or is being canceled
    UNKNOWN = "unknown"


class StopResult(StrEnum):
    """What `stop.lua` did with a task."""

    REQUESTED = "requested"  # a worker will end it
    EMPTY = "empty"  # nothing has been planned, so nothing can be kept
    ENDED = "ended"  # it has ended, or is being canceled
    UNKNOWN = "unknown"


class ResumeResult(StrEnum):
    """What `resume.lua` did with a task."""

    RESUMED = "resumed"  # also if it was not paused
    ENDED = "ended"  # it has ended, or is being canceled
    UNKNOWN = "unknown"


class PrioritizeResult(StrEnum):
    """What `prioritize.lua` did with a task."""

    OK = "ok"
    ENDED = "ended"
    UNKNOWN = "unknown"


class RetryResult(StrEnum):
    """What `retry.lua` did with a task."""

    OK = "ok"
    STATE = "state"  # it is neither failed nor canceled, or was retried since it was read
    UNKNOWN = "unknown"


class EraseResult(StrEnum):
    """What `erase.lua` did with a task."""

    OK = "ok"
    LIVE = "live"  # it has not ended
    CLEANING = "cleaning"  # a worker must remove its leftovers first
    UNKNOWN = "unknown"


class ClaimResult(StrEnum):
    """Whether the holder of a claim may write; returned by every script that takes an epoch."""

    OK = "ok"
    FENCED = "fenced"  # another claim owns the task now, or the task has ended
    CANCEL = "cancel"  # the user canceled the task
    STOP = "stop"  # the task must end with what is saved
    PAUSE = "pause"  # the task is paused, or must make room for a task of another user


class AppendResult(StrEnum):
    """What `append.lua` did: as `ClaimResult`, or nothing because the items do not continue those before."""

    OK = "ok"
    FENCED = "fenced"
    CANCEL = "cancel"
    STOP = "stop"
    PAUSE = "pause"
    GAP = "gap"


class RecordResult(StrEnum):
    """What `item.lua` did: as `ClaimResult`, or nothing because a copy is being removed."""

    OK = "ok"
    FENCED = "fenced"
    CANCEL = "cancel"
    STOP = "stop"
    PAUSE = "pause"
    REMOVING = "removing"  # a worker removes a copy at a path at which an item makes its file visible
