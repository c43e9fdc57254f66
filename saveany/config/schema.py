"""The tables of config.toml. The example file and the reference page are generated from this module.

Every model is frozen and knows its keys only: an unknown key is an error. Build one in Python with
`Config.model_validate({...})`, the keys being those of the file; paths are then left as they are.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    PlainValidator,
    PrivateAttr,
    SecretStr,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from saveany import proxies
from saveany.config.hints import did_you_mean
from storages import registry
from storages.base import Services, StorageOptions

T = TypeVar("T")


#: Name of the storage that is people's talks with the bot.
PRIVATE_CHATS = "talks"


class Table(BaseModel):
    """A table of config.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if value and not (parts.scheme in ("http", "https") and parts.hostname):
        raise ValueError("must be a URL that starts with http:// or https://")
    return value


def _redis_url(value: str) -> str:
    if value != "embedded" and not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError('must be "embedded" or start with redis://, rediss:// or unix://')
    return value


def _proxy_url(value: str) -> str:
    if value:
        proxies.parse(value)
    return value


def _webhook_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    try:
        good = not text or 24 <= len(base64.b64decode(text.removeprefix("whsec_"), validate=True)) <= 64
    except binascii.Error:
        good = False
    if not good:
        raise ValueError("must be whsec_ and 24 to 64 bytes in base64; leave it empty to have one made")
    return value


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if value and not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError('must be "host:port"')
    return value


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` is reachable from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def own_address(host: str) -> str:
    """Where this machine reaches a server bound to `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  only recognised


def _default_host(values: Mapping[str, Any]) -> str:
    return "0.0.0.0" if values["token"].get_secret_value() else "127.0.0.1"  # noqa: S104  a token guards it


class ApiConfig(Table):
    """The HTTP API. Without a token it answers to this machine only."""

    enable: bool = Field(default=True, description="Serve the API. (SaveAny-Bot's default is false.)")
    token: SecretStr = Field(
        default=SecretStr(""),
        description="Clients send it as `Authorization: Bearer <token>`. It acts as every user. Empty: no "
        "authentication, and then only this machine may connect.",
        examples=["your-secret-token-here"],
    )
    host: str = Field(
        default_factory=_default_host,
        validate_default=False,
        description="Address to listen on. Default: 0.0.0.0 (every network) with a token, 127.0.0.1 (this "
        "machine) without. Another address without a token is refused.",
        examples=["127.0.0.1"],
    )
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    max_connections: int = Field(
        default=2048,
        ge=16,
        description="Connections at a time. Fewer where the system lets a process open fewer files.",
    )
    max_event_streams: int = Field(
        default=1000, ge=1, description="Event streams at a time, of all clients that use the token."
    )
    webhook_url: Annotated[str, AfterValidator(_http_url)] = Field(
        default="",
        repr=False,
        description="URL that is told about every task that ends. Empty: nobody is told.",
        examples=["https://your-server.com/webhook"],
    )
    webhook_events: tuple[Literal["completed", "failed", "canceled", "running", "file_uploaded"], ...] = (
        Field(
            default=("completed", "failed"),
            description="What webhooks tell: completed, failed, canceled, running, file_uploaded.",
        )
    )
    webhook_secret: Annotated[SecretStr, AfterValidator(_webhook_secret)] = Field(
        default=SecretStr(""),
        description="Signs every webhook (Standard Webhooks: whsec_ and base64). Empty: one is made at the "
        "first start and kept in Redis, so that all machines sign alike; `saveany config get "
        "api.webhook_secret --reveal` shows it.",
    )

    @field_validator("host")
    @classmethod
    def _guarded(cls, host: str, info: ValidationInfo) -> str:
        token = info.data.get("token", SecretStr("?"))
        if info.data.get("enable") and not token.get_secret_value() and not is_loopback(host):
            raise ValueError(
                "would open the API to other machines without authentication; set api.token, or use 127.0.0.1"
            )
        return host


class ProxyConfig(Table):
    """A proxy for Telegram only, in place of the top-level `proxy`."""

    enable: bool = Field(default=False, description="Use it.")
    url: str = Field(
        default="",
        repr=False,
        description="socks5://…, socks4://…, http://… or https://…, with user:password@ where needed.",
        examples=["socks5://127.0.0.1:7890"],
    )

    @field_validator("url")
    @classmethod
    def _usable(cls, url: str, info: ValidationInfo) -> str:
        return _proxy_url(url) if info.data.get("enable") else url


