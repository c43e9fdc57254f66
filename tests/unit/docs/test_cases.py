"""Each acceptance case of links and of the catalogue has a test, or a measurement, that names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: What the ids in the docstrings of tests stand for.
CASES = {
    "SB1": "/api/info refuses requests without the token, in the words of StreamBot",
    "SB2": "/api/info has StreamBot's six keys; its Python example runs",
    "SB3": "a whole download is counted as served; of an aborted one only the bytes",
    "SB4": "the examples that download one file, and several with threads, run",
    "SB5": "single ranges at every edge; several ranges; units and syntax that are ignored",
    "SB6": "random ranges, aria2 and a resumed curl give the bytes of the file",
    "SB7": "HEAD has the headers and reads nothing from Telegram",
    "SB8": "If-Range with the present and with an old version",
    "SB9": "unknown, malformed and long tokens; links that have ended; who tries tokens is refused",
    "SB10": "tokens are random; nobody lists the links of others",
    "SB11": "openings per address, with their headers; a player is one; false addresses are not believed",
    "SB12": "the traffic of a month",
    "SB13": "hostile file names in headers",
    "SB14": "types that run scripts are never shown",
    "SB15": "pages of other sites may read files; the JavaScript example runs",
    "SB16": "file_uploaded reaches StreamBot's receiver, also when that fails twice, and delays nothing",
    "SB17": "expired references, flood waits and timeouts of Telegram; a body never ends early",
    "SB18": "many slow readers: what is read ahead has a limit; requests stop when clients leave",
    "SB19": "photos, voice messages, stickers, empty files",
    "SB20": "limits survive restarts, and several API processes share them",
    "DL1": "the table of ranges holds for every kind of content",
    "DL2": "any Range header gives right bytes, and never an internal error",
    "DL3": "HEAD ignores Range",
    "DL4": "If-Range with tags, weak tags and dates",
    "DL5": "If-None-Match comes before Range",
    "DL6": "what users report: slow jumps, abandoned readers, old references, televisions",
    "DL7": "a file that has changed is not continued",
    "DL8": "aria2 with 16 connections is one opening; wget continues",
    "DL9": "a revoked link ends its streams; one that expires lets them end",
    "DL10": "links expire by the clock of Redis",
    "DL11": "several API processes share the limits",
    "DL12": "REDbot has no complaints",
    "DL13": "players play and jump",
    "DL14": "the page of a link, and passwords that are not in URLs",
    "DL15": "zips of more than 4 GiB",
    "CA1": "after a kill at any step a file is in the catalogue exactly once",
    "CA2": "a million rows",
    "CA3": "the memory that an ended task leaves",
    "CA4": "deleting a file ends its links in the same call",
    "X1": "an uploaded file is listed, delivered, and gone everywhere when it is deleted",
    "X2": "keys for other APIs, and revoked keys",
    "X3": "all of this runs without Telegram",
}


@pytest.fixture(scope="module")
def texts() -> str:
    """The tests and measurements, except this file."""
    files = [path for folder in ("tests", "bench") for path in (ROOT / folder).rglob("*.py")]
    return "\n".join(path.read_text() for path in files if path.name != Path(__file__).name)


@pytest.mark.parametrize("case", CASES)
def test_a_case_is_named(texts: str, case: str) -> None:
    assert re.search(rf"\b{case}\b", texts), CASES[case]
