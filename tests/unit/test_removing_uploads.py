"""`saveany upload --move` removes only what is stored."""

from __future__ import annotations

import hashlib
from io import BufferedReader
from pathlib import Path

import pytest

from saveany.cli.uploading import remove_stored
from saveany.local_files import LocalFile, Version


def test_a_file_that_takes_the_place_of_a_stored_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, new = tmp_path / "notes", tmp_path / "new"
    path.write_text("stored")
    new.write_text("not stored")
    file = LocalFile(path, path.name, Version.of(path.stat()))
    digest_of = hashlib.file_digest

    def slow(content: BufferedReader, name: str) -> object:
        new.replace(path)  # as editors save
        return digest_of(content, name)

    monkeypatch.setattr("saveany.cli.uploading.hashlib.file_digest", slow)
    assert "kept" in remove_stored(file, hashlib.sha256(b"stored").hexdigest())
    assert path.read_text() == "not stored"


def test_a_file_whose_stored_content_is_not_known_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_text("original")
    assert "another version" in remove_stored(LocalFile(path, path.name, Version.of(path.stat())), "")
    assert path.exists()
