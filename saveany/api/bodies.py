"""The bodies of requests. Descriptions and examples become the reference of the API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from saveany.models import KeyScope


class Strict(BaseModel):
    """A request body: unknown fields and values of the wrong type are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TaskOptions(Strict):
    """Options that both bodies of a new task have."""

    filename: str = Field(
        default="",
        max_length=1024,
        description="Name for the file; characters that a file system may not accept are replaced. If there "
        "are several files, the others are numbered. Empty: the original name.",
        examples=["report.pdf"],
    )
    on_conflict: Literal["rename", "overwrite", "skip"] = Field(
        default="rename",
        description="What to do if a file with this name exists. Default: the user's setting in the bot.",
    )
    on_duplicate: Literal["save", "skip", "link"] = Field(
        default="save",
        description="What to do with a file that the user has saved before: save it again, skip it, or list "
        "it as a second file that has the same copy. Default: the user's setting in the bot.",
    )
    priority: int = Field(
        default=0, ge=-100, le=100, description="Tasks of one user with a higher priority start first."
    )


class NewTask(TaskOptions):
    """A file to save. Give either `telegram_url` or `url`."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": ["telegram_url"]}, {"required": ["url"]}],
            "examples": [
                {
                    "telegram_url": "https://t.me/channel/123",
                    "user_id": 123456789,
                    "storage_name": "local1",
                    "dir_path": "/downloads",
                }
            ],
        }
    )

    telegram_url: str = Field(
        default="",
        max_length=2048,
        description="Link to a Telegram message. The whole album is saved unless the link has `?single`.",
        examples=["https://t.me/channel/123"],
    )
    url: str = Field(
        default="", max_length=2048, description="Any link that a source accepts, instead of `telegram_url`."
    )
    type: str = Field(
        default="",
        max_length=64,
        description="A type from /api/v1/task-types that accepts the link. Default: chosen by the link.",
        examples=["directlinks"],
    )
    user_id: int = Field(
        ge=1, lt=2**53, description="Telegram id of a configured user.", examples=[123456789]
    )
    storage_name: str = Field(
        default="",
        max_length=255,
        description="Empty: chosen by the user's rules or default, else the user's first storage.",
        examples=["local1"],
    )
    dir_path: str = Field(
        default="/",
        max_length=4096,
        description="Folder inside the storage; a leading slash means its root. Default: chosen by the "
        "user's rules or default.",
        examples=["/downloads"],
    )
    webhook_url: str = Field(
        default="",
        max_length=2048,
        description="Receives a webhook when this task ends, in addition to the configured URL. Private "
        "addresses are refused.",
        examples=["https://example.com/hook"],
    )

    @model_validator(mode="after")
    def _one_link(self) -> NewTask:
        if bool(self.telegram_url) == bool(self.url):
            raise PydanticCustomError("one_link", "give either telegram_url or url")
        return self


class TypedTask(TaskOptions):
    """The body of newer SaveAny-Bot releases; `path` is always a folder."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "tgfiles",
                    "storage": "local1",
                    "path": "downloads",
                    "params": {"message_links": ["https://t.me/channel/123", "https://t.me/channel/124"]},
                }
            ]
        }
    )

    type: str = Field(max_length=64, description="A type from /api/v1/task-types.", examples=["tgfiles"])
    params: dict[str, Any] = Field(
        description="What to download. For `tgfiles`: `message_links`, 1 to 10,000 links to Telegram "
        "messages, which become one task.",
        examples=[{"message_links": ["https://t.me/channel/123"]}],
    )
    user_id: int | None = Field(
        default=None, ge=1, lt=2**53, description="Default: the first configured user.", examples=[123456789]
    )
    storage: str = Field(
        default="",
        max_length=255,
        description="Empty: chosen by the user's rules or default, else the user's first storage.",
        examples=["local1"],
    )
    path: str = Field(
        default="",
        max_length=4096,
        description="Folder inside the storage; `/` is its root. Empty: chosen by the user's rules or "
        "default.",
        examples=["downloads"],
    )
    webhook: str = Field(default="", max_length=2048, description="Like `webhook_url` of the other body.")


def _variant(body: object) -> str:
    """The tag of a body: only the typed one has `params`, only the plain one has a link."""
    if isinstance(body, dict):
        linked = "url" in body or "telegram_url" in body
        return "typed" if "params" in body or ("type" in body and not linked) else "plain"
    return "typed" if isinstance(body, TypedTask) else "plain"


NewTaskBody = Annotated[
    Annotated[NewTask, Tag("plain")] | Annotated[TypedTask, Tag("typed")], Discriminator(_variant)
]
BODIES: dict[str, type[Strict]] = {"plain": NewTask, "typed": TypedTask}


