"""Texts in records: translatable ones, and the finished ones of older versions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from saveany.models import WorkerInfo
from saveany.store.archives import Archive
from saveany.store.queries import QueryResult
from saveany.texts import Text, loaded, stored

FULL = Text("the disk of {name} is full", {"name": "nas"})
RECORDS: dict[type, dict[str, Any]] = {
    WorkerInfo: {"id": "w", "host": "h", "pid": 1, "started_at": 1},
    Archive: {"id": "w", "user_id": 1, "chat": -1, "title": "t", "account": "me", "created_at": 1},
    QueryResult: {},
}


def again(record: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(record), type=type(record))


def old(type_: type, **fields: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(RECORDS[type_] | fields), type=type_)


@pytest.mark.parametrize("text", [FULL, Text("{braces} in a file name"), None])
def test_a_text_is_the_same_after_storing(text: Text | None) -> None:
    for group in ("storages", "sources", "accounts"):
        info = again(replace(old(WorkerInfo), **{group: {"a": stored(text)}}))
        assert loaded(getattr(info, group)["a"]) == text
    assert loaded(again(Archive(**RECORDS[Archive], problem=stored(text))).problem) == text
    assert loaded(again(QueryResult(message=stored(text))).message) == text


def test_records_of_older_versions_have_finished_texts() -> None:
    info = old(WorkerInfo, storages={"a": "", "b": "{full}"}, sources={"c": "no"}, accounts={"d": ""})
    found = [loaded(each) for each in (*info.storages.values(), *info.sources.values())]
    assert found == [None, Text("{full}"), Text("no")]
    assert loaded(info.accounts["d"]) is None
    assert loaded(old(Archive, problem="gone").problem) == Text("gone")
    assert old(QueryResult, error="NotFound", message="no folder").text == Text("no folder")
