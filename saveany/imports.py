"""Keeps libraries from loading what SaveAny does not use of them: each module costs memory and time in every
process.

`install` applies to every import that follows; `saveany/__init__.py` calls it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType
from typing import Any

#: Modules that are loaded when one of their names is first used -> the reason why they are imported at all.
_DEFERRED: Mapping[str, str] = {
    "aiohttp": "Telethon imports it for web documents; only s3 uses it",
    "re2": "filters and rules with patterns, which few tasks have",
    "jwt": "redis-py imports it for logins with tokens; it imports cryptography",
}
#: Modules that cannot be imported -> the reason why they would be. Their importers do without them.
_REFUSED: Mapping[str, str] = {
    "httpx._main": "httpx's command line, which imports click, Pygments and rich",
    "pydantic.v1": "FastAPI supports models of Pydantic 1",
}
#: Packages of which only named modules are used -> what the package itself would import.
_BARE: Mapping[str, str] = {
    "sqlalchemy.ext.asyncio": "sessions, and with them SQLAlchemy's ORM, which needs 6 MB",
    "uvicorn": "its command line, which imports click and multiprocessing",
}
#: Names that other modules of such a package take from the package itself -> the module that has them.
_BORROWED: Mapping[str, Mapping[str, str]] = {"uvicorn": {"Config": "uvicorn.config"}}


class _BareLoader(Loader):
    """Loads a package without running its code."""

    def exec_module(self, module: ModuleType) -> None:
        """Leave the package empty, except for borrowed names."""
        borrowed = _BORROWED.get(module.__name__, {})

        def attribute(name: str) -> Any:
            if name not in borrowed:
                raise AttributeError(f"SaveAny does not load {module.__name__}.{name}")
            return getattr(import_module(borrowed[name]), name)

        module.__dict__["__getattr__"] = attribute


class _Finder:
    """Finds the modules in these lists before the usual finders do."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in _REFUSED:
            raise ModuleNotFoundError(f"saveany does not use {name}", name=name)
        if name not in _DEFERRED and name not in _BARE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader) if name in _DEFERRED else _BareLoader()
        return spec


def install() -> None:
    """Defer and refuse imports from now on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@contextmanager
def without(name: str) -> Iterator[None]:
    """Within the block, importing `name` fails unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # documented: the import raises ModuleNotFoundError
    try:
        yield
    finally:
        del sys.modules[name]
