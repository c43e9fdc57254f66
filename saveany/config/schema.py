"""The tables of config.toml. The example file and the reference page are generated from this module.

Every model is frozen and refuses unknown keys. To build a configuration in Python, call
`Config.model_validate({...})` with the keys of the file; relative paths stay relative then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    IPvAnyNetwork,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from saveany.config import values
from saveany.config.hidden import passwords
from saveany.config.table import AnyStorage, Table, distinct, error_at
from saveany.models import KeyScope
from saveany.texts import WrongValue
from storages import registry
from storages.base import Services, StorageOptions

#: Name of the storage that sends files to private chats with the bot.
PRIVATE_CHATS = "talks"
#: Start of the name of the storage with the files that were uploaded to this machine and are not saved yet.
UPLOADS = "uploads@"


def _default_host(values: Mapping[str, Any]) -> str:
    return "0.0.0.0" if values["token"].get_secret_value() else "127.0.0.1"  # noqa: S104  the token protects it


#: A channel or group; its id may be written as a number.
_Chat = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    AfterValidator(values.telegram_chat),
]

WebhookEvent = Literal[
    "completed",
    "failed",
    "canceled",
    "running",
    "file_uploaded",
    "archive_complete",
    "archive_problem",
    "live_started",
    "live_ended",
    "recording_finished",
]


NotifyEvent = Literal["completed", "failed", "canceled", "archive_complete", "archive_problem"]


class NotifyConfig(Table):
    """Notifications to people, by any service of Apprise: e-mail, ntfy, Discord, Matrix and others."""

    urls: tuple[SecretStr, ...] = Field(
        default=(),
        description="Where to send notifications: URLs of Apprise (https://appriseit.com).",
        examples=[["ntfys://ntfy.sh/my-topic", "mailtos://user:password@example.com"]],
    )
    events: tuple[NotifyEvent, ...] = Field(
        default=("failed", "archive_complete", "archive_problem"),
        description="Events of which to notify: completed, failed, canceled, archive_complete, "
        "archive_problem.",
    )


class ApiKeyConfig(Table):
    """A key of the API: a secret that acts as one user. `saveany key add` makes one without a restart."""

    name: str = Field(
        min_length=1, max_length=100, description="Name of the key.", examples=["backup script"]
    )
    user_id: int = Field(description="The user as whom it acts, one of [[users]].", examples=[123456789])
    scopes: tuple[KeyScope, ...] = Field(
        default=("tasks", "files", "links"),
        min_length=1,
        description="What it may be used for: tasks, files, links, read (reading all of these), compat (the "
        "APIs of other hosts).",
    )
    secret: Annotated[SecretStr, AfterValidator(values.key_secret)] = Field(
        description="Secret that clients send as `Authorization: Bearer <secret>`: at least 20 random "
        "characters.",
        examples=["Kq3cT0hVqf2m9ZxWb7sLrJ4d"],
    )


class ApiConfig(Table):
    """The HTTP API. Without a token only this machine can use it."""

    enable: bool = Field(
        default=True, description="Whether to serve the API. (SaveAny-Bot's default is false.)"
    )
    token: Annotated[SecretStr, AfterValidator(values.token)] = Field(
        default=SecretStr(""),
        description="Secret that clients send as `Authorization: Bearer <token>`. Whoever has it can act as "
        "any user. Empty: no authentication, and only this machine can connect.",
        examples=["your-secret-token-here"],
    )
    keys: tuple[ApiKeyConfig, ...] = Field(default=(), description="Keys for scripts and other people.")
    signed: bool = Field(
        default=False,
        description="Whether a request may be signed with the secret of a key (RFC 9421), which is then not "
        "sent. For scripts that use plain HTTP.",
    )
    host: str = Field(
        default_factory=_default_host,
        validate_default=False,
        description="Address to listen on. Default: 0.0.0.0 (all networks) if token is set, else 127.0.0.1 "
        "(this machine only). Any other address requires a token.",
        examples=["127.0.0.1"],
    )
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 chooses a free one.")
    public_url: Annotated[str, AfterValidator(values.http_url)] = Field(
        default="",
        description="URL at which others reach this API, for the links that the bot and the API show. Empty: "
        "the address of the request; the bot then shows that of this machine.",
        examples=["https://files.example.com"],
    )
    internal_url: Annotated[str, AfterValidator(values.http_url)] = Field(
        default="",
        description="URL at which API processes on other machines reach this one. Set it on machines that "
        "have a disk or a Telegram login of their own, so that the others can deliver files from there.",
        examples=["http://10.0.0.2:8080"],
    )
    trusted_proxies: tuple[Annotated[str, AfterValidator(values.network)], ...] = Field(
        default=(),
        description="Addresses or networks of reverse proxies in front of the API. Only their "
        "X-Forwarded-For and X-Forwarded-Proto headers are believed.",
        examples=[["127.0.0.1", "10.0.0.0/8"]],
    )
    max_connections: int = Field(
        default=2048,
        ge=16,
        description="Maximum number of open connections. Lower if the system limits the process to fewer "
        "open files.",
    )
    max_event_streams: int = Field(
        default=1000,
        ge=1,
        description="Maximum number of open event streams, over all clients that use the token.",
    )
    webhook_url: Annotated[SecretStr, AfterValidator(values.secret_http_url)] = Field(
        default=SecretStr(""),
        description="URL that receives a webhook for every task that ends. Empty: no webhook is sent. It is "
        "a secret: many services know who may send by the path.",
        examples=["https://your-server.com/webhook"],
    )
    webhook_events: tuple[WebhookEvent, ...] = Field(
        default=("completed", "failed"),
        description="Events that are sent as webhooks: completed, failed, canceled, running, file_uploaded, "
        "archive_complete, archive_problem, live_started, live_ended, recording_finished.",
    )
    webhook_secret: Annotated[SecretStr, AfterValidator(values.webhook_secret)] = Field(
        default=SecretStr(""),
        description="Secret that signs every webhook (Standard Webhooks: whsec_ and base64). Empty: SaveAny "
        "generates one at the first start and keeps it in Redis, so that all machines use the same; "
        "`saveany config get api.webhook_secret --reveal` prints it.",
    )

    @field_validator("keys")
    @classmethod
    def _distinct(cls, keys: tuple[ApiKeyConfig, ...]) -> tuple[ApiKeyConfig, ...]:
        distinct(keys, "name", lambda key: key.name)
        if len({key.secret.get_secret_value() for key in keys}) < len(keys):
            raise ValueError("two keys have the same secret; change one of them")
        return keys

    @field_validator("host")
    @classmethod
    def _guarded(cls, host: str, info: ValidationInfo) -> str:
        token = info.data.get("token", SecretStr("?"))
        if info.data.get("enable") and not token.get_secret_value() and not values.is_loopback(host):
            raise ValueError(
                "would open the API to other machines without authentication; set api.token, or use 127.0.0.1"
            )
        return host


class ProxyConfig(Table):
    """A proxy for Telegram only, instead of the top-level `proxy`."""

    enable: bool = Field(default=False, description="Whether to use this proxy.")
    url: str = Field(
        default="",
        repr=False,
        description="Address of the proxy: socks5://…, socks4://…, http://… or https://…, with "
        "user:password@ if it needs them.",
        examples=["socks5://127.0.0.1:7890"],
    )

    @field_validator("url")
    @classmethod
    def _usable(cls, url: str, info: ValidationInfo) -> str:
        return values.proxy_url(url) if info.data.get("enable") else url


class AccountConfig(Table):
    """A Telegram user account, for chats that a bot cannot read, given as a session string."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Name of the account in messages and of its session file: letters, digits, _ and -.",
        examples=["me"],
    )
    session: SecretStr = Field(
        min_length=1, description="Session string made by Telethon.", examples=["1BQANOTEuMT…"]
    )


