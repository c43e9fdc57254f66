"""What is left of the originals in a watched folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from saveany.config import Config
from saveany.local_files import Version
from saveany.models import Item, TaskSpec
from workers.sources.base import Tools
from workers.sources.inbox import InboxSource, inbox_params


@pytest.mark.parametrize(
    ("after", "stored_size", "reference", "is_kept"),
    [
        ("delete", 8, {}, False),
        ("delete", 5, {}, True),
        ("delete", 8, {"parts": [{"name": "a (1 of 2).mp4"}]}, True),
        ("move", 5, {}, False),
    ],
)
def test_the_original_of_an_altered_file_is_not_deleted(
    tmp_path: Path, after: str, stored_size: int, reference: dict[str, Any], is_kept: bool
) -> None:
    table: Any = {"path": tmp_path, "after": after}
    config = Config(inboxes=(table,))
    (inbox,) = config.inboxes
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"original")
    source = inbox_params(inbox, "a.jpg", Version.of(photo.stat()))
    item = Item(index=0, name="a.jpg", path="a.jpg", size=stored_size, source=source, reference=reference)
    spec = TaskSpec(id="1", type="inbox", links=("a.jpg",), user_id=1, storage="tg", params=source)
    asyncio.run(InboxSource(Mock(Tools, config=config)).remove(item, spec))
    assert photo.exists() == is_kept
    assert (tmp_path / "saved" / "a.jpg").exists() == (after == "move")
