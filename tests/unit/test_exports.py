"""Exports of chats by other programs are read message by message, whatever is wrong in them."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saveany.errors import InvalidInput
from saveany.service import exports
from saveany.service.exports import Export, ExportedFile

_text = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ['\\"messages": [', '"id": 7', "\\x0b", "\x0b", "]}", "\\\\"]
)
_message = st.fixed_dictionaries(
    {"id": st.integers(-(2**31) + 1, 2**31 - 1), "text": _text | st.lists(_text)},
    optional={"file": _text, "photo": _text, "media": st.none()},
)
_chat = st.builds(
    lambda name, id_, messages: {"name": name, "id": id_, "messages": messages},
    _text,
    st.integers(1, 2**40),
    st.lists(_message, max_size=5),
)


def read(text: str) -> list[ExportedFile]:
    return list(Export(io.StringIO(text)).files())


def expected(chats: list[dict[str, Any]]) -> list[ExportedFile]:
    return [
        ExportedFile(chat["id"], each["id"], path)
        for chat in chats
        for each in chat["messages"]
        if (path := each.get("photo") or each.get("file")) and not path.startswith("(File")
    ]


@settings(deadline=None, max_examples=50)
@given(st.lists(_chat, min_size=1, max_size=3), st.integers(1, 40), st.booleans())
def test_files_are_found_wherever_the_text_is_split(
    chats: list[dict[str, Any]], chunk: int, pretty: bool
) -> None:
    text = json.dumps({"about": "x", "chats": {"list": chats}}, indent=1 if pretty else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exports, "_CHUNK", chunk)
        assert read(text) == expected(chats)


@settings(deadline=None, max_examples=50)
@given(_chat.filter(lambda each: each["messages"]), st.data())
def test_a_truncated_export_yields_what_is_complete(chat: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(chat)
    cut = data.draw(st.integers(0, len(text) - 3))
    export = Export(io.StringIO(text[:cut]))
    found = list(export.files())
    assert found == expected([chat])[: len(found)]


def test_telegram_desktops_control_characters_and_placeholders() -> None:
    text = r"""{"name": "a", "type": "public_channel", "id": 15, "messages": [
      {"id": 1, "type": "service", "text": ""},
      {"id": -999999990, "file": "files/old.bin", "text": "VT:\x0b:"},
      {"id": 2, "file": "(File not included. Change data exporting settings to download.)"},
      {"id": 3, "photo": "photos/a.jpg", "text": ["a\\x0b", {"type": "bold", "text": "\\\x1f"}]},
      {"id": "4", "file": "x"}, {"id": 99999999999, "file": "x"}, 5, null]}"""
    assert read(text) == [ExportedFile(15, -999999990, "files/old.bin"), ExportedFile(15, 3, "photos/a.jpg")]


def test_a_file_that_ends_early_says_so_and_one_that_is_no_json_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    export = Export(io.StringIO('{"id": 1, "messages": [{"id": 2, "file": "a"}, {"id": 3, "fi'))
    assert [each.message for each in export.files()] == [2]
    assert export.is_truncated
    monkeypatch.setattr(exports, "_MAX_MESSAGE", 100)
    monkeypatch.setattr(exports, "_CHUNK", 10)
    with pytest.raises(InvalidInput, match="not valid JSON"):
        read('{"messages": [{"id": 2, nonsense' + "x" * 300)