class TelegramConfig(Table):
    """Telegram: a bot, user accounts, or both."""

    token: SecretStr = Field(
        default=SecretStr(""),
        description="Bot token, from @BotFather.",
        examples=["123456789:AAH-the-token-of-your-bot"],
    )
    app_id: int = Field(
        default=0,
        ge=0,
        description="API id of your application, from https://my.telegram.org.",
        examples=[12345],
    )
    app_hash: SecretStr = Field(
        default=SecretStr(""),
        description="API hash that belongs to app_id.",
        examples=["0123456789abcdef0123456789abcdef"],
    )
    sessions: tuple[SecretStr, ...] = Field(
        default=(), description="Session strings of user accounts that need no name."
    )
    dc_id: int = Field(
        default=2, ge=1, description="For test servers: number of the data center at dc_address."
    )
    dc_address: Annotated[str, AfterValidator(values.host_and_port)] = Field(
        default="",
        description='For test servers: "host:port" of the data center. Empty: the real Telegram.',
        examples=["127.0.0.1:24430"],
    )
    dc_public_key: str = Field(
        default="",
        repr=False,
        description="For test servers: RSA public key of the data center, or the path of its PEM file, which "
        "is read when SaveAny starts.",
    )
    proxy: ProxyConfig = Field(default=ProxyConfig(), description="A proxy for Telegram only.")
    accounts: tuple[AccountConfig, ...] = Field(default=(), description="User accounts with a name.")

    @property
    def user_accounts(self) -> tuple[AccountConfig, ...]:
        """Every user account: `accounts`, then `sessions` under the names session1, session2 …"""
        unnamed = (AccountConfig(name=f"session{n}", session=text) for n, text in enumerate(self.sessions, 1))
        return (*self.accounts, *unnamed)

    @field_validator("accounts")
    @classmethod
    def _names(cls, accounts: tuple[AccountConfig, ...]) -> tuple[AccountConfig, ...]:
        return distinct(accounts, "name", lambda account: account.name)

    @field_validator("dc_public_key")
    @classmethod
    def _pem(cls, value: str, info: ValidationInfo) -> str:
        """The text of the key; a value that is not a key is the path of its file."""
        if not value or "-----BEGIN" in value:
            return value
        folder: Path = (info.context or {}).get("folder", Path())
        try:
            text = (folder / value).read_text()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
            raise WrongValue(
                "cannot read the key file {file}: {reason}", file=str(folder / value), reason=str(reason)
            ) from None
        if not values.is_public_key(text):  # the text is shown with the configuration: it must be no secret
            raise WrongValue("{file} is not a public key in PEM", file=str(folder / value))
        return text


