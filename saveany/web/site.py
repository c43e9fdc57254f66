"""The files of the web UI as they are served: compressed once, at addresses with a hash of all of them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}
_PAGE: Final = "index.html"
#: The names by which modules import the libraries.
_LIBRARIES: Final = {
    "preact": "preact.js",
    "preact/hooks": "hooks.js",
    "@preact/signals": "signals.js",
    "@preact/signals-core": "signals-core.js",
    "htm": "htm.js",
}
#: A static import, such as `import { t } from "./texts.js"`; not `import("./views/links.js")`.
_IMPORT: Final = re.compile(r"""\b(?:import|export)\b[^"'();]*?\bfrom\s*["']([^"']+)["']""")
#: The modules with which a first visit begins.
_FIRST: Final = ("app.js", "views/now.js")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    media_type: str
    compressed: bytes  # with gzip

    @property
    def content(self) -> bytes:
        """The file itself."""
        return gzip.decompress(self.compressed)


class Site:
    """All files of the web UI."""

    def __init__(self, sources: Mapping[str, bytes]) -> None:
        """`sources` are the contents of the files by path."""
        digest = hashlib.sha256()
        for path, content in sorted(sources.items()):
            digest.update(f"{path}\n{len(content)}\n".encode() + content)
        #: Changes with every file. It is a part of the addresses, whose contents therefore never change.
        self.version: Final = digest.hexdigest()[:16]
        self._assets = {
            path: Asset(_TYPES[path.rpartition(".")[2]], gzip.compress(content, 9, mtime=0))
            for path, content in sources.items()
            if path.rpartition(".")[2] in _TYPES and path != _PAGE
        }
        #: The first page, and the headers that it needs.
        self.page, self.headers = self._make_page(sources)

    def asset(self, version: str, path: str) -> Asset | None:
        """A file of this version, None if there is none."""
        return self._assets.get(path) if version == self.version else None

    def _make_page(self, sources: Mapping[str, bytes]) -> tuple[Asset, Mapping[str, str]]:
        root = f"assets/{self.version}"
        imports = {name: f"./{root}/vendor/{file}" for name, file in _LIBRARIES.items()}
        map_ = json.dumps({"imports": imports})
        modules = dict.fromkeys(each for first in _FIRST for each in _imported(sources, first))
        preloads = "\n".join(f'<link rel="modulepreload" href="{root}/{path}">' for path in modules)
        text = sources[_PAGE].decode()
        for name, value in {"ROOT": root, "IMPORTS": map_, "PRELOADS": preloads}.items():
            text = text.replace(f"%{name}%", value)
        asset = Asset(_TYPES["html"], gzip.compress(text.encode(), 9, mtime=0))
        etag = hashlib.sha256(text.encode()).hexdigest()[:32]
        return asset, {**_headers(map_), "etag": f'"{etag}"'}


def _headers(import_map: str) -> Mapping[str, str]:
    """The page runs only its own modules, shows only files of this host, and is in no frame."""
    digest = base64.b64encode(hashlib.sha256(import_map.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; "
        "img-src 'self' data: blob:; media-src 'self'; connect-src 'self'; manifest-src 'self'; "
        "worker-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return {
        "cache-control": "no-cache",
        "content-security-policy": policy,
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "x-robots-tag": "noindex",
    }


def _imported(sources: Mapping[str, bytes], path: str) -> Iterator[str]:
    """A module, and all that it imports before it can run; each of them at least once."""
    todo, seen = [path], set[str]()
    while todo:
        if (module := todo.pop()) in seen:
            continue
        seen.add(module)
        yield module
        for name in _IMPORT.findall(sources[module].decode()):
            if name in _LIBRARIES:
                todo.append(f"vendor/{_LIBRARIES[name]}")
            elif name.startswith("."):
                todo.append(posixpath.normpath(posixpath.join(posixpath.dirname(module), name)))


@cache
def site() -> Site:
    """The web UI of this installation."""
    return Site(dict(_files(files("saveany.web"))))


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _files(each, f"{prefix}{each.name}/")
        elif each.name.rpartition(".")[2] in _TYPES:
            yield f"{prefix}{each.name}", each.read_bytes()
