"""Tables on a terminal: ids are shortened and stay unique."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saveany.cli.client import ID_LENGTH
from saveany.cli.tables import print_tasks


def _task(task_id: str) -> dict[str, Any]:
    progress = {"total_bytes": 5_000_000, "percent": 12.0, "speed_bps": 9e6}
    return {
        "task_id": task_id,
        "status": "running",
        "title": "[tgfiles](a-long-name-of-a-file-that-does-not-fit-into-the-line.mkv->nas:/films)",
        "error": "",
        "created_at": "2026-01-31T18:30:00Z",
        "progress": progress,
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    st.sets(st.text("ab", min_size=ID_LENGTH, max_size=ID_LENGTH), min_size=1, max_size=6),
    st.integers(0, ID_LENGTH - 1),
)
def test_shown_ids_are_unique_prefixes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, ids: set[str], shared: int
) -> None:
    ids = {("c" * shared + each)[:ID_LENGTH] for each in ids}
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    capsys.readouterr()
    print_tasks([_task(each) for each in ids])
    _, *lines = capsys.readouterr().out.splitlines()
    shown = [line.split()[0] for line in lines]
    assert all(sum(each.startswith(some) for each in ids) == 1 for some in shown)
    assert len(set(shown)) == len(ids)