_TTL = Field(default=None, ge=0, lt=2**31, description="Seconds for which it works; 0: for ever.")
_DOWNLOADS = Field(default=None, ge=0, lt=2**31, description="How often it may be downloaded; 0: any number.")
_PASSWORD = Field(default=None, max_length=200, description="What must be entered first; empty: nothing.")


_REDIRECT = (
    "Whether a storage that can do so sends the file itself, if the configuration allows it "
    "(`links.redirect`); never with a password."
)


class NewLink(Strict):
    """A new link to a saved file, a folder, or the file of a message that was not saved."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"telegram_url": "https://t.me/channel/123", "user_id": 123456789, "ttl": 86400}]
        }
    )

    file_id: str | None = Field(default=None, max_length=64, description="Id of the file.")
    folder_id: int | None = Field(default=None, ge=1, lt=2**53, description="Id of the folder.")
    telegram_url: str | None = Field(
        default=None,
        max_length=2048,
        description="Link to a Telegram message. Its file is not saved: downloads read it from Telegram.",
        examples=["https://t.me/channel/123"],
    )
    user_id: int = Field(ge=1, lt=2**53, description="Whose link it is.", examples=[123456789])
    ttl: int | None = _TTL
    max_downloads: int | None = _DOWNLOADS
    password: str | None = _PASSWORD
    inline: bool = Field(default=False, description="Whether browsers show the file in place.")
    redirect: bool = Field(default=False, description=_REDIRECT)


_NAME = Field(default=None, max_length=1024, description="New name, without folders.", examples=["a.pdf"])


class FileChange(Strict):
    """What to change of a saved file; what is left out stays. The copy in its storage is not touched."""

    name: str | None = _NAME
    folder_id: int | None = Field(
        default=None, ge=0, lt=2**53, description="Folder to move it to; 0 is the top."
    )
    caption: str | None = Field(default=None, max_length=4096, description="New caption.")


class NewFolder(Strict):
    """A new folder."""

    name: str = Field(max_length=1024, description="Its name.", examples=["films"])
    parent_id: int = Field(default=0, ge=0, lt=2**53, description="Folder that contains it; 0 is the top.")
    user_id: int | None = Field(
        default=None, ge=1, lt=2**53, description="Whose folder it is. Default: the owner of the parent."
    )


class FolderChange(Strict):
    """What to change of a folder; what is left out stays."""

    name: str | None = _NAME
    parent_id: int | None = Field(
        default=None, ge=0, lt=2**53, description="Folder to move it into; 0 is the top."
    )


class LinkChange(Strict):
    """What to change of a link; what is left out stays."""

    ttl: int | None = _TTL
    max_downloads: int | None = _DOWNLOADS
    password: str | None = _PASSWORD
    inline: bool | None = None
    redirect: bool | None = Field(default=None, description=_REDIRECT)
    revoked: bool | None = Field(default=None, description="True: it stops working; false: it works again.")


class NewKey(Strict):
    """A new key of the API."""

    name: str = Field(min_length=1, max_length=100, description="What it is for.", examples=["backup script"])
    user_id: int = Field(
        ge=1, lt=2**53, description="The configured user as whom it acts.", examples=[123456789]
    )
    scopes: list[KeyScope] = Field(
        min_length=1,
        max_length=20,
        description="What it may be used for; `read`: reading tasks, files and links; `compat`: the APIs of "
        "other hosts.",
        examples=[["tasks", "files"]],
    )
    readable: bool = Field(
        default=False,
        description="Keep the secret itself, for protocols that must sign with it, instead of only its hash.",
    )


class NewSession(Strict):
    """What a session is begun with. Give one of `token`, `key` and `code`."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": ["token"]}, {"required": ["key"]}, {"required": ["code"]}],
            "examples": [{"token": "your-secret-token-here"}],
        }
    )

    token: str = Field(default="", max_length=1024, description="The token of the API.")
    key: str = Field(default="", max_length=1024, description="The secret of a key.")
    code: str = Field(default="", max_length=1024, description="The code of a login link.")


class TaskChange(Strict):
    """The changeable properties of a task."""

    priority: int = Field(
        ge=-100, le=100, description="Tasks of one user with a higher priority start first.", examples=[10]
    )


Limit = Annotated[int | None, Field(ge=0, lt=2**53)]


class NewLimits(Strict):
    """Limits that replace the configured ones; 0 means no limit, null or omitted means as configured."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"bytes_per_second": 5_000_000}]})

    tasks_per_user: Limit = Field(
        default=None,
        description="Simultaneous tasks of one user. 0: no fixed limit; slots are shared fairly.",
    )
    bytes_per_second: Limit = Field(default=None, description="Total speed of all downloads.")
    bytes_per_second_per_user: Limit = Field(
        default=None, description="Total speed of all downloads of one user."
    )
    archives_per_user: Limit = Field(
        default=None,
        description="Archives and watched chats of one user; archives that are complete do not count.",
    )