class User(Table):
    """A person who may use this SaveAny."""

    id: int = Field(
        description="Telegram user id; send @userinfobot a message to learn yours.", examples=[123456789]
    )
    storages: tuple[str, ...] = Field(
        default=(),
        description="Storages that the user may use; the first is the default. Empty: all storages.",
        examples=[["local1"]],
    )
    blacklist: bool = Field(default=False, description="Allow all storages except those in the list.")
    accounts: tuple[str, ...] = Field(
        default=(),
        description="Telegram accounts that read the user's links and watched chats: bot, or names of user "
        "accounts. Empty: all accounts, so the user can save anything that your accounts can read.",
        examples=[["bot"]],
    )
    role: Literal["admin", "user"] | None = Field(
        default=None,
        description="An admin may log accounts in and see all tasks. Default: the first user in the list is "
        "an admin, the others are not.",
        examples=["admin"],
    )


class RedisConfig(Table):
    """The Redis or Valkey server that keeps the tasks."""

    url: Annotated[str, AfterValidator(values.redis_url)] = Field(
        default="embedded",
        repr=False,
        description='"embedded" starts a Valkey server in data_dir. Several machines share a server: '
        "redis://host:6379/0, rediss://… or unix:///path.",
    )
    fsync: Literal["always", "everysec"] = Field(
        default="always",
        description="When the embedded server writes to disk: before it confirms a change (always), or once "
        "per second (everysec), which is a little faster and may lose the last second in a power cut.",
    )