class AccountConfig(Table):
    """A Telegram user account, for chats that a bot cannot read. `saveany login` writes these."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Name in messages and of the session's file: letters, digits, _ and -.",
        examples=["me"],
    )
    session: SecretStr = Field(
        min_length=1, description="Session string of the account.", examples=["1BQANOTEuMT…"]
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
        default=(), description="Session strings of user accounts, where names are not needed."
    )
    dc_id: int = Field(
        default=2, ge=1, description="For test servers: number of the data centre at dc_address."
    )
    dc_address: Annotated[str, AfterValidator(_address)] = Field(
        default="",
        description='For test servers: "host:port" of the data centre to use. Empty: the real Telegram.',
        examples=["127.0.0.1:24430"],
    )
    dc_public_key: str = Field(
        default="",
        repr=False,
        description="For test servers: the data centre's RSA public key, or the path of its PEM file. Read "
        "when the configuration is loaded.",
    )
    proxy: ProxyConfig = Field(default=ProxyConfig(), description="A proxy for Telegram only.")
    accounts: tuple[AccountConfig, ...] = Field(default=(), description="User accounts by name.")

    @property
    def user_accounts(self) -> tuple[AccountConfig, ...]:
        """Every user account: `accounts`, then `sessions` under the names session1, session2 …"""
        unnamed = (AccountConfig(name=f"session{n}", session=text) for n, text in enumerate(self.sessions, 1))
        return (*self.accounts, *unnamed)

    @field_validator("accounts")
    @classmethod
    def _names(cls, accounts: tuple[AccountConfig, ...]) -> tuple[AccountConfig, ...]:
        return _distinct(accounts, "name", lambda account: account.name)

    @field_validator("dc_public_key")
    @classmethod
    def _pem(cls, value: str, info: ValidationInfo) -> str:
        """The PEM itself, whichever of the two was given."""
        if not value or "-----BEGIN" in value:
            return value
        folder: Path = (info.context or {}).get("folder", Path())
        try:
            return (folder / value).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise ValueError(f"cannot read the key file {folder / value}: {reason}") from None


class User(Table):
    """Someone who may use this SaveAny."""

    id: int = Field(description="Telegram user id (@userinfobot tells it).", examples=[123456789])
    storages: tuple[str, ...] = Field(
        default=(),
        description="Names of the storages the user may use, best first. Empty: all of them.",
        examples=[["local1"]],
    )
    blacklist: bool = Field(default=False, description="Turn the list around: all storages but these.")
    accounts: tuple[str, ...] = Field(
        default=(),
        description="Telegram accounts through which the user's links and watched chats are read: bot, or "
        "names of user accounts. Empty: all, so that the user can save whatever your accounts can read.",
        examples=[["bot"]],
    )
    role: Literal["admin", "user"] | None = Field(
        default=None,
        description="An admin may log accounts in and see all tasks. Left out: the first user is one.",
        examples=["admin"],
    )


class RedisConfig(Table):
    """Where tasks are kept."""

    url: Annotated[str, AfterValidator(_redis_url)] = Field(
        default="embedded",
        repr=False,
        description='"embedded" starts a server of its own in data_dir; or redis://host:6379/0, rediss://…, '
        "unix:///path for one that several machines share.",
    )
    fsync: Literal["always", "everysec"] = Field(
        default="always",
        description="When the embedded server writes to disk. everysec is a little faster and may lose the "
        "last second at a power cut.",
    )


class WorkerConfig(Table):
    """The processes that download."""

    processes: int = Field(default=2, ge=1, description="Worker processes that `saveany run` starts.")
    drain_seconds: float = Field(
        default=10,
        ge=0,
        allow_inf_nan=False,
        description="How long running tasks may go on after a stop was asked for.",
    )


class LimitsConfig(Table):
    """How much is done at once, by all workers together; 0 is no limit. `PUT /api/v1/limits` changes these
    while everything runs."""

    tasks_per_user: int = Field(
        default=0,
        ge=0,
        description="Tasks of one user that run at a time. 0: no fixed limit; slots are shared fairly.",
    )
    bytes_per_second: int = Field(default=0, ge=0, description="Speed of all downloads together.")
    bytes_per_second_per_user: int = Field(
        default=0, ge=0, description="Speed of all downloads of one user together."
    )


class NetConfig(Table):
    """What may be reached over the network."""

    allow: tuple[IPvAnyNetwork, ...] = Field(
        default=(),
        description="Private networks that URLs in requests may point to, as in 192.168.1.0/24. Others are "
        "refused, for callers must not reach into your network.",
        examples=[["192.168.1.0/24"]],
    )
    ca_file: Path | None = Field(
        default=None,
        description="File with certificates (PEM) that are trusted beside those of the system, by everything "
        "that speaks TLS: storages, webhooks, downloads, proxies, programs. For servers with a certificate "
        "of your own.",
        examples=["/etc/ssl/home-ca.pem"],
    )


class HistoryConfig(Table):
    """Ended tasks."""

    keep_days: int = Field(default=0, ge=0, description="Days an ended task is kept; 0 keeps it for ever.")


def _level(value: object) -> object:
    # SaveAny-Bot's words for two of them
    if not isinstance(value, str):
        return value
    return {"warn": "warning", "fatal": "critical"}.get(value.lower(), value.lower())


class LogConfig(Table):
    """What the program writes about itself, to stderr."""

    level: Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_level)] = (
        Field(default="info", description="The least important that is written.")
    )
    format: Literal["text", "json"] = Field(
        default="text", description="Text for people or JSON for machines."
    )


def _storage(value: object) -> StorageOptions:
    """The table as the options of its type."""
    if isinstance(value, StorageOptions):
        return value
    if not isinstance(value, dict):
        raise ValueError("must be a table")
    kind = value.get("type")
    known = f"there are: {', '.join(registry.types())}"
    if kind is None:  # and so nobody knows what else may be in the table
        raise _at([("type",)], f"is missing; {known}")
    model = registry.options_model(kind) if isinstance(kind, str) else StorageOptions
    if model is None:
        hint = did_you_mean(kind, registry.types()) or known
        raise _at([("type",)], f"there is no storage type {kind!r}; {hint}")
    return model.model_validate_json(json.dumps(value, default=str), strict=True)


AnyStorage = Annotated[SerializeAsAny[StorageOptions], PlainValidator(_storage)]


def _at(locs: Iterable[tuple[str | int, ...]], text: str) -> ValidationError:
    """`text` as an error of each of `locs`; raised in a validator, pydantic puts the outer place before."""
    error = PydanticCustomError("value_error", "{text}", {"text": text})
    return ValidationError.from_exception_data(
        "config", [InitErrorDetails(type=error, loc=loc, input=None) for loc in locs], hide_input=True
    )


def _distinct(tables: tuple[T, ...], key: str, of: Callable[[T], object]) -> tuple[T, ...]:
    seen: set[object] = set()
    for index, table in enumerate(tables):
        if of(table) in seen:
            raise _at([(index, key)], f"{of(table)} is there twice")
        seen.add(of(table))
    return tables


class YtdlpConfig(Table):
    """Videos of many sites, by yt-dlp."""

    enable: bool = Field(default=True, description="Take videos with yt-dlp, where it is installed.")
    max_height: int = Field(
        default=0,
        ge=0,
        description="Largest picture, as in 1080; 0 takes the best.",
        examples=[1080],
    )
    format: str = Field(
        default="", description="A format selector of yt-dlp, in place of max_height.", examples=["bv*+ba/b"]
    )
    recode: str = Field(
        default="",
        pattern=r"^(avi|flv|gif|mkv|mov|mp4|webm|)$",
        description="Recode videos into this container; empty leaves them as they are. Needs ffmpeg.",
        examples=["mp4"],
    )
    program: str = Field(default="yt-dlp", description="The program to run.")


class GalleryConfig(Table):
    """Pictures and files of many sites, by gallery-dl."""

    enable: bool = Field(default=True, description="Use gallery-dl, where it is installed.")
    program: str = Field(default="gallery-dl", description="The program to run.")


class Aria2Config(Table):
    """Torrents, magnets and metalinks, by aria2. Its peer-to-peer traffic goes past the address guard."""

    enable: bool = Field(default=False, description="Use aria2.")
    url: Annotated[str, AfterValidator(_http_url)] = Field(
        default="",
        repr=False,
        description="JSON-RPC of a running aria2 that sees data_dir under the same path. Empty: one is "
        "started.",
        examples=["http://127.0.0.1:6800/jsonrpc"],
    )
    secret: SecretStr = Field(default=SecretStr(""), description="Its rpc-secret.")
    keep_file: bool = Field(default=False, description="Leave what was downloaded in data_dir/aria2.")
    dht: bool = Field(
        default=True, description="Find peers without a tracker, too. For the aria2 that is started here."
    )
    program: str = Field(default="aria2c", description="The program to run where no url is given.")


class Config(Table):
    """Everything that can be configured."""

    workers: int = Field(default=3, ge=1, description="Tasks at a time in each worker process.")
    retry: int = Field(default=3, ge=1, description="Failures of one file before it counts as failed.")
    data_dir: Path = Field(
        default=Path("data"),
        description="Folder for sessions, keys and the embedded server. Relative paths, here and elsewhere, "
        "count from the folder of the configuration file.",
    )
    proxy: Annotated[str, AfterValidator(_proxy_url)] = Field(
        default="",
        repr=False,
        description="Proxy for Telegram, downloads from the web and s3: http://…, https://…, socks5://…, "
        "socks4://… A % : / ? or # in user or password is written %25 %3A %2F %3F %23.",
        examples=["http://127.0.0.1:7890"],
    )
    lang: str = Field(
        default="",
        description="Language of the bot, as in en or zh-Hans. Left out: that of each person's Telegram app.",
        examples=["zh-Hans"],
    )
    api: ApiConfig = Field(default_factory=ApiConfig)
    telegram: TelegramConfig = Field(default_factory=TelegramConfig)
    redis: RedisConfig = Field(default_factory=RedisConfig)
    worker: WorkerConfig = Field(default_factory=WorkerConfig)
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    net: NetConfig = Field(default_factory=NetConfig)
    history: HistoryConfig = Field(default_factory=HistoryConfig)
    ytdlp: YtdlpConfig = Field(default_factory=YtdlpConfig)
    gallery: GalleryConfig = Field(default_factory=GalleryConfig)
    aria2: Aria2Config = Field(default_factory=Aria2Config)
    log: LogConfig = Field(default_factory=LogConfig)
    users: tuple[User, ...] = Field(default=(), description="Who may use this SaveAny.")
    storages: tuple[AnyStorage, ...] = Field(
        default=(), description="Where files go. Only enabled ones are left here after loading."
    )

    _file: Path | None = PrivateAttr(default=None)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def file(self) -> Path | None:
        """The file it came from; None when there was none."""
        return self._file

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about the configuration although it works."""
        return self._warnings

    def user(self, id_: int) -> User | None:
        """The configured user of that Telegram id."""
        return next((user for user in self.users if user.id == id_), None)

    @property
    def private_chats(self) -> StorageOptions | None:
        """A storage beside those that are configured: the talks of people with the bot, by their ids. None
        without a bot."""
        model = registry.options_model("telegram")
        if model is None or not self.telegram.token.get_secret_value():
            return None
        return model.model_validate({"name": PRIVATE_CHATS, "type": "telegram", "chat_id": "*"})

    def is_admin(self, user: User) -> bool:
        """Whether the user may do what concerns everybody."""
        return user.role == "admin" or (user.role is None and user == self.users[0])

    def storage(self, name: str) -> StorageOptions | None:
        """The enabled storage of that name."""
        return next((storage for storage in self.storages if storage.name == name), None)

    @property
    def services(self) -> Services:
        """What is lent to storages on this machine."""
        return Services(scratch=self.data_dir / "scratch", proxy=self.proxy, allow=self.net.allow)

    def allowed_storages(self, user: User) -> list[str]:
        """Names of the enabled storages the user may use, best first."""
        names = [storage.name for storage in self.storages]
        if user.blacklist or not user.storages:
            return [name for name in names if name not in user.storages]
        return [name for name in user.storages if name in names]

    @field_validator("users")
    @classmethod
    def _ids(cls, users: tuple[User, ...]) -> tuple[User, ...]:
        return _distinct(users, "id", lambda user: user.id)

    @field_validator("storages")
    @classmethod
    def _usable(cls, storages: tuple[StorageOptions, ...]) -> tuple[StorageOptions, ...]:
        distinct = _distinct(storages, "name", lambda storage: storage.name)
        for index, storage in enumerate(storages):
            if storage.name == PRIVATE_CHATS:
                raise _at([(index, "name")], f"{PRIVATE_CHATS} is the name of people's talks with the bot")
        return tuple(storage for storage in distinct if storage.enable)
