"""Translatable texts: a template, which is also the message id, and its fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import msgspec

#: The type of a field. A field that is a `Text` is translated as well.
Field = Union[str, int, float, "Text"]


class Text(msgspec.Struct, frozen=True):
    """`Text("storage {name} is full", {"name": "nas"})`. `str()` gives the English text.

    Without fields the template is the text itself: braces in it, for example in a file name, stay.
    """

    template: str
    fields: dict[str, Field] = {}

    def __str__(self) -> str:
        return self.template.format(**self.fields) if self.fields else self.template


def gettext_noop(text: str) -> str:
    """Return `text` unchanged. It marks a template that is translated where it is shown."""
    return text


class WrongValue(ValueError):
    """A value is not valid, for a validator: `WrongValue("must have {n} lines", n=2)`."""

    def __init__(self, template: str, **fields: Field) -> None:
        self.text = Text(template, fields)
        super().__init__(str(self.text))


def joined(texts: Sequence[Text], separator: str) -> Text:
    """Several texts as one."""
    if len(texts) == 1:
        return texts[0]
    fields: dict[str, Field] = {f"text{n}": text for n, text in enumerate(texts)}
    return Text(separator.join(f"{{{name}}}" for name in fields), fields)


#: A text in a record; "" means none. Older versions stored the finished text.
StoredText = str | Text


def stored(text: Text | None) -> StoredText:
    """The form of a text in records."""
    return text or ""


def loaded(text: StoredText) -> Text | None:
    """The text of a record; None if there is none."""
    return Text(text) if text and isinstance(text, str) else text or None
