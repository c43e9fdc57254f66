"""The configuration: config.toml and SAVEANY_… variables in, one frozen `Config` out.

schema.py  the tables, one pydantic model each: names, types, defaults, descriptions
load.py    finds, reads and checks the file; every problem with its line
keys.py    the schema as a flat list of keys: variables, `config get|set`, did-you-mean
compat.py  what a SaveAny-Bot config.toml may have that does nothing here
lines.py   key -> line number
hints.py   did-you-mean
write.py   changes a config.toml safely
docs.py    config.example.toml and docs/reference/config.md
"""

from saveany.config.loader import load
from saveany.config.schema import AccountConfig, ApiConfig, Config, TelegramConfig, User

__all__ = ["AccountConfig", "ApiConfig", "Config", "TelegramConfig", "User", "load"]
