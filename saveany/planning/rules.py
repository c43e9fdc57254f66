"""Rules: where a file is saved, depending on its properties. The first rule that matches applies; if none
does, the file goes to the chosen storage and folder.

A rule is written in one line: conditions, all of which must hold, then an arrow and the destination:

    name=\\.mkv$ size>100MB -> nas:Movies/{{ year }}

    name=…   pattern that occurs in the final name of the file (RE2, ignoring case)
    text=…   pattern that occurs in the text of the message, or of the album
    chat=…   the chat that the file comes from: @name, or an id such as -1001234567890
    type=…   kinds of media, as in video,animation
    size>…   at least this size; size<… at most: 500kB, 1.5GB (powers of 1000), 100MiB (of 1024), or bytes
    album=…  yes or no

Put a value with spaces in quotes, and write "" for a quote inside them; a backslash has no special meaning.
The destination is `storage:folder`, `:folder` for the chosen storage, `storage:` for the chosen folder, or
`:` for a rule that changes nothing but keeps later rules from being applied. The folder starts at the root of
the storage and is a template (`saveany.planning.templates`); if it yields nothing, the chosen folder is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from typing import Any, get_args

from msgspec.structs import replace

from saveany.errors import InvalidInput
from saveany.filters import InvalidPattern, Kind, checked_pattern, search
from saveany.models import Rule
from saveany.planning import paths, templates
from saveany.planning.facts import Facts
from saveany.planning.hints import hint
from saveany.texts import Text

#: Maximum number of rules of a user; each task carries a copy of them.
MAX_RULES = 50
#: Maximum length of a pattern, in characters.
MAX_LENGTH = 500

_KINDS: tuple[str, ...] = get_args(Kind)
_UNITS = {
    "": 1,
    "K": 1000,
    "M": 1000**2,
    "G": 1000**3,
    "T": 1000**4,
    "KI": 1024,
    "MI": 1024**2,
    "GI": 1024**3,
    "TI": 1024**4,
}
_FORMAT_UNITS = ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB")
_YES_NO = {"yes": True, "no": False}

# Phone keyboards replace quotes and arrows with typographic ones.
_QUOTES = '"“”'
_QUOTED = rf'[{_QUOTES}](?:[^{_QUOTES}]|""|““|””)*[{_QUOTES}]'
_TOKEN = re.compile(rf"\s*(?:([A-Za-z]+)(=|>=?|<=?)({_QUOTED}|[^\s{_QUOTES}]\S*|)|(->|→)|(\S+))(?=\s|$)")
_BARE = re.compile(rf"[^\s{_QUOTES}]\S*")
_CHAT = re.compile(r"@\w{1,64}|-?\d{1,20}", re.ASCII)
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?) ?([KMGT]?I?)B?", re.IGNORECASE)

#: Extensions of the presets, and the folders they go into.
PRESETS: dict[str, tuple[str, str]] = {
    "video": ("Videos", "mp4|mkv|webm|avi|mov|flv|wmv|m4v|mpe?g|ts|m2ts|3gp|rmvb"),
    "image": ("Images", "jpe?g|png|gif|webp|bmp|tiff?|heic|heif|avif|svg|raw|psd"),
    "audio": ("Audio", "mp3|flac|m4a|aac|ogg|oga|opus|wav|wma|ape|aiff?"),
    "document": ("Documents", "pdf|docx?|xlsx?|pptx?|txt|md|csv|rtf|epub|mobi|azw3|djvu|od[tsp]"),
    "archive": ("Archives", r"zip|rar|7z|tar|t?gz|bz2|xz|zst|iso|dmg"),
}


def first_match(rules: Sequence[Rule], facts: Facts) -> Rule | None:
    """The first rule that matches; None if no rule does."""
    return next((rule for rule in rules if matches(rule, facts)), None)


def matches(rule: Rule, facts: Facts) -> bool:
    """Whether every condition holds. A condition on the size does not hold while the size is unknown."""
    return (
        (not rule.name or search(rule.name, facts.name))
        and (not rule.text or search(rule.text, facts.text))
        and (not rule.chat or _is_chat(rule.chat, facts))
        and (not rule.kinds or facts.kind_or_guess in rule.kinds)
        and _fits(rule, facts.size)
        and (rule.album is None or rule.album == bool(facts.album))
    )


def presets(storage: str, base: str = "") -> tuple[Rule, ...]:
    """Rules that sort files by extension into folders below `base` of a storage ("": the chosen storage)."""
    return tuple(
        Rule(name=rf"\.({extensions})$", storage=storage, folder=paths.join(base, folder))
        for folder, extensions in PRESETS.values()
    )


def validate_rule(rule: Rule, storages: Collection[str]) -> Rule:
    """The rule with its folder normalized.

    Raises `InvalidInput`, whose `field` is the field of `Rule` that is wrong. A storage must be one of
    `storages`.
    """
    for field in ("name", "text"):
        _check_pattern(field, getattr(rule, field))
    if rule.chat and not _CHAT.fullmatch(rule.chat):
        raise InvalidInput(
            "{chat!r} is not a chat; write @name or an id such as -1001234567890", "chat", chat=rule.chat
        )
    for kind in rule.kinds:
        if kind not in _KINDS:
            raise InvalidInput(
                "there is no type {type!r}; {hint}", "kinds", type=kind, hint=hint(kind, _KINDS)
            )
    if rule.max_size is not None and rule.max_size < rule.min_size:
        raise InvalidInput("the minimum size is larger than the maximum size", "max_size")
    if rule.storage and rule.storage not in storages:
        raise InvalidInput(
            "you have no storage {name!r}; {hint}",
            "storage",
            name=rule.storage,
            hint=hint(rule.storage, storages),
        )
    return replace(rule, folder=_checked_folder(rule.folder.strip()))


def parse_rule(line: str) -> Rule:
    """The rule written in `line`. Raises `InvalidInput` for bad syntax; `validate_rule` checks the values."""
    conditions: dict[str, Any] = {}
    at = 0
    while token := _TOKEN.match(line, at):
        key, operator, value, arrow, other = token.groups()
        if arrow:
            storage, folder = _destination(line[token.end() :].strip())
            return Rule(**conditions, storage=storage, folder=folder)
        if other:
            raise InvalidInput("{word!r} is not a condition; {form}", word=other, form=_FORM)
        field, read = _condition_parser(key.lower(), operator)
        if field in conditions:
            raise InvalidInput("{condition} is given twice", field, condition=key + operator[0])
        if not _unquoted(value):
            raise InvalidInput("{condition} has no value", field, condition=key + operator[0])
        conditions[field] = read(_unquoted(value))
        at = token.end()
    raise InvalidInput("an arrow with spaces around it is missing; {form}", form=_FORM)


def format_rule(rule: Rule) -> str:
    """The line from which `parse_rule` makes this rule."""
    album = {None: "", True: "yes", False: "no"}[rule.album]
    values = {
        "name=": rule.name,
        "text=": rule.text,
        "chat=": rule.chat,
        "type=": ",".join(rule.kinds),
        "size>": _format_size(rule.min_size) if rule.min_size else "",
        "size<": _format_size(rule.max_size) if rule.max_size is not None else "",
        "album=": album,
    }
    conditions = [key + _quoted(value) for key, value in values.items() if value]
    storage = _quoted(rule.storage, ":") if rule.storage else ""
    return " ".join([*conditions, "->", f"{storage}:{rule.folder}"])


_FORM = Text('write it as name=\\.mkv$ size>100MB -> storage:folder, values with spaces in "quotes"')


def _is_chat(chat: str, facts: Facts) -> bool:
    if chat.startswith("@"):
        return chat[1:].casefold() == facts.chat.casefold()
    return int(chat) == facts.chat_id


def _fits(rule: Rule, size: int | None) -> bool:
    if size is None:
        return not rule.min_size and rule.max_size is None
    return rule.min_size <= size and (rule.max_size is None or size <= rule.max_size)


def _check_pattern(field: str, pattern: str) -> None:
    if len(pattern) > MAX_LENGTH:
        raise InvalidInput("the pattern is longer than {limit} characters", field, limit=MAX_LENGTH)
    try:
        checked_pattern(pattern)
    except InvalidPattern as error:
        raise InvalidInput("{pattern}: {reason}", field, pattern=pattern, reason=error.text) from error


def _checked_folder(folder: str) -> str:
    try:
        templates.validate_template(folder)
        return folder if "{" in folder else paths.folder(folder) or folder
    except InvalidInput as error:
        raise InvalidInput(error.text, "folder") from error


# Parsing.


def _condition_parser(key: str, operator: str) -> tuple[str, Callable[[str], Any]]:
    """The field of `Rule` for a condition, and the function that parses its value."""
    known: dict[str, tuple[str, Callable[[str], Any]]] = {
        "name=": ("name", str),
        "text=": ("text", str),
        "chat=": ("chat", _chat),
        "type=": ("kinds", _kinds),
        "size>": ("min_size", _size),
        "size<": ("max_size", _size),
        "album=": ("album", _yes_no),
    }
    word = key + operator[0]
    if word not in known:
        raise InvalidInput("there is no condition {word}; {hint}", word=word, hint=hint(word, known))
    return known[word]


def _chat(text: str) -> str:
    return text if text.startswith("@") or text.lstrip("-").isdigit() else f"@{text}"


def _kinds(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(str.strip, text.lower().split(",")))))


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise InvalidInput(
            "{value!r} is not a size; write 500kB, 1.5GB, 100MiB or a number of bytes", "size", value=text
        )
    return int(Decimal(found[1]) * _UNITS[found[2].upper()])


def _yes_no(text: str) -> bool:
    if text.lower() not in _YES_NO:
        raise InvalidInput("album= must be yes or no", "album")
    return _YES_NO[text.lower()]


def _destination(text: str) -> tuple[str, str]:
    quoted = re.match(_QUOTED, text)
    storage = _unquoted(quoted[0]) if quoted else text.partition(":")[0].strip()
    rest = text[quoted.end() :] if quoted else text[len(text.partition(":")[0]) :]
    if not rest.startswith(":"):
        raise InvalidInput(
            "{value!r} is not a destination; write storage:folder, :folder or storage:", "storage", value=text
        )
    return storage, rest[1:].strip()


def _unquoted(value: str) -> str:
    if not re.fullmatch(_QUOTED, value):
        return value
    return re.sub(rf"([{_QUOTES}])\1", r"\1", value[1:-1])


# Formatting.


def _quoted(value: str, bad: str = "") -> str:
    if _BARE.fullmatch(value) and not set(bad) & set(value):
        return value
    return '"' + re.sub(rf"[{_QUOTES}]", lambda quote: quote[0] * 2, value) + '"'


def _format_size(size: int) -> str:
    """`size` in the largest unit that expresses it exactly."""
    factors = ((unit, _UNITS[unit[:-1].upper()]) for unit in _FORMAT_UNITS)
    return next(
        (f"{size // factor}{unit}" for unit, factor in factors if size and size % factor == 0), str(size)
    )
