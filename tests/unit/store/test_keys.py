"""The list of keys: one entry per kind of key, with the spelling used by the scripts."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from saveany.store import keys

LUA = sorted((each.name, each.read_text()) for each in (files("saveany.store") / "lua").iterdir())


@pytest.mark.parametrize(("name", "source"), LUA, ids=[name for name, _ in LUA])
def test_every_key_of_a_script_is_listed(name: str, source: str) -> None:
    code = re.sub(r"--.*", "", source)
    beginnings = [key.pattern.split("<")[0] for key in keys.KEYS]
    for found in re.findall(r"P \.\. '([^']+)'", code):
        channel = found in (keys.CONTROL, keys.PROGRESS)
        assert channel or any(found in (each, each.rstrip(":")) for each in beginnings), (name, found)


def test_no_pattern_is_listed_twice() -> None:
    patterns = [key.pattern for key in keys.KEYS]
    assert len(patterns) == len(set(patterns))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sa:task:0abc", keys.TASK),
        ("sa:running", keys.RUNNING),
        ("sa:running:7", keys.RUNNING_OF),
        ("sa:people:changed:x", keys.PREFERENCE_CHANGE),
        ("sa:suffix:local1:a:b\nc.bin", keys.SUFFIX),
        ("sa:telegram:flood:7:2", keys.ACCOUNT_FLOOD),
        ("sa:telegram:7:peers", keys.ACCOUNT_CHATS),
        ("sa:wake:tgfiles/local1", keys.WAKE_UPS),
        ("sa:nothing", None),
        ("queued", None),
    ],
)
def test_a_key_is_recognized_by_its_name(name: str, kind: keys.Key | None) -> None:
    assert keys.find(name) is kind
    assert keys.expected_type(name) == (kind.type if kind else "")


def test_a_key_is_built_from_its_fields() -> None:
    assert keys.READY(7, "tgfiles/local1") == "sa:ready:7:tgfiles/local1"
    assert keys.QUEUED() == "sa:queued"
