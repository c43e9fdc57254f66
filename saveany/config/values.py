"""Checks of single values in the configuration.

Each returns the value, or raises a `ValueError` that says what the value must be.
"""

from __future__ import annotations

import base64
import binascii
import re
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from pydantic import SecretStr

from saveany import proxies
from saveany.errors import InvalidInput
from saveany.telegram.links import chat_of

#: Shortest and longest secret for webhooks that the Standard Webhooks specification allows, in bytes.
_MIN_SECRET_BYTES, _MAX_SECRET_BYTES = 24, 64
#: Where the API has addresses of its own.
_OWN_PATHS = frozenset(
    ("api", "assets", "dl", "docs", "health", "internal", "metrics", "openapi.json", "s", "stream", "thumb")
)
#: Shortest and longest secret of a key of the API, in characters.
_MIN_KEY_LENGTH, _MAX_KEY_LENGTH = 20, 255


def http_url(value: str) -> str:
    """An address with http:// or https://, or an empty text."""
    if value and not (value.lower().startswith(("http://", "https://")) and _is_url(value, needs_host=True)):
        raise ValueError("must be a URL that starts with http:// or https://")
    return value


def secret_http_url(value: SecretStr) -> SecretStr:
    """The same for an address that contains a secret."""
    http_url(value.get_secret_value())
    return value


def _is_url(value: str, *, needs_host: bool = False) -> bool:
    """Whether a text is a URL whose host and port can be read."""
    try:
        parts = urlsplit(value)
        return (
            (parts.port or 1) > 0
            and not re.search(r"[\x00-\x20\x7f]", value)
            and bool(parts.hostname or not needs_host)
        )
    except ValueError:
        return False


def is_public_key(text: str) -> bool:
    """Whether a text is a public key in PEM, and nothing else."""
    return (
        re.fullmatch(r"\s*-----BEGIN ((?:RSA )?PUBLIC KEY)-----[A-Za-z0-9+/=\s]+-----END \1-----\s*", text)
        is not None
    )


def token(value: SecretStr) -> SecretStr:
    """A secret that a client can send in a header."""
    text = value.get_secret_value()
    if text != text.strip() or re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError("must be one line without spaces at its ends")
    return value


def url_path(value: str) -> str:
    """The path of an address, without a slash at the end."""
    path = value.rstrip("/")
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise ValueError("must be a path such as /compat/openload")
    if path.split("/")[1] in _OWN_PATHS:
        raise ValueError("is a path of SaveAny itself; choose another one, such as /compat/openload")
    return path


def host_name(value: str) -> str:
    """A host name without a port, in lower case, or an empty text."""
    if value and not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", value):
        raise ValueError("must be a host name such as api.example.com, without a port")
    return value.lower()


def telegram_chat(value: str) -> str:
    """A channel or supergroup, as @name or -100…, or an empty text."""
    try:
        return chat_of(value) if value else ""
    except InvalidInput:
        raise ValueError("must be a channel or group, as @name or -1001234567890") from None


def network(value: str) -> str:
    """An IP address or a network in CIDR notation."""
    try:
        ip_network(value, strict=False)
    except ValueError:
        raise ValueError("must be an IP address or a network such as 10.0.0.0/8") from None
    return value


def redis_url(value: str) -> str:
    """The address of a Redis server, or "embedded"."""
    is_url = value.startswith(("redis://", "rediss://", "unix://")) and _is_url(value)
    if value != "embedded" and not is_url:
        raise ValueError('must be "embedded" or start with redis://, rediss:// or unix://')
    return value


def catalogue_url(value: str) -> str:
    """The address of a PostgreSQL database, or an empty text."""
    if value and not (value.startswith(("postgresql://", "postgres://")) and _is_url(value)):
        raise ValueError("must start with postgresql://, or be empty; in the password write @ as %40")
    return value


def proxy_url(value: str) -> str:
    """The address of a proxy, or an empty text."""
    if value:
        proxies.parse(value)
    return value


def webhook_secret(value: SecretStr) -> SecretStr:
    """A secret as the Standard Webhooks specification writes it, or an empty text."""
    text = value.get_secret_value()
    if text and not _is_webhook_secret(text):
        raise ValueError(
            "must be whsec_ and 24 to 64 bytes in base64; leave it empty, and SaveAny generates one"
        )
    return value


def _is_webhook_secret(text: str) -> bool:
    try:
        decoded = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return False
    return _MIN_SECRET_BYTES <= len(decoded) <= _MAX_SECRET_BYTES


def key_secret(value: SecretStr) -> SecretStr:
    """The secret of a key: long enough that nobody guesses it."""
    if not _MIN_KEY_LENGTH <= len(value.get_secret_value().strip()) <= _MAX_KEY_LENGTH:
        raise ValueError("must have 20 to 255 characters, chosen at random")
    return value


def host_and_port(value: str) -> str:
    """`host:port`, or an empty text."""
    host, _, port = value.rpartition(":")
    if value and not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError('must be "host:port"')
    return value


def log_level(value: object) -> object:
    """The name of a log level in lower case; `warn` and `fatal` are SaveAny-Bot's names for two of them."""
    if not isinstance(value, str):
        return value
    return {"warn": "warning", "fatal": "critical"}.get(value.lower(), value.lower())


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def local_address(host: str) -> str:
    """The address at which this machine reaches a server bound to `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not bound


def storage_and_folder(value: str) -> str:
    """STORAGE:FOLDER, or an empty text."""
    storage, _, path = value.partition(":")
    if value and not storage:
        raise ValueError("must look like STORAGE:FOLDER, such as nas:films")
    if ".." in path.split("/"):
        raise ValueError('must not lead out of the storage with ".."')
    return value