class CatalogueConfig(Table):
    """The database of the history and of the saved files."""

    url: Annotated[str, AfterValidator(values.catalogue_url)] = Field(
        default="",
        repr=False,
        description="PostgreSQL database: postgresql://user:password@host/name. Several machines need one. "
        "Empty: the file catalogue.db in data_dir.",
        examples=["postgresql://saveany:password@db.example.com/saveany"],
    )
    trash_days: int = Field(
        default=30,
        ge=0,
        le=36_500,
        description="Days for which a deleted file can be restored; 0: until the trash is emptied.",
    )


class LinksConfig(Table):
    """Links to saved files."""

    ttl_days: int = Field(
        default=30,
        ge=0,
        description="Days for which a link works if the request states no time; 0: for ever.",
    )
    connections_per_address: int = Field(
        default=64,
        ge=0,
        description="Number of connections over which one address may read files at once; 0: any number.",
    )
    connections_per_link: int = Field(
        default=256,
        ge=0,
        description="Number of connections over which one link may be read at once; 0: any number.",
    )
    monthly_gb: int = Field(
        default=0,
        ge=0,
        description="Gigabytes that all links and the drive together may send in a month (UTC). Running "
        "downloads may finish. 0: any number.",
    )
    per_day: int = Field(
        default=0,
        ge=0,
        description="Number of links that a user may make in 24 hours; 0: any number. It does not apply to "
        "the operator.",
    )
    ffmpeg: str = Field(
        default="ffmpeg",
        description="Name or path of ffmpeg, which takes a frame of a video for its thumbnail, if it is "
        "installed. Empty: only the thumbnails of Telegram are shown.",
    )
    openings: int = Field(
        default=15,
        ge=0,
        description="Number of links that one address may open in 10 minutes; 0: any number. All connections "
        "of a download manager, and all jumps of a player, are one opening.",
    )
    redirect: bool = Field(
        default=False,
        description="Whether links that ask for it (`redirect`) send clients to presigned URLs of `s3` "
        "storages, which work for 10 minutes. All clients must reach the storage under its `endpoint`. What "
        "it sends is not counted, and a link that is revoked still works for these minutes where it is open.",
    )
    channel: _Chat = Field(
        default="",
        description="Channel to which the bot copies files that get a link without being saved, as @name or "
        "-100…; the bot must be allowed to post there. The link then survives if its user deletes the "
        "message. Empty: the file stays where it is.",
        examples=["-1001234567890"],
    )
    must_join: tuple[_Chat, ...] = Field(
        default=(),
        description="Channels and groups that users must be members of before the bot makes links for them, "
        "as @name or -100…; the bot must be an administrator there. It does not apply to admins.",
        examples=[["@channel"]],
    )

    @field_validator("must_join", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        if isinstance(value, str | int) and value:
            return (value,)
        return tuple(value) if isinstance(value, list) else value or ()


class UploadsConfig(Table):
    """Files that are uploaded over the API."""

    max_mb: int = Field(
        default=0, ge=0, description="Maximum size of an uploaded file in MB (1,000,000 bytes); 0: no limit."
    )


class DavConfig(Table):
    """The drive: saved files as a read-only WebDAV at /dav, for players and file managers. The password is a
    key with the scope read: `saveany key add NAME --user ID --scope read`."""

    enable: bool = Field(default=False, description="Whether to offer it.")


class OpenloadConfig(Table):
    """The API of openload, Streamtape and pstream, for clients written for these hosts. It accepts only keys
    with the scope compat: `saveany key add NAME --user ID --compat`."""

    enable: bool = Field(default=False, description="Whether to offer it.")
    path: Annotated[str, AfterValidator(values.url_path)] = Field(
        default="/compat/openload", description="Path of the API at which it is offered."
    )
    host: Annotated[str, AfterValidator(values.host_name)] = Field(
        default="",
        description="Host name at which it is offered as well, without the path: for clients whose address "
        "cannot be changed except for its host.",
        examples=["api.example.com"],
    )


class StreamApiConfig(Table):
    """The API of StreamAPI, for clients written for that host. It accepts only keys with the scope compat and
    a readable secret: `saveany key add NAME --user ID --compat --readable`. Its sessions are stored, but
    nothing is recorded yet."""

    enable: bool = Field(default=False, description="Whether to offer it.")
    path: Annotated[str, AfterValidator(values.url_path)] = Field(
        default="/service", description="Path of the API at which it is offered."
    )


class CompatConfig(Table):
    """APIs of other hosts."""

    openload: OpenloadConfig = Field(default_factory=OpenloadConfig)
    streamapi: StreamApiConfig = Field(default_factory=StreamApiConfig)


class ConvertConfig(Table):
    """Converting videos that were saved to MP4 files that play before all of them is there. Their streams
    stay as they are. The old copy goes to the trash. It needs the API, and ffmpeg on the workers."""

    enable: bool = Field(default=False, description="Whether to convert videos after they were saved.")
    ffmpeg: str = Field(default="ffmpeg", min_length=1, description="Name or path of ffmpeg.")


class LiveConfig(Table):
    """Recording of chats that go live. Needs a Telegram user account."""

    recordings: int = Field(
        default=4,
        ge=1,
        description="Number of live streams that each worker process records at the same time. Recordings "
        "take no place from downloads.",
    )
    segment_seconds: int = Field(
        default=600,
        ge=5,
        le=3600,
        description="A recording is saved in segments of this length, in seconds, each as soon as it is "
        "complete. At the end they are joined. A crash loses the segment in progress at most.",
    )
    segment_mb: int = Field(
        default=512, ge=1, description="Maximum size of a segment in MiB; a segment may thus be shorter."
    )


class WorkerConfig(Table):
    """The worker processes, which download files."""

    processes: int = Field(
        default=2, ge=1, description="Number of worker processes that `saveany run` starts."
    )
    drain_seconds: float = Field(
        default=10,
        ge=0,
        allow_inf_nan=False,
        description="Seconds that running tasks get to finish when a worker is stopped. After that they "
        "return to the queue.",
    )


class LimitsConfig(Table):
    """Limits for all workers together; 0 means no limit. `PUT /api/v1/limits` changes them while everything
    runs."""

    tasks_per_user: int = Field(
        default=0,
        ge=0,
        description="Maximum number of running tasks per user. 0: no fixed limit; users share the slots "
        "fairly.",
    )
    bytes_per_second: int = Field(
        default=0, ge=0, description="Maximum speed of all downloads together, in bytes per second."
    )
    bytes_per_second_per_user: int = Field(
        default=0,
        ge=0,
        description="Maximum speed of all downloads of one user together, in bytes per second.",
    )
    archives_per_user: int = Field(
        default=100,
        ge=0,
        description="Maximum number of archives and watched chats per user. Archives that are complete do "
        "not count.",
    )


class NetConfig(Table):
    """Network access."""

    allow: tuple[IPvAnyNetwork, ...] = Field(
        default=(),
        description="Private networks that URLs in requests may point to, such as 192.168.1.0/24. All other "
        "private addresses are refused, so that requests cannot reach into your network.",
        examples=[["192.168.1.0/24"]],
    )
    ca_file: Path | None = Field(
        default=None,
        description="PEM file with certificates to trust in addition to those of the system. It applies to "
        "every TLS connection: storages, webhooks, downloads, proxies, Redis, and the programs that SaveAny "
        "starts.",
        examples=["/etc/ssl/home-ca.pem"],
    )


class HistoryConfig(Table):
    """The history of ended tasks."""

    keep_days: int = Field(default=0, ge=0, description="Days to keep an ended task; 0 keeps it forever.")


class InboxConfig(Table):
    """A watched folder of this machine: files that are complete are saved, each once."""

    path: Path = Field(
        description="The folder. It must not be, contain or be inside data_dir, a storage or another watched "
        "folder.",
        examples=["/home/me/Downloads/done"],
    )
    to: Annotated[str, AfterValidator(values.storage_and_folder)] = Field(
        default="",
        description="Where to save: STORAGE:FOLDER. Empty: by the rules of the user, else the user's default "
        "storage and folder.",
        examples=["local1:films"],
    )
    user: int = Field(
        default=0, description="Telegram user id of the owner, one of [[users]]; 0: the first of them."
    )
    recursive: bool = Field(
        default=True, description="Whether to save files in folders below, too. The folders are kept."
    )
    patterns: tuple[str, ...] = Field(
        default=(),
        description="Only files whose name, or path in the folder, matches a pattern. Empty: all.",
        examples=[["*.mkv", "photos/*"]],
    )
    exclude: tuple[str, ...] = Field(
        default=(),
        description="No files and folders that match. Unfinished downloads (.part, .crdownload, .tmp and "
        "others) and hidden files are never saved.",
        examples=[["*.nfo"]],
    )
    after: Literal["keep", "move", "delete"] = Field(
        default="keep",
        description="What to do with a file once it is saved: leave it there, move it to move_to, delete it.",
    )
    move_to: Path | None = Field(
        default=None,
        description='Where after = "move" moves files: a folder on the same disk. Default: the folder '
        "`saved` in the watched folder.",
        examples=["/home/me/Downloads/saved"],
    )
    on_conflict: Literal["rename", "overwrite", "skip"] | None = Field(
        default=None,
        description="What to do if a file of that name is saved already, such as an earlier version of a "
        "file: rename, overwrite or skip. Default: the setting of the user.",
        examples=["overwrite"],
    )
    settle_seconds: float = Field(
        default=10.0,
        ge=0.1,
        description="A file is complete when its size and time have not changed for so many seconds, and no "
        "program has it open for writing.",
    )
    poll_seconds: float = Field(
        default=0.0,
        ge=0.0,
        description="Seconds between two looks at the folder. 0: at once when something changes, or every 10 "
        "seconds on network disks, which do not report changes.",
    )

    @property
    def moved_files(self) -> Path | None:
        """Where saved files are moved to; None unless they are."""
        return (self.move_to or self.path / "saved") if self.after == "move" else None

    @property
    def target(self) -> tuple[str, str]:
        """The storage and the folder in it; empty for the user's choice."""
        storage, separator, folder = self.to.partition(":")
        return storage, (folder or "/") if separator else ""


class LogConfig(Table):
    """The log, which goes to stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(values.log_level)
    ] = Field(default="info", description="Least severe level to log.")
    format: Literal["text", "json"] = Field(
        default="text", description="Text for people, or JSON for programs."
    )


class YtdlpConfig(Table):
    """Videos from many sites, by yt-dlp."""

    enable: bool = Field(default=True, description="Whether to use yt-dlp if it is installed.")
    max_height: int = Field(
        default=0,
        ge=0,
        description="Maximum height of the picture in pixels, such as 1080; 0 takes the best quality.",
        examples=[1080],
    )
    format: str = Field(
        default="", description="Format selector of yt-dlp, instead of max_height.", examples=["bv*+ba/b"]
    )
    recode: str = Field(
        default="",
        pattern=r"^(avi|flv|gif|mkv|mov|mp4|webm|)$",
        description="Format to recode videos into; empty keeps them as they are. Needs ffmpeg.",
        examples=["mp4"],
    )
    program: str = Field(default="yt-dlp", description="Name or path of the program.")


class GalleryConfig(Table):
    """Pictures and files from many sites, by gallery-dl."""

    enable: bool = Field(default=True, description="Whether to use gallery-dl if it is installed.")
    program: str = Field(default="gallery-dl", description="Name or path of the program.")


class Aria2Config(Table):
    """Torrents, magnet links and metalinks, by aria2. SaveAny does not check the addresses of its peers."""

    enable: bool = Field(default=False, description="Whether to use aria2.")
    url: Annotated[str, AfterValidator(values.http_url)] = Field(
        default="",
        repr=False,
        description="JSON-RPC address of a running aria2 that sees data_dir under the same path. Empty: "
        "SaveAny starts one.",
        examples=["http://127.0.0.1:6800/jsonrpc"],
    )
    secret: SecretStr = Field(default=SecretStr(""), description="The rpc-secret of that aria2.")
    keep_file: bool = Field(default=False, description="Whether to keep downloaded files in data_dir/aria2.")
    dht: bool = Field(
        default=True, description="Whether the aria2 that SaveAny starts finds peers without a tracker (DHT)."
    )
    program: str = Field(default="aria2c", description="Name or path of the program; used if url is empty.")


def _secrets(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, str):
        for password in passwords(value):
            yield from (password, unquote(password))
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _secrets(each)


def _replaced(table: Table, new: Table, names: Iterable[str]) -> bool:
    """Replace some values of a table by those of another one. Returns whether any was different."""
    changed = {name: getattr(new, name) for name in names if getattr(new, name) != getattr(table, name)}
    table.__dict__.update(changed)  # a table is frozen for all others
    return bool(changed)


class Config(Table):
    """General settings."""

    workers: int = Field(
        default=3,
        ge=1,
        description="Number of tasks that each worker process runs at the same time. A Telegram task counts "
        "only from when it is known to have more than 1 MiB of files.",
    )
    retry: int = Field(default=3, ge=1, description="Number of attempts per file before it counts as failed.")
    data_dir: Path = Field(
        default=Path("data"),
        description="Folder for logins, keys and the data of the embedded server. All relative paths in this "
        "file start from the folder that the file is in.",
    )
    proxy: Annotated[str, AfterValidator(values.proxy_url)] = Field(
        default="",
        repr=False,
        description="Proxy for Telegram, downloads from the web and s3: http://…, https://…, socks5://… or "
        "socks4://… In the user name and password write % as %25, : as %3A, / as %2F, ? as %3F, # as %23.",
        examples=["http://127.0.0.1:7890"],
    )
    lang: str = Field(
        default="",
        description="Language of the bot: en or zh-Hans. Default: that of each person's Telegram app.",
        examples=["zh-Hans"],
    )
    api: ApiConfig = Field(default_factory=ApiConfig)
    telegram: TelegramConfig = Field(default_factory=TelegramConfig)
    redis: RedisConfig = Field(default_factory=RedisConfig)
    catalogue: CatalogueConfig = Field(default_factory=CatalogueConfig)
    links: LinksConfig = Field(default_factory=LinksConfig)
    uploads: UploadsConfig = Field(default_factory=UploadsConfig)
    dav: DavConfig = Field(default_factory=DavConfig)
    compat: CompatConfig = Field(default_factory=CompatConfig)
    convert: ConvertConfig = Field(default_factory=ConvertConfig)
    live: LiveConfig = Field(default_factory=LiveConfig)
    notify: NotifyConfig = Field(default_factory=NotifyConfig)
    worker: WorkerConfig = Field(default_factory=WorkerConfig)
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    net: NetConfig = Field(default_factory=NetConfig)
    history: HistoryConfig = Field(default_factory=HistoryConfig)
    ytdlp: YtdlpConfig = Field(default_factory=YtdlpConfig)
    gallery: GalleryConfig = Field(default_factory=GalleryConfig)
    aria2: Aria2Config = Field(default_factory=Aria2Config)
    log: LogConfig = Field(default_factory=LogConfig)
    users: tuple[User, ...] = Field(
        default=(), validate_default=True, description="People who may use this SaveAny."
    )
    storages: tuple[AnyStorage, ...] = Field(
        default=(), description="Where files are saved. After loading, only the enabled ones remain."
    )
    inboxes: tuple[InboxConfig, ...] = Field(default=(), description="Watched folders.")

    _file: Path | None = PrivateAttr(default=None)
    _file_version: tuple[int, ...] = PrivateAttr(default=())
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def file(self) -> Path | None:
        """The file that it was read from; None if there was none."""
        return self._file

    @property
    def file_version(self) -> tuple[int, ...]:
        """The version of that file, as `files.version` has found it before the file was read."""
        return self._file_version

    @property
    def warnings(self) -> tuple[str, ...]:
        """Remarks about a configuration that works, one sentence each."""
        return self._warnings

    def secrets(self) -> Iterator[str]:
        """All values that must not be shown."""
        return _secrets(self)

    def adopt(self, new: Config) -> bool:
        """Take over from `new`, which was read from the same file later, what may change while a process
        runs: users, storages, limits, watched folders, and the accounts of Telegram. Everything that has this
        object sees the change. Returns whether there was one."""
        changed = _replaced(self, new, ("users", "storages", "limits", "inboxes"))
        return _replaced(self.telegram, new.telegram, ("accounts", "sessions")) or changed

    def owner(self, inbox: InboxConfig) -> User | None:
        """The user to whom the files of a watched folder belong; None if there is none."""
        return self.user(inbox.user) if inbox.user else next(iter(self.users), None)

    def user(self, id_: int) -> User | None:
        """The user with that Telegram id, None if it is not listed."""
        return next((user for user in self.users if user.id == id_), None)

    @property
    def private_chats(self) -> StorageOptions | None:
        """The storage that sends files to private chats with the bot; its folders are user ids. None without
        a bot."""
        model = registry.options_model("telegram") if self.telegram.token.get_secret_value() else None
        if model is None:
            return None
        return model.model_validate({"name": PRIVATE_CHATS, "type": "telegram", "chat_id": "*"})

    def is_admin(self, user: User) -> bool:
        """Whether the user may see all tasks and log accounts in."""
        return user.role == "admin" or (user.role is None and user == self.users[0])

    def storage(self, name: str) -> StorageOptions | None:
        """The enabled storage with that name, None if there is none."""
        return next((storage for storage in self.storages if storage.name == name), None)

    @property
    def services(self) -> Services:
        """What storages on this machine may use: a scratch folder, the proxy, allowed networks."""
        return Services(scratch=self.data_dir / "scratch", proxy=self.proxy, allow=self.net.allow)

    def allowed_storages(self, user: User) -> list[str]:
        """Names of the enabled storages that the user may use; the first is the default."""
        names = [storage.name for storage in self.storages]
        if user.blacklist or not user.storages:
            return [name for name in names if name not in user.storages]
        return [name for name in user.storages if name in names]

    @field_validator("users")
    @classmethod
    def _ids(cls, users: tuple[User, ...], info: ValidationInfo) -> tuple[User, ...]:
        known = {user.id for user in distinct(users, "id", lambda user: user.id)}
        for key in info.data["api"].keys if "api" in info.data else ():
            if key.user_id not in known:
                raise WrongValue(
                    "must have user {user}, as whom the key {name!r} acts", user=key.user_id, name=key.name
                )
        return users

    @field_validator("storages")
    @classmethod
    def _usable(cls, storages: tuple[StorageOptions, ...]) -> tuple[StorageOptions, ...]:
        distinct(storages, "name", lambda storage: storage.name)
        for index, storage in enumerate(storages):
            if storage.name == PRIVATE_CHATS:
                raise error_at(
                    (index, "name"),
                    f"{PRIVATE_CHATS} is reserved for private chats with the bot; choose another name",
                )
            if storage.name.startswith(UPLOADS):
                raise error_at(
                    (index, "name"), f"{UPLOADS} is reserved for uploaded files; choose another name"
                )
        return tuple(storage for storage in storages if storage.enable)

    @field_validator("inboxes")
    @classmethod
    def _with_targets(cls, inboxes: tuple[InboxConfig, ...], info: ValidationInfo) -> tuple[InboxConfig, ...]:
        storages = [storage.name for storage in info.data.get("storages", ())]
        users = {user.id for user in info.data.get("users", ())}
        for index, inbox in enumerate(inboxes):
            storage, _ = inbox.target
            if storage and storage not in storages and "storages" in info.data:
                known = ", ".join(storages) or "none"
                raise error_at((index, "to"), f"there is no storage {storage!r}; there are: {known}")
            if inbox.user and inbox.user not in users and "users" in info.data:
                raise error_at((index, "user"), f"there is no user {inbox.user} in [[users]]")
        return inboxes
