"""Folders given by users: common, unsafe and random ones."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.errors import InvalidInput
from saveany.planning.names import safe_name
from saveany.planning.paths import MAX_PATH_BYTES, folder, join

ACCEPTED = {
    "": "",
    "/": "",
    ".": "",
    "//./": "",
    "/downloads": "downloads",
    "downloads": "downloads",
    "/downloads/": "downloads",
    "a//b/./c": "a/b/c",
    "~/x": "~/x",
    "a/..b/c..": "a/..b/c..",
    ".hidden": ".hidden",
    "Фильмы/日本": "Фильмы/日本",
    "\u0645\u200c\u0647": "\u0645\u200c\u0647",  # Persian
    "a/x: y": "a/x: y",
    "%2e%2e/x": "%2e%2e/x",
    "a" * 255: "a" * 255,
    "//server/share": "server/share",
}

REFUSED = {
    "..": "dots",
    "/..": "dots",
    "a/../b": "dots",
    "a/b/..": "dots",
    "./..": "dots",
    "a/.. /b": "dots",
    "a/.../b": "dots",
    "a/ /b": "dots",
    "a\\b": "backslash",
    "..\\..\\x": "backslash",
    "\\\\server\\share": "backslash",
    "C:": "drive",
    "c:/windows": "drive",
    "/C:/windows": "drive",
    "./C:x": "drive",
    "a\0b": "control",
    "a\nb": "control",
    "a\x7f": "control",
    "a\u202eb": "control",
    "a\u2066b": "control",
    "a\u200bb": "control",
    "a\u2028b": "control",
    "a\ud800b": "control",
    ".saveany-storage": "reserved by SaveAny",
    "a/.SaveAny-x/b": "reserved by SaveAny",
    "a/.film.mkv.0123456789abcdefghij-0.1.partial": "reserved by SaveAny",
    "a" * 256: "255 bytes",
    "я" * 128: "255 bytes",
    "/".join(["a" * 200] * 21): "4096 bytes",
}


@pytest.mark.parametrize("text", ACCEPTED)
def test_folder_is_relative_to_the_storage(text: str) -> None:
    assert folder(text) == ACCEPTED[text]


@pytest.mark.parametrize("text", REFUSED)
def test_folder_that_could_leave_the_storage_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=REFUSED[text]) as caught:
        folder(text)
    assert caught.value.field == "folder"


def test_path_of_the_full_length_is_accepted() -> None:
    path = "/".join(["a" * 240] * 17)
    assert len(path) == MAX_PATH_BYTES
    assert folder(path) == path


def test_paths_are_joined() -> None:
    assert join(folder("/"), "a.pdf") == "a.pdf"
    assert join(folder("/x/y/"), "a.pdf") == "x/y/a.pdf"


PIECES = ["..", ".", "/", "\\", "C:", "~", "a", " ", "\0", "\u202e", "x" * 250, "é", "%2e"]
hostile = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@given(text=st.text() | hostile, name=st.text() | hostile)
def test_any_accepted_path_stays_inside_the_storage(text: str, name: str) -> None:
    try:
        path = folder(text)
    except InvalidInput:
        return
    assert folder(path) == path
    whole = join(path, safe_name(name))
    assert posixpath.normpath(f"/base/{whole}") == f"/base/{whole}"
    assert len(path.encode()) <= MAX_PATH_BYTES
