"""The dialects of the API, and the fields of their replies. docs/reference/old-hosts.md is made from them.

Each reply is a table of fields. A field has a form in each dialect that has it; a value that is None or a
boolean is the same in all of them: these hosts use false for what they do not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

from saveany.catalogue.keys import ApiKey
from saveany.catalogue.models import Folder, SavedFile
from saveany.models import Status
from saveany.service.remote_uploads import RemoteTask

V = TypeVar("V")

Name = Literal["streamtape", "openload", "pstream"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the hosts, besides the fields of their replies."""

    name: Name
    title: str
    prefix: str  # first part of the path; "" for none
    hash: str  # the parameter of file/ul that contains the hash which the file must have
    listed: int  # number of remote uploads that are listed if the client does not say how many
    exhausted: int  # status of a reply if a limit on links or traffic is reached
    files_by_id: bool = False  # whether file/listfolder has an object of files by id instead of a list


STREAMTAPE: Final = Dialect("streamtape", "Streamtape", "", "sha256", listed=100, exhausted=509)
OPENLOAD: Final = Dialect("openload", "openload", "1", "sha1", listed=5, exhausted=509)
PSTREAM: Final = Dialect("pstream", "pstream", "v1", "sha1", listed=5, exhausted=503, files_by_id=True)
DIALECTS: Final = (STREAMTAPE, OPENLOAD, PSTREAM)


class Form(NamedTuple):
    """The JSON form of a field: what the reference calls it, and what converts a value."""

    title: str
    convert: Callable[[Any], Any]


STRING: Final = Form("string", str)
NUMBER: Final = Form("number", int)
FRACTION: Final = Form("number, 0 to 1", float)
PERCENT: Final = Form("number, 0 to 100", lambda fraction: round(100 * fraction))
PERCENT_STRING: Final = Form('string, "0" to "100"', lambda fraction: f"{100 * fraction:.4g}")
BOOLEAN: Final = Form("boolean", bool)
OBJECT: Final = Form("object", dict)


class Field(Generic[V]):
    """A field of a reply: where its value comes from, and its form in each dialect, if that has it."""

    def __init__(
        self,
        name: str,
        value: Callable[[V], object],
        about: str,
        form: Form | None = None,
        *,
        streamtape: Form | None = None,
        openload: Form | None = None,
        pstream: Form | None = None,
    ) -> None:
        """`form` is that of all dialects."""
        self.name = name
        self.value = value
        self.about = about
        self.forms: dict[Name, Form] = {}
        own = {"streamtape": streamtape, "openload": openload, "pstream": pstream}
        for dialect in DIALECTS:
            if found := own[dialect.name] or form:
                self.forms[dialect.name] = found


Fields = Sequence[Field[V]]


def render(fields: Fields[V], dialect: Dialect, view: V) -> dict[str, Any]:
    """A reply in a dialect."""
    found = {
        field.name: (field.forms[dialect.name], field.value(view))
        for field in fields
        if dialect.name in field.forms
    }
    return {
        name: value if value is None or isinstance(value, bool) else form.convert(value)
        for name, (form, value) in found.items()
    }


