"""Replies in XML, without a DOCTYPE and without characters that XML does not permit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from xml.etree.ElementTree import Element, tostring  # nothing is parsed here

Value = str | int | bool | None
_FORBIDDEN: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def node(
    tag: str, fields: Mapping[str, Value] = {}, children: Iterable[Element] = (), *, id_: str = ""
) -> Element:
    """An element with a child for each field that is not None, then with `children`."""
    made = Element(tag, {"id": id_} if id_ else {})
    for name, value in fields.items():
        if value is not None:
            child = Element(name)
            child.text = _text(value)
            made.append(child)
    made.extend(children)
    return made


def document(code: int, message: str, children: Iterable[Element] = ()) -> bytes:
    """A whole reply."""
    head: dict[str, Value] = {"code": code, "msg": message or None}
    return bytes(tostring(node("response", head, children), encoding="UTF-8", xml_declaration=True))


def _text(value: str | int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _FORBIDDEN.sub("", str(value))
