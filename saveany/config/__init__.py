"""The configuration: `load` makes one frozen `Config` from config.toml and SAVEANY_… variables.

schema.py     the tables, one pydantic model each: names, types, defaults, descriptions
table.py      what the tables share
values.py     checks of single values
files.py      finds and reads the file
loader.py     checks the file; reports all problems with their lines
variables.py  SAVEANY_… environment variables
folders.py    folders that a storage must not use
keys.py       the schema as a flat list of keys: variables, `config get|set`, hints
compat.py     keys of SaveAny-Bot's config.toml that have no effect
lines.py      key -> line number
hints.py      did-you-mean
write.py      changes a config.toml without breaking it
docs.py       config.example.toml and docs/reference/config.md
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saveany.config.loader import load
    from saveany.config.schema import AccountConfig, ApiConfig, Config, TelegramConfig, User

__all__ = ["AccountConfig", "ApiConfig", "Config", "TelegramConfig", "User", "load"]


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` when it is used: `files` is enough for commands that only call the API."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from saveany.config import loader, schema

    return getattr(loader if name == "load" else schema, name)
