"""Resolves a remote of rclone to servers, or to folders of this machine."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

#: `name,key=value,key="value":path`; a name that begins with `:` is the name of a backend.
_REMOTE: Final = re.compile(
    r"""(?P<name>:?[^:,/\\"']+)(?P<options>(?:,[\w-]+(?:=(?:"(?:[^"]|"")*"|'(?:[^']|'')*'|[^,:"']*))?)*)"""
    r":(?P<path>.*)",
    re.DOTALL,
)
_OPTION: Final = re.compile(r""",([\w-]+)(?:=("(?:[^"]|"")*"|'(?:[^']|'')*'|[^,:"']*))?""")
#: Backends that wrap one other remote, and those that wrap several.
_WRAP_ONE: Final = ("alias", "archive", "cache", "chunker", "compress", "crypt", "hasher")
_WRAP_SEVERAL: Final = ("combine", "union")
_MAX_DEPTH: Final = 10
#: The default port of backends with the key `host`, and the key with the address in others.
_PORTS: Final = {"sftp": 22, "ftp": 21, "smb": 445}
_ADDRESSES: Final = {"webdav": "url", "http": "url", "seafile": "url", "s3": "endpoint"}
#: Keys that make rclone connect through another program or a proxy.
_INDIRECT: Final = ("ssh", "socks_proxy", "http_proxy")
Sections = Mapping[str, Mapping[str, str]]


class _InnermostRemote(NamedTuple):
    """A backend that wraps no other remote: its settings, and a path in it."""

    keys: Mapping[str, str]
    path: str


def folders(remote: str, base: str, config: Path | None) -> list[Path]:
    """The local folders that folder `base` of a remote leads to, according to rclone.conf and the
    environment."""
    ends = _resolve(_join(remote, base.strip("/")), _sections(config), 0)
    return [Path(end.path or ".").expanduser().absolute() for end in ends if end.keys["type"] == "local"]


def servers(remote: str, config: Path | None) -> list[tuple[str, int]]:
    """The hosts and ports that a remote leads to, without those behind a proxy."""
    ends = [end.keys for end in _resolve(remote, _sections(config), 0)]
    found = [_server(keys) for keys in ends if not any(keys.get(name) for name in _INDIRECT)]
    return [each for each in dict.fromkeys(found) if each]


def _server(keys: Mapping[str, str]) -> tuple[str, int] | None:
    port = _PORTS.get(keys["type"], 0)
    try:
        if host := keys.get("host", "") if port else "":
            return host, int(keys.get("port") or (990 if keys.get("tls") == "true" else port))
        address = keys.get(_ADDRESSES.get(keys["type"], ""), "")
        url = urlsplit(address if "://" in address else f"https://{address}")
        return (url.hostname, url.port or (80 if url.scheme == "http" else 443)) if url.hostname else None
    except ValueError:
        return None


def _sections(config: Path | None) -> Sections:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    usual = [home / "rclone/rclone.conf", Path("~/.rclone.conf").expanduser()]
    named = config or os.environ.get("RCLONE_CONFIG")
    found = configparser.RawConfigParser(delimiters=("=",), strict=False, default_section="")
    with suppress(OSError, UnicodeError, configparser.Error):  # encrypted, for example
        found.read([named] if named else [path for path in usual if path.is_file()][:1], "utf-8")
    return {name: dict(found[name]) for name in found.sections()}


def _resolve(remote: str, sections: Sections, depth: int) -> Iterator[_InnermostRemote]:
    if (found := _REMOTE.fullmatch(remote)) is None:
        yield _InnermostRemote({"type": "local"}, remote)
        return
    name, path = found["name"], found["path"]
    keys = _keys(name, sections) | {
        key.replace("-", "_"): _unquoted(value) for key, value in _OPTION.findall(found["options"])
    }
    if keys.get("type") not in (None, *_WRAP_ONE, *_WRAP_SEVERAL):
        yield _InnermostRemote(keys, path)
    elif depth < _MAX_DEPTH:
        for below in _below(keys, path):
            yield from _resolve(below, sections, depth + 1)


def _keys(name: str, sections: Sections) -> dict[str, str]:
    """The settings of a remote. Those of the environment override those of the file."""
    if name.startswith(":"):
        return {"type": name[1:]}
    start = f"RCLONE_CONFIG_{name.upper().replace(' ', '_').replace('-', '_')}_"
    given = {
        key.removeprefix(start).lower(): value for key, value in os.environ.items() if key.startswith(start)
    }
    return {**sections.get(name, {}), **given}


def _below(keys: Mapping[str, str], path: str) -> Iterator[str]:
    """The remotes that a remote wraps."""
    if keys.get("type") in _WRAP_ONE:
        yield _join(keys.get("remote", ""), path)
    elif keys.get("type") in _WRAP_SEVERAL:
        for upstream in keys.get("upstreams", "").split():
            if keys["type"] == "union":
                yield _join(re.sub(r":(ro|nc|writeback)$", "", upstream), path)
                continue
            folder, _, remote = upstream.strip('"').partition("=")
            first, _, rest = path.partition("/")
            if first in ("", folder):
                yield _join(remote, rest)


def _join(remote: str, path: str) -> str:
    if not path or remote.endswith(":"):
        return remote + path
    return f"{remote.rstrip('/')}/{path.lstrip('/')}"


def _unquoted(value: str) -> str:
    quote = value[:1]
    return value[1:-1].replace(quote * 2, quote) if quote in ("'", '"') and value else value
