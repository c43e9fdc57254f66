"""Where a video is cut, and what a killed worker leaves."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from storages.telegram.video_parts import PREFIX, CannotCut, cut_points, remove_leftovers


def listed(*packets: str) -> bytes:
    """The output of ffprobe: stream, time, bytes, and K for a key frame."""
    return "\n".join(",".join(each.split()) for each in packets).encode()


GROUPS = listed(
    "0 0 10 K_", "1 0 5 K_", "0 1 10 __", "0 2 10 K_", "1 1 5 K_", "0 3 10 __", "0 4 10 K_", "0 5 10 __"
)


@pytest.mark.parametrize(
    ("limit", "expected"), [(70, []), (69, [4]), (50, [4]), (49, [2]), (44, [2, 4]), (25, [2, 4]), (24, None)]
)
def test_cuts_are_at_the_last_key_frame_within_the_limit(limit: int, expected: list[int] | None) -> None:
    if expected is None:
        with pytest.raises(CannotCut, match="too few key frames"):
            cut_points(GROUPS, 0, limit)
    else:
        assert cut_points(GROUPS, 0, limit) == expected


def test_a_key_frame_on_whose_predecessors_later_frames_depend_is_not_used() -> None:
    """Those are shown before it, and could not be decoded."""
    opened = listed("0 0 10 K_", "0 1 10 __", "0 4 10 K_", "0 2 10 __", "0 3 10 __", "0 5 10 K_", "0 6 10 __")
    assert cut_points(opened, 0, 60) == [5]
    with pytest.raises(CannotCut):
        cut_points(opened, 0, 40)


def test_lines_with_more_or_fewer_fields_are_read() -> None:
    assert cut_points(b"1,-1024,258,KD,\n\n0,0,10,K_,side\n0,5,10,K_\n", 0, 270) == [1]


def test_what_killed_workers_have_left_is_removed(tmp_path: Path) -> None:
    """Not what another worker is using, or has just begun."""
    for name in (f"{PREFIX}old", f"{PREFIX}used", f"{PREFIX}new", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.mp4").touch()
        if not name.endswith("new"):
            os.utime(tmp_path / name, (time.time() - 100,) * 2)
    used = os.open(tmp_path / f"{PREFIX}used", os.O_RDONLY)
    fcntl.flock(used, fcntl.LOCK_EX)
    remove_leftovers(tmp_path)
    os.close(used)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", f"{PREFIX}new", f"{PREFIX}used"]
