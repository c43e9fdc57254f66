"""The enums of script results have exactly the values documented in the headers of the scripts."""

from __future__ import annotations

import re
from enum import StrEnum
from importlib.resources import files

import pytest

from saveany.store import results

LUA = files("saveany.store") / "lua"

ENUMS: dict[str, type[StrEnum]] = {
    "accept": results.AcceptResult,
    "cancel": results.CancelResult,
    "pause": results.PauseResult,
    "stop": results.StopResult,
    "resume": results.ResumeResult,
    "prioritize": results.PrioritizeResult,
    "retry": results.RetryResult,
    "erase": results.EraseResult,
    "renew": results.ClaimResult,
    "plan": results.ClaimResult,
    "progress": results.ClaimResult,
    "item": results.RecordResult,
    "append": results.AppendResult,
}


def documented(script: str) -> set[str]:
    """The words in quotes in the `Returns` lines of a script's header."""
    header = re.match(r"(--[^\n]*\n)+", (LUA / f"{script}.lua").read_text())
    assert header
    return set(re.findall(r"'(\w+)'", header[0].partition("Returns")[2]))


@pytest.mark.parametrize("script", ENUMS)
def test_an_enum_has_the_words_of_its_script(script: str) -> None:
    assert documented(script) == {each.value for each in ENUMS[script]}


@pytest.mark.parametrize("script", ["checkpoint", "release", "finish"])
def test_neither_a_pause_nor_a_stop_prevents_what_ends_a_claim(script: str) -> None:
    assert documented(script) == {each.value for each in results.ClaimResult} - {"pause", "stop"}
