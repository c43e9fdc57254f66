"""Rules, name templates and filters of SaveAny-Bot in our syntax.

In SaveAny-Bot the last rule that matches applies, here the first: the order is reversed. Its patterns are
those of Go, which is RE2 as here, but distinguish upper and lower case.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import ValidationError

from saveany.errors import InvalidInput
from saveany.filters import Filter
from saveany.models import Rule
from saveany.moving_in.found import FoundRule, FoundUser, FoundWatch
from saveany.planning import templates
from saveany.planning.rules import validate_rule
from saveany.validation import describe

_CHOSEN, _NEW_FOR_ALBUM = "CHOSEN", "NEW-FOR-ALBUM"
#: A folder for each album, in the folder where the album would be saved otherwise.
_ALBUM_FOLDER = "{{ folder }}/{{ album }}"
#: What Go's `strconv.ParseBool` takes.
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
_MESSAGE_PATTERN = "msgre:"


def rule_of(found: FoundRule, storages: Collection[str]) -> Rule:
    """A rule in our form, for a user with these storages. Raises `InvalidInput` for one that cannot be
    expressed."""
    return validate_rule(
        Rule(
            **_condition(found),
            storage="" if found.storage == _CHOSEN else found.storage,
            folder=_folder(found.folder),
        ),
        storages,
    )


def template_of(user: FoundUser) -> str:
    """The template for names of a user; "" if files keep their own. Raises `InvalidInput`."""
    match user.naming:
        case "default":
            return ""
        case "message":
            return "{{ msggen }}"
        case "template":
            return templates.validate_template(user.template) if user.template else ""
    raise InvalidInput("SaveAny-Bot 0.60 has no such way of naming files: {name}", name=user.naming)


def filter_of(watch: FoundWatch) -> dict[str, Any]:
    """The filter of a watched chat as plain data. Raises `InvalidInput`."""
    if not watch.filter:
        return {}
    if not watch.filter.startswith(_MESSAGE_PATTERN):
        raise InvalidInput("SaveAny-Bot 0.60 has no such filter: {filter}", filter=watch.filter)
    pattern = _case_sensitive(watch.filter.removeprefix(_MESSAGE_PATTERN))
    try:
        return Filter(text=pattern).model_dump(mode="json", exclude_defaults=True)
    except ValidationError as error:
        raise InvalidInput(describe(error.errors()[0])) from None


def _condition(found: FoundRule) -> dict[str, Any]:
    match found.kind:
        case "FILENAME-REGEX":
            return {"name": _case_sensitive(found.data)}
        case "MESSAGE-REGEX":
            return {"text": _case_sensitive(found.data)}
        case "IS-ALBUM" if found.data in _BOOLEANS:
            return {"album": _BOOLEANS[found.data]}
    raise InvalidInput("SaveAny-Bot 0.60 has no such rule: {rule}", rule=f"{found.kind} {found.data}")


def _case_sensitive(pattern: str) -> str:
    """A pattern that distinguishes upper and lower case, which ours do not."""
    if not pattern:
        raise InvalidInput("its pattern is empty")
    if pattern.startswith("(?i)"):
        return pattern.removeprefix("(?i)") or "(?i)"
    return f"(?-i:{pattern})" if pattern.lower() != pattern.upper() else pattern


def _folder(text: str) -> str:
    if text == _NEW_FOR_ALBUM:
        return _ALBUM_FOLDER
    if "{" in text:
        raise InvalidInput("a folder with a brace in its name cannot be written in a rule")
    return "/" if text and not text.strip("/. ") else text
