"""Generates config.example.toml and docs/reference/config.md from the schema.

`python -m saveany.config.docs` writes both files.

In the example, a line `#key = value` is a setting to uncomment; a line `# words` is an explanation.
"""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from saveany.config import compat, keys
from saveany.config.schema import Config
from saveany.config.table import Table
from saveany.config.variables import OTHERS
from storages import registry

EXAMPLE = Path("config.example.toml")
REFERENCE = Path("docs/reference/config.md")

_TYPES = {"bool": "true or false", "int": "whole number", "float": "number", "Path": "path"}


@dataclass(frozen=True, slots=True)
class Section:
    """One table of the file: header, description and keys. The header of the top level is empty."""

    header: str
    about: str
    fields: dict[str, FieldInfo]
    fixed: dict[str, Any]  # values to show in the example

    @property
    def is_list(self) -> bool:
        """Whether the file may have several of these tables."""
        return self.header.startswith("[[")


def sections() -> list[Section]:
    """Every table of the configuration, in an order that TOML allows."""
    return [*_tables(Config, ""), *(_storage(type_) for type_ in registry.TYPES)]


def _tables(model: type[BaseModel], name: str, brackets: str = "[]") -> Iterator[Section]:
    inner = {key: field for key, field in model.model_fields.items() if keys.element(field.annotation)}
    own = {key: field for key, field in model.model_fields.items() if key not in inner}
    header = f"{brackets[: len(brackets) // 2]}{name}{brackets[len(brackets) // 2 :]}" if name else ""
    yield Section(header, inspect.cleandoc(model.__doc__ or ""), own, {})
    for key, field in inner.items():
        element = keys.element(field.annotation)
        if element and issubclass(element, Table):
            several = get_origin(field.annotation) is tuple
            yield from _tables(element, f"{name}.{key}".lstrip("."), "[[]]" if several else "[]")


def _storage(type_: str) -> Section:
    model = registry.options_model(type_)
    if model is None:
        raise AssertionError(f"storage type {type_} has no options")
    about = f"Storage of type {type_}: {registry.TYPES[type_].description}."
    return Section("[[storages]]", about, dict(model.model_fields), {"type": type_, "name": f"{type_}1"})


def example() -> str:
    """The text of config.example.toml."""
    return "\n".join(
        [
            "# SaveAny's configuration: every key, with its default value or an example.",
            "# To set a key, remove the # in front of it. `saveany init` writes a short file to start with.",
            "# This file is generated from saveany/config/schema.py.",
            *(line for section in sections() for line in _example(section)),
            "",
        ]
    )


def _example(section: Section) -> Iterator[str]:
    yield ""
    yield from _comment(section.about)
    if section.header:
        yield f"#{section.header}" if section.is_list else section.header
    for name, field in section.fields.items():
        yield ""
        yield from _comment(field.description or "")
        yield f"#{name} = {_literal(section.fixed.get(name, _sample(field)))}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()), 108, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )


def _sample(field: FieldInfo) -> Any:
    """A value to show: the example if the field has one, else the default."""
    if field.examples:
        return field.examples[0]
    return "/path/to/folder" if field.is_required() and field.annotation is Path else _default(field)


def _default(field: FieldInfo) -> Any:
    return None if field.default is PydanticUndefined else keys.plain(field.default, reveal=True)


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # the same as TOML for text, numbers, booleans and lists


def reference() -> str:
    """The text of docs/reference/config.md."""
    return "\n".join(
        [
            "# Configuration",
            "",
            "<!-- Generated from saveany/config/schema.py by `python -m saveany.config.docs`. -->",
            "",
            *textwrap.dedent(_INTRODUCTION).strip().splitlines(),
            "",
            *(f"- `{name}`: {about}." for name, about in OTHERS.items()),
            *(line for section in sections() for line in _reference(section)),
            "",
            "## Keys of SaveAny-Bot",
            "",
            "A config.toml of SaveAny-Bot loads unchanged. These keys and tables have no effect; each gives "
            "a warning:",
            "",
            *(f"- `{name}` {why}." for name, why in compat.IGNORED.items()),
            "",
            "Two defaults differ: the API and each storage are enabled unless they have `enable = false`.",
            "",
        ]
    )


_INTRODUCTION = """
    SaveAny reads one TOML file: the one that `--config` or `SAVEANY_CONFIG` names, else `./config.toml`, else
    `/etc/saveany/config.toml`. Without a file it uses the defaults and environment variables. Relative paths
    start from the folder of the file. An unknown key or a value of the wrong type is an error, which names
    the line.

    Environment variables override the file. The name of a variable consists of `SAVEANY_`, the table and the
    key: `SAVEANY_WORKERS`, `SAVEANY_API_PORT`, `SAVEANY_TELEGRAM_PROXY_URL`. Separate the entries of a list
    by commas, or write JSON; `SAVEANY_USERS` and `SAVEANY_STORAGES` are JSON lists of tables. A secret can
    also be read from a file: `SAVEANY_API_TOKEN_FILE` is the path of a file that contains `api.token`. An
    empty variable counts as not set. An unknown variable that starts with `SAVEANY_` is an error.

    - `saveany init` asks a few questions and writes a first file.
    - `saveany config show` prints the settings in effect, `saveany config set KEY VALUE` changes one key.

    These variables are not keys:

"""


def _reference(section: Section) -> Iterator[str]:
    yield from ("", f"## {_title(section)}", "", section.about, "")
    yield "| Key | Type | Default | Description |"
    yield "|---|---|---|---|"
    for name, field in section.fields.items():
        meaning = (field.description or "").replace("|", "\\|")
        yield f"| `{name}` | {_type(field)} | {_default_text(field)} | {meaning} |"


def _title(section: Section) -> str:
    kind = f", type {section.fixed['type']}" if section.fixed else ""
    return f"`{section.header}`{kind}" if section.header else "Top level"


def _type(field: FieldInfo) -> str:
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "list"
    if "SecretStr" in str(annotation):
        return "secret"
    return _TYPES.get(getattr(annotation, "__name__", ""), "text")


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "see description" if field.default is PydanticUndefined else f"`{_literal(_default(field))}`"


def write(root: Path) -> None:
    """Write both files under `root`, the root of the repository."""
    (root / EXAMPLE).write_text(example())
    (root / REFERENCE).parent.mkdir(parents=True, exist_ok=True)
    (root / REFERENCE).write_text(reference())


if __name__ == "__main__":
    write(Path(__file__).parents[2])
