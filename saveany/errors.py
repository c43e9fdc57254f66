"""The errors that this project raises on purpose.

An error states how to handle it: `retryable`, `after` and `fatal`. Callers read these attributes instead of
listing classes. Errors of libraries are mapped to these classes once, where they enter.

    SaveAnyError
    ├── ConfigError              the configuration is wrong; the text names the setting
    ├── RequestError             a request cannot be fulfilled; has the HTTP status of the response
    │   ├── InvalidInput   400   the request itself is wrong; `field` names the part of it
    │   ├── Unauthorized   401
    │   ├── Forbidden      403
    │   ├── NotFound       404
    │   ├── WrongState     409
    │   │   └── UploadBusy       the upload has stopped at another byte
    │   │       └── UploadLocked 423: another request is writing to the same upload
    │   ├── TooLarge       413   a file is larger than it may be
    │   ├── ChecksumMismatch 460  bytes do not have the checksum that the client stated
    │   ├── KeyReused      422   an idempotency key was sent with a different body
    │   ├── InsufficientSpace 507  the disk has no room for an upload
    │   ├── TooMany        429   a limit on simultaneous requests or connections is reached
    │   └── Unavailable    503   a part of the service that the request needs is down
    │       ├── StoreUnavailable  the task store (Redis) is unreachable, or refuses commands
    │       │   └── StoreDamaged  a damaged key or record in the store prevents the operation
    │       └── CatalogueUnavailable  the catalogue (the SQL database) is unreachable, or refuses changes
    ├── TaskError                a task, or one of its files, cannot continue
    │   ├── Retryable            a temporary failure: retry after `after` seconds
    │   │   └── Offline          the network or the proxy is down, whatever the destination
    │   ├── Permanent            a retry cannot succeed; the text states what to do
    │   └── NeedsLogin           a Telegram account must be logged in again; the text names the command
    ├── Fenced                   another claim owns the task now: write nothing more and stop
    ├── CancelRequested          the user canceled the task: stop and clean up
    ├── StopRequested            the user stopped the task: keep its saved files, end it as completed
    ├── PauseRequested           the task is paused or must make room: stop, keep its bytes, release it
    └── StorageError             an operation on a storage failed
        ├── NameTaken            the final name exists already
        ├── UnsafePath           the path leaves the storage
        ├── NoSpace              the disk or the quota is full
        ├── StorageUnavailable   the storage is unreachable, or not configured on this machine
        └── StorageBusy          the storage takes no more transfers at this time: wait `after` seconds
"""

from __future__ import annotations

from saveany.texts import Field, Text


class SaveAnyError(Exception):
    """Something went wrong in SaveAny."""

    #: Whether the same operation may succeed later, without anybody changing anything.
    retryable: bool = False
    #: Seconds to wait before a retry, as requested by the other side; 0 leaves the delay to the caller.
    after: float = 0.0
    #: Whether all of the current work must stop: neither a retry nor the next file can succeed here.
    fatal: bool = False

    def __init__(self, text: str | Text = "", **fields: Field) -> None:
        """`text` is a template for `fields`, or a finished text; "" means the docstring of the class."""
        finished = text if isinstance(text, Text) else Text(text, fields)
        super().__init__(str(finished))
        self._text = finished

    @property
    def text(self) -> Text:
        """The translatable text for a user: what is wrong and what to do. It contains no secrets."""
        return self._text if self._text.template else Text((type(self).__doc__ or "").strip())

    @property
    def message(self) -> str:
        """The text in English."""
        return str(self.text)


class ConfigError(SaveAnyError):
    """The configuration is not valid."""

    fatal = True


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
    """You are not allowed to do this."""

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


class UploadBusy(WrongState):
    """The upload has stopped at another byte; ask for it and continue there."""

    retryable = True


class UploadLocked(UploadBusy):
    """Another request is writing to this upload; try again in a moment."""

    status = 423
    error = "Locked"


class TooLarge(RequestError):
    """The file is too large."""

    status = 413
    error = "Content too large"


class ChecksumMismatch(RequestError):
    """The bytes do not have the stated checksum; send them again."""

    status = 460  # defined by tus
    error = "Checksum mismatch"


class InsufficientSpace(RequestError):
    """There is not enough free space for this upload."""

    status = 507
    error = "Insufficient storage"


class KeyReused(RequestError):
    """This Idempotency-Key was used with another body."""

    status = 422
    error = "Idempotency key reused"


class Gone(RequestError):
    """It existed, but does not any more."""

    status = 410
    error = "Gone"


class TooMany(RequestError):
    """There are too many of these at once."""

    status = 429
    error = "Too many requests"
    retryable = True

    def __init__(self, text: str | Text, maximum: int, after: int = 10, **fields: Field) -> None:
        """`maximum` is the limit that is reached."""
        super().__init__(text, **fields)
        self.maximum = maximum
        self.after = after


class Unavailable(RequestError):
    """A part of the service that this request needs is down."""

    status = 503
    error = "Service unavailable"
    retryable = True


class StoreUnavailable(Unavailable):
    """The task store (Redis) is unreachable or refuses commands; try again in a moment."""


class StoreDamaged(StoreUnavailable):
    """A damaged key or record in the task store (Redis) prevents this."""

    retryable = False


class CatalogueUnavailable(Unavailable):
    """The catalogue (the database of history and saved files) is unreachable; try again in a moment."""


class TaskError(SaveAnyError):
    """The task cannot continue."""


class Retryable(TaskError):
    """A temporary failure: the same step may succeed later."""

    retryable = True

    def __init__(self, text: str | Text, after: float = 0.0, **fields: Field) -> None:
        super().__init__(text, **fields)
        self.after = after


class Offline(Retryable):
    """The network or the proxy is down; neither the task nor its source is to blame."""


class Permanent(TaskError):
    """A retry cannot succeed."""


class NeedsLogin(TaskError):
    """A Telegram account must be logged in again."""


class Fenced(SaveAnyError):
    """Another worker owns this task now."""

    fatal = True


class CancelRequested(SaveAnyError):
    """The task was canceled."""

    fatal = True


class StopRequested(SaveAnyError):
    """The task must end with the files that are saved."""

    fatal = True


class PauseRequested(SaveAnyError):
    """The task was paused, or makes room for a task of another user."""

    fatal = True


class StorageError(SaveAnyError):
    """An operation on the storage failed."""

    retryable = True


class NameTaken(StorageError):
    """A file of that name exists already."""


class UnsafePath(StorageError):
    """The path leaves the storage."""

    retryable = False


class NoSpace(StorageError):
    """There is no space left on the storage."""

    retryable = False


class StorageUnavailable(StorageError):
    """The storage cannot be reached."""


class StorageBusy(StorageError):
    """The storage takes no more transfers for now."""

    #: Longer than a task keeps its slot while it waits.
    after = 31.0