def timestamp(seconds: float) -> str:
    """A time as these hosts write it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


# The views: what the values of a reply are taken from.


@dataclass(frozen=True, slots=True)
class ShownAccount:
    """The user of a key."""

    key: ApiKey
    bytes_used: int


@dataclass(frozen=True, slots=True)
class ShownTicket:
    """A ticket for a download, or the address for an upload."""

    text: str
    expires_at: float  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class ShownFile:
    """A file, and the addresses at which it is watched."""

    file: SavedFile
    page: str
    player: str
    url: str = ""  # at which its bytes are
    token: str = ""  # of that link

    @property
    def is_broken(self) -> bool:
        """Whether its copy is missing, and it cannot be read from elsewhere."""
        return self.file.missing_at is not None and self.file.chat is None


@dataclass(frozen=True, slots=True)
class ShownRemote:
    """A remote upload, and the address at which its file is watched; "" if it has none yet."""

    upload: RemoteTask
    page: str

    @property
    def state(self) -> str:
        """Its status, in the words of these hosts."""
        return _STATES[self.upload.task.status]

    @property
    def sizes(self) -> tuple[int | None, int | None]:
        """The bytes that have arrived, and those that it has; None if that is not known."""
        progress = self.upload.task.progress
        if self.state == "new" or not progress.total_bytes:
            return None, None
        if self.upload.file and self.state == "finished":
            return progress.total_bytes, progress.total_bytes
        return min(progress.downloaded_bytes, progress.total_bytes), progress.total_bytes

    @property
    def fraction(self) -> float | None:
        """Its progress; None before it has begun."""
        loaded, total = self.sizes
        if self.state in ("finished", "error"):
            return 1.0
        return None if self.state == "new" else (loaded or 0) / (total or 1)

    @property
    def problem(self) -> str | bool:
        """Why it has failed; False if it has not."""
        if self.state != "error":
            return False
        return "Invalid URL" if self.upload.is_refused else self.upload.task.error or "canceled"


_STATES: Final = {
    Status.QUEUED: "new",
    Status.RUNNING: "downloading",
    Status.COMPLETED: "finished",
    Status.FAILED: "error",
    Status.CANCELED: "error",
}


@dataclass(frozen=True, slots=True)
class ShownConversion:
    """A conversion of a file."""

    file: ShownFile
    id: str
    state: str  # "new", "pending" or "failed"
    fraction: float
    retries: int
    updated_at: float  # seconds since the epoch


# The replies.

ACCOUNT: Final[Fields[ShownAccount]] = (
    Field("apiid", lambda v: v.key.id, "login of the key", streamtape=STRING),
    Field("extid", lambda v: v.key.id, "login of the key", openload=STRING, pstream=STRING),
    Field("email", lambda v: v.key.name, "name of the key: SaveAny has no mail addresses", STRING),
    Field("signup_at", lambda v: timestamp((v.key.made_at or 0) / 1000), "when the key was made", STRING),
    Field("storage_left", lambda v: -1, "always -1: not limited", openload=NUMBER),
    Field("storage_used", lambda v: v.bytes_used, "bytes of all files of the user", openload=STRING),
    Field("traffic", lambda v: {"left": -1, "used_24h": 0}, "not counted", openload=OBJECT),
    Field("balance", lambda v: 0, "always 0", openload=NUMBER),
)
TICKET: Final[Fields[ShownTicket]] = (
    Field("ticket", lambda v: v.text, "for file/dl", STRING),
    Field("captcha_url", lambda v: False, "always false", openload=STRING),
    Field("captcha_w", lambda v: False, "always false", openload=NUMBER),
    Field("captcha_h", lambda v: False, "always false", openload=NUMBER),
    Field("wait_time", lambda v: 0, "always 0 seconds", NUMBER),
    Field("valid_until", lambda v: timestamp(v.expires_at), "when the ticket expires", STRING),
)
DOWNLOAD: Final[Fields[ShownFile]] = (
    Field("name", lambda v: v.file.name, "name of the file", STRING),
    Field("size", lambda v: v.file.size, "bytes", NUMBER),
    Field("sha1", lambda v: v.file.sha1 or False, "false if it is not known", openload=STRING),
    Field("content_type", lambda v: v.file.mime, "MIME type", openload=STRING),
    Field("upload_at", lambda v: timestamp(v.file.added_at / 1000), "when it was saved", openload=STRING),
    Field("url", lambda v: v.url, "a link to its bytes, which works for four hours", STRING),
    Field("token", lambda v: v.token, "of this link", openload=STRING),
)
INFO: Final[Fields[ShownFile]] = (
    Field("id", lambda v: v.file.id, "of the file", STRING),
    Field(
        "status", lambda v: 500 if v.is_broken else 200, "500 if its copy is missing, 404 if unknown", NUMBER
    ),
    Field("name", lambda v: v.file.name, "false if unknown", STRING),
    Field("size", lambda v: v.file.size, "bytes; 0 if unknown", streamtape=NUMBER),
    Field(
        "size",
        lambda v: False if v.is_broken else v.file.size,
        "bytes; false if unknown",
        openload=NUMBER,
        pstream=NUMBER,
    ),
    Field("type", lambda v: v.file.mime, "MIME type", streamtape=STRING),
    Field("converted", lambda v: True, "false if unknown", streamtape=BOOLEAN),
    Field("sha1", lambda v: v.file.sha1 or False, "false if unknown", openload=STRING, pstream=STRING),
    Field("content_type", lambda v: v.file.mime, "false if unknown", openload=STRING, pstream=STRING),
)
#: The values in `INFO` of a file that does not exist.
UNKNOWN_FILE: Final[dict[Name, dict[str, Any]]] = {
    "streamtape": {"status": 404, "name": False, "size": 0, "converted": False},
    "openload": {"status": 404, "name": False, "size": False, "sha1": False, "content_type": False},
    "pstream": {"status": 404, "name": False, "size": False, "sha1": False, "content_type": False},
}
UPLOAD_URL: Final[Fields[ShownTicket]] = (
    Field("url", lambda v: v.text, "POST one file there, as a multipart form", STRING),
    Field("valid_until", lambda v: timestamp(v.expires_at), "when the address expires", STRING),
)
UPLOADED: Final[Fields[ShownFile]] = (
    Field("id", lambda v: v.file.id, "of the file", STRING),
    Field("name", lambda v: v.file.name, "of the file", STRING),
    Field("size", lambda v: v.file.size, "bytes", STRING),
    Field("sha256", lambda v: v.file.sha256, "hexadecimal", streamtape=STRING),
    Field("sha1", lambda v: v.file.sha1, "hexadecimal", openload=STRING, pstream=STRING),
    Field("content_type", lambda v: v.file.mime, "MIME type", STRING),
    Field("url", lambda v: v.page, "page of the file", STRING),
)
REMOTE_ADDED: Final[Fields[RemoteTask]] = (
    Field("id", lambda v: v.number, "of the remote upload", STRING),
    Field("folderid", lambda v: v.task.spec.folder_id, "folder of its file; 0 is the root", STRING),
)
REMOTE: Final[Fields[ShownRemote]] = (
    Field("id", lambda v: v.upload.number, "of the remote upload", STRING, pstream=NUMBER),
    Field("remoteurl", lambda v: next(iter(v.upload.task.spec.links), ""), "the URL", STRING),
    Field("status", lambda v: v.state, "new, downloading, finished or error", STRING),
    Field("bytes_loaded", lambda v: v.sizes[0], "null if unknown", streamtape=NUMBER, openload=STRING),
    Field("bytes_total", lambda v: v.sizes[1], "null if unknown", streamtape=NUMBER, openload=STRING),
    Field("progress_percent", lambda v: v.fraction, "null while it is new", pstream=PERCENT_STRING),
    Field("folderid", lambda v: v.upload.task.spec.folder_id, "0 is the root", STRING),
    Field("added", lambda v: timestamp(v.upload.task.created_at / 1000), "when it was added", STRING),
    Field(
        "last_update", lambda v: timestamp(v.upload.task.updated_at / 1000), "when it last changed", STRING
    ),
    Field("errormsg", lambda v: v.problem, "false without an error", pstream=STRING),
    Field("extid", lambda v: v.upload.file.id if v.upload.file else False, "file, or false", STRING),
    Field("url", lambda v: v.page or False, "page of the file, or false", STRING),
)
LISTED_FOLDER: Final[Fields[Folder]] = (
    Field("id", lambda v: v.id, "of the folder", STRING),
    Field("name", lambda v: v.name, "of the folder", STRING),
)
LISTED_FILE: Final[Fields[ShownFile]] = (
    Field("name", lambda v: v.file.name, "of the file", STRING),
    Field("sha1", lambda v: v.file.sha1 or False, "false if unknown", openload=STRING, pstream=STRING),
    Field("folderid", lambda v: v.file.folder_id, "0 is the root", openload=STRING),
    Field("folder_id", lambda v: v.file.folder_id, "0 is the root", pstream=NUMBER),
    Field("upload_at", lambda v: v.file.added_at // 1000, "seconds", openload=STRING, pstream=NUMBER),
    Field("status", lambda v: "active", "always active", openload=STRING, pstream=STRING),
    Field("size", lambda v: v.file.size, "bytes", NUMBER, openload=STRING),
    Field("content_type", lambda v: v.file.mime, "MIME type", openload=STRING, pstream=STRING),
    Field("download_count", lambda v: v.file.downloads, "by links", openload=STRING),
    Field("cstatus", lambda v: "ok", "always ok", openload=STRING, pstream=STRING),
    Field("link", lambda v: v.page, "page of the file", STRING),
    Field("embed_link", lambda v: v.player, "the file itself, for a player", pstream=STRING),
    Field("linkextid", lambda v: v.file.id, "id of the file", openload=STRING, pstream=STRING),
    Field("created_at", lambda v: v.file.added_at, "milliseconds", streamtape=NUMBER),
    Field("downloads", lambda v: v.file.downloads, "by links", streamtape=NUMBER),
    Field("linkid", lambda v: v.file.id, "id of the file", streamtape=STRING),
    Field("convert", lambda v: "converted", "always converted", streamtape=STRING),
)
NEW_FOLDER: Final[Fields[Folder]] = (
    Field("folderid", lambda v: v.id, "of the folder", STRING, pstream=NUMBER),
)
CONVERSION: Final[Fields[ShownConversion]] = (
    Field("name", lambda v: v.file.file.name, "of the file", STRING),
    Field("id", lambda v: v.id, "of the conversion", openload=STRING, pstream=STRING),
    Field("folderid", lambda v: v.file.file.folder_id, "0 is the root", streamtape=STRING),
    Field("status", lambda v: v.state, "new, pending or failed", STRING),
    Field("last_update", lambda v: timestamp(v.updated_at), "time", openload=STRING, pstream=STRING),
    Field("progress", lambda v: v.fraction, "progress", FRACTION, pstream=PERCENT),
    Field("retries", lambda v: v.retries, "attempts after the first", STRING, streamtape=NUMBER),
    Field("link", lambda v: v.file.page, "page of the file", STRING),
    Field("linkid", lambda v: v.file.file.id, "id of the file", streamtape=STRING),
    Field("linkextid", lambda v: v.file.file.id, "id of the file", openload=STRING, pstream=STRING),
)
