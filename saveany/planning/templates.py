"""Templates for names and folders, as users write them: `{{ date|date("%Y/%m") }}/{{ chat }} {{ name }}`.

The language is a small part of Jinja: values, filters, `~`, `if` and comparisons. There are no loops, calls
or attributes, and the output of every value and filter is limited, so no template takes long. Slashes in the
template separate folders; slashes in values do not.

    name      the file's own name, without its extension    ext    its extension
    text      of the message or of the album                tags   the hashtags in it, joined with _
    chat      name or id of the chat it was posted in       chatid its id
    msgid     number of the message                         n      number of the file within the task
    date      when it was posted, UTC                       year, month, day
    kind      document, photo, video, voice, audio …        size   bytes
    album     name of its album, empty without one          folder the chosen folder, for rules

    date(format)  as in date|date("%Y-%m")    pad(digits)  as in n|pad(3)    cut(characters)
    default(value)  replace(old, new)  lower  upper  title  trim

SaveAny-Bot's names also work, including the dot in `{{.msgid}}`: msgtags, msggen, msgdate, msgraw, origname.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

from saveany.errors import InvalidInput
from saveany.planning import paths
from saveany.planning.facts import Facts
from saveany.planning.names import MAX_CAPTION, clean_name, safe_name, split_extension
from saveany.texts import Text

#: Maximum lengths of a template and of a value, in characters, and maximum number of folders.
MAX_LENGTH = 500
_MAX_VALUE = 1000
_MAX_FOLDERS = 8

#: A value in a template of SaveAny-Bot, which uses Go's syntax.
_GO = re.compile(r"\{\{(-?)\s*\.(\w+)\s*(-?)\}\}")
_DIRECTIVE = re.compile(r"%([YymdHMSjaAbBpIUWVGu%])")

SAMPLE = Facts(
    name="Holiday.mkv",
    size=734_003_200,
    number=3,
    folder="downloads",
    text="Our trip to the #sea in #summer",
    kind="video",
    album="Our trip",
    chat="channel",
    chat_id=-1001234567890,
    message_id=123,
    date_ms=1_785_585_600_000,
)


def validate_template(template: str) -> str:
    """`template`, unchanged. Raises `InvalidInput` (field `template`), which names the line of a mistake."""
    preview(template)
    return template


def preview(template: str, facts: Facts = SAMPLE) -> str:
    """The path of a file by this template, below the folder of the task. Raises as `validate_template`."""
    try:
        raw = _render(template, facts)
    except InvalidInput:
        raise
    except Exception as error:  # rendering runs a template of a user, so any error is possible
        raise _refused(Text("a filter or a comparison cannot be applied to its values")) from error
    try:
        paths.folder(raw)
    except InvalidInput as error:
        raise _refused(error.text) from error
    folder, name = file_path(template, facts)
    return paths.join(folder, name)


def file_path(template: str, facts: Facts) -> tuple[str, str]:
    """The folder ("" for none) and the name of a file by this template; every part of them is safe.

    The file keeps its extension. It keeps its name if the template yields none or fails for this file.
    """
    parts = _parts(_rendered(template, facts))
    if not parts:
        return "", facts.name
    extension = split_extension(facts.name)[1]
    name = parts[-1] if parts[-1].lower().endswith(extension.lower()) else parts[-1] + extension
    return "/".join(parts[:-1][:_MAX_FOLDERS]), safe_name(name)


def folder_path(template: str, facts: Facts) -> str | None:
    """The folder by this template, from the root of the storage.

    None if the template yields nothing, as `{{ album }}` does for a file that is in no album.
    """
    raw = _rendered(template, facts) if template else ""
    return "/".join(_parts(raw)[:_MAX_FOLDERS]) if raw else None


def _parts(raw: str) -> list[str]:
    return [part for each in raw.split("/") if (part := clean_name(each))]


def _rendered(template: str, facts: Facts) -> str:
    try:
        return _render(template, facts)
    except Exception:  # the template was only checked with the values of `SAMPLE`
        return ""


def _render(template: str, facts: Facts) -> str:
    return " ".join(_compiled(template)(_variables(facts)).split())


@lru_cache(maxsize=256)
def _compiled(template: str) -> Callable[[dict[str, object]], str]:
    from saveany.planning import jinja  # here, because it costs 5 MB of memory

    if len(template) > MAX_LENGTH:
        raise _refused(Text("it is longer than {limit} characters", {"limit": MAX_LENGTH}))
    try:
        return jinja.compiled(_GO.sub(r"{{\1 \2 \3}}", template), tuple(_variables(SAMPLE)), _FILTERS)
    except InvalidInput as error:
        raise _refused(error.text) from error


def _refused(reason: Text) -> InvalidInput:
    return InvalidInput("the template cannot be used: {reason}", "template", reason=reason)


class _Moment(datetime):
    """A date whose default format can be part of a file name."""

    def __str__(self) -> str:
        return self.strftime("%Y-%m-%d_%H-%M-%S")


def _variables(facts: Facts) -> dict[str, object]:
    stem, extension = split_extension(facts.name)
    date = _Moment.fromtimestamp(facts.date_ms / 1000, facts.date.tzinfo)
    text, tags = _value(" ".join(facts.text.split())), _value("_".join(facts.tags))
    generated = f"{tags}_{facts.message_id}" if tags else text[:MAX_CAPTION].strip()
    return {
        "name": stem,
        "ext": extension.removeprefix("."),
        "text": text,
        "tags": tags,
        "chat": facts.chat or facts.chat_id or "",
        "chatid": facts.chat_id or "",
        "msgid": facts.message_id or "",
        "n": facts.number,
        "date": date,
        "year": f"{date:%Y}",
        "month": f"{date:%m}",
        "day": f"{date:%d}",
        "kind": facts.kind_or_guess,
        "size": facts.size or 0,
        "album": _value(facts.album),
        "folder": facts.folder,
        "msgtags": tags,
        "msggen": generated or facts.message_id or stem,
        "msgdate": str(date),
        "msgraw": text,
        "origname": facts.name,
    }


def _value(text: str) -> str:
    return re.sub(r"[/\\]", "_", text)[:_MAX_VALUE]


# The filters. Each returns at most `_MAX_VALUE` characters.


def _bounded(change: Callable[..., str]) -> Callable[..., str]:
    return lambda value, *args: change(str(value)[:_MAX_VALUE], *args)[:_MAX_VALUE]


def _date(value: object, form: str = "%Y-%m-%d") -> str:
    if not isinstance(value, datetime):
        raise TypeError("the date filter takes a date")
    return _DIRECTIVE.sub(lambda found: value.strftime(found[0]), form)[:_MAX_VALUE]


_FILTERS: dict[str, Callable[..., Any]] = {
    "date": _date,
    "pad": _bounded(lambda text, digits: text.zfill(min(int(digits), 20))),
    "cut": _bounded(lambda text, characters: text[: max(0, int(characters))].rstrip()),
    "default": lambda value, other: value or other,
    "replace": _bounded(lambda text, old, new: text.replace(str(old), str(new)) if str(old) else text),
    "lower": _bounded(str.lower),
    "upper": _bounded(str.upper),
    "title": _bounded(str.title),
    "trim": _bounded(str.strip),
}
