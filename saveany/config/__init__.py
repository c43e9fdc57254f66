"""The configuration: `load` makes one frozen `Config` from config.toml and SAVEANY_… variables.

schema.py     the tables, one pydantic model each: names, types, defaults, descriptions
table.py      what the tables share
values.py     checks of single values
loader.py     finds, reads and checks the file; reports all problems with their lines
variables.py  SAVEANY_… environment variables
folders.py    folders that a storage must not use
keys.py       the schema as a flat list of keys: variables, `config get|set`, hints
compat.py     keys of SaveAny-Bot's config.toml that have no effect
lines.py      key -> line number
hints.py      did-you-mean
write.py      changes a config.toml without breaking it
docs.py       config.example.toml and docs/reference/config.md
"""

from saveany.config.loader import load
from saveany.config.schema import AccountConfig, ApiConfig, Config, TelegramConfig, User

__all__ = ["AccountConfig", "ApiConfig", "Config", "TelegramConfig", "User", "load"]
