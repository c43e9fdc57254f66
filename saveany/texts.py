"""A text that can be translated: a template, which is also its message id, and the fields in it."""

from __future__ import annotations

from typing import Union

import msgspec

#: What a field may be: another text is translated, too.
Field = Union[str, int, float, "Text"]


class Text(msgspec.Struct, frozen=True):
    """`Text("storage {name} is full", {"name": "nas"})`. `str()` gives the English text.

    Without fields the template is the text: braces in it, as of a file name, are left as they are.
    """

    template: str
    fields: dict[str, Field] = {}

    def __str__(self) -> str:
        return self.template.format(**self.fields) if self.fields else self.template
