"""Every error this project raises on purpose.

Errors are classified by what to do next, not by where they came from; errors of third parties are mapped
to these once, at the edge where they enter.

    SaveAnyError
    ├── ConfigError              the configuration is wrong: say which line, change nothing
    ├── RequestError             the caller asked for something that cannot be; carries its HTTP status
    │   ├── InvalidInput   400   the request itself is wrong, `field` says where
    │   ├── Unauthorized   401
    │   ├── Forbidden      403
    │   ├── NotFound       404
    │   ├── WrongState     409
    │   ├── KeyReused      422   an idempotency key came with another body
    │   ├── TooMany        429   more at once than is allowed
    │   └── Unavailable    503   what is needed for the answer is not there now
    │       └── StoreUnavailable  the task store (Redis) is away, or takes no commands now
    │           └── StoreDamaged  a record in it stands in the way
    ├── TaskError                a task or one of its items cannot go on
    │   ├── Retryable            try the same again, after `after` seconds
    │   │   └── Offline          the way out is closed, whatever is asked for: wait until it is open
    │   ├── Permanent            trying again cannot help; the message says what to do
    │   └── NeedsLogin           an account must be logged in again; the message names the command
    ├── Fenced                   another claim owns the task now: write nothing more, stop
    ├── CancelRequested          the user canceled the task: stop and clean up
    ├── PauseRequested           the task is paused, or makes room: stop, keep what there is, give it back
    └── StorageError             a storage refused
        ├── NameTaken            the final name exists already
        ├── UnsafePath           the path leaves the storage
        ├── NoSpace              disk or quota is full
        └── StorageUnavailable   the storage is not reachable, or not on this machine
"""

from __future__ import annotations

from saveany.texts import Field, Text


class SaveAnyError(Exception):
    """Something went wrong in SaveAny."""

    def __init__(self, text: str | Text = "", **fields: Field) -> None:
        """`text` is a template for `fields`, or a whole text; "" stands for the docstring of the class."""
        found = text if isinstance(text, Text) else Text(text, fields)
        super().__init__(str(found))
        self._text = found

    @property
    def text(self) -> Text:
        """What is wrong and what to do, for a user, ready to be translated. It contains no secret."""
        return self._text if self._text.template else Text((type(self).__doc__ or "").strip())

    @property
    def message(self) -> str:
        """The text in English."""
        return str(self.text)


class ConfigError(SaveAnyError):
    """The configuration is not valid."""


class RequestError(SaveAnyError):
    """The request cannot be fulfilled."""

    status = 400
    error = "Bad request"


class InvalidInput(RequestError):
    """The request is not valid."""

    def __init__(self, text: str | Text, field: str = "", **fields: Field) -> None:
        super().__init__(text, **fields)
        self.field = field


class Unauthorized(RequestError):
    """Valid authentication token required"""

    status = 401
    error = "Unauthorized"


class Forbidden(RequestError):
    """This is not allowed."""

    status = 403
    error = "Forbidden"


class NotFound(RequestError):
    """There is no such thing."""

    status = 404
    error = "Not found"


class WrongState(RequestError):
    """The task is not in a state that allows this."""

    status = 409
    error = "Conflict"


class KeyReused(RequestError):
    """This Idempotency-Key was used with another body."""

    status = 422
    error = "Idempotency key reused"


class TooMany(RequestError):
    """There are too many of these at once."""

    status = 429
    error = "Too many requests"

    def __init__(self, text: str | Text, most: int, after: int = 10, **fields: Field) -> None:
        super().__init__(text, **fields)
        self.most = most
        self.after = after  # seconds to wait before the next try


class Unavailable(RequestError):
    """A part of the service that is needed for this is not there now."""

    status = 503
    error = "Service unavailable"


class StoreUnavailable(Unavailable):
    """The task store (Redis) does not answer, or takes no commands now; wait for it."""


class StoreDamaged(StoreUnavailable):
    """Something in the task store (Redis) is damaged, and this cannot be done because of it."""


class TaskError(SaveAnyError):
    """The task cannot go on."""


class Retryable(TaskError):
    """A passing failure: the same step may work later."""

    def __init__(self, text: str | Text, after: float = 0.0, **fields: Field) -> None:
        super().__init__(text, **fields)
        self.after = after  # seconds to wait before the next try


class Offline(Retryable):
    """Neither the task nor what it asks for is to blame: the network or the proxy does not let us out."""


class Permanent(TaskError):
    """Trying again cannot help."""


class NeedsLogin(TaskError):
    """A Telegram account must be logged in again."""


class Fenced(SaveAnyError):
    """Another worker owns this task now."""


class CancelRequested(SaveAnyError):
    """The task was canceled."""


class PauseRequested(SaveAnyError):
    """The task was paused, or makes room for one of another user."""


class StorageError(SaveAnyError):
    """The storage refused."""


class NameTaken(StorageError):
    """A file of that name exists already."""


class UnsafePath(StorageError):
    """The path leaves the storage."""


class NoSpace(StorageError):
    """There is no space left on the storage."""


class StorageUnavailable(StorageError):
    """The storage cannot be reached."""
