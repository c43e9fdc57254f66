"""The paths of a task's files."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from saveany.models import Item
from workers.path_index import PathIndex


def items(*paths: str) -> list[Item]:
    return [Item(index=i, name=path.rpartition("/")[2], path=path) for i, path in enumerate(paths)]


def moved(item: Item, path: str, storage: str = "") -> Item:
    return Item(index=item.index, name=item.name, path=path, storage=storage)


def test_a_free_path_is_kept() -> None:
    planned = items("d/a.bin", "d/b.bin")
    index = PathIndex(planned)
    assert index.choose(moved(planned[1], "d/c.bin")) == "d/c.bin"
    assert index.choose(planned[0]) == "d/a.bin"
    assert index.choose(moved(planned[1], "d/a.bin", "other")) == "d/a.bin"


def test_a_taken_path_is_numbered_ignoring_case() -> None:
    planned = items("d/a.bin", "d/b.bin", "d/A_1.bin", "d/c.bin")
    index = PathIndex(planned)
    assert index.choose(moved(planned[1], "d/A.bin")) == "d/A_2.bin"
    assert index.choose(moved(planned[3], "d/a.bin")) == "d/a_3.bin"


def test_a_path_that_is_chosen_but_not_recorded_is_taken() -> None:
    planned = items("a", "b", "c")
    index = PathIndex(planned)
    assert index.choose(moved(planned[0], "x")) == "x"
    assert index.choose(moved(planned[1], "x")) == "x_1"
    index.record(moved(planned[0], "y"))  # it went elsewhere in the end
    assert not index.is_taken(planned[2], "x")
    assert index.is_taken(planned[2], "x_1")
    assert not index.is_taken(planned[1], "x_1")


def test_a_file_keeps_its_number_in_a_later_attempt() -> None:
    planned = items("a", "a_1", "a_2", "a_3")
    index = PathIndex(planned)
    for item in (planned[3], planned[1], planned[2], planned[1]):
        assert index.choose(moved(item, "a")) == item.path
    index.record(moved(planned[0], "z"))
    assert index.choose(moved(planned[1], "a")) == "a"


@pytest.mark.parametrize("prefix", ["planned", "numbered"])
def test_the_work_for_each_file_does_not_grow_with_their_number(prefix: str) -> None:
    """Ten thousand files whose names turn out to be the same."""

    def calls(count: int) -> int:
        paths = [f"{prefix}{i}.bin" if prefix == "planned" or not i else f"x_{i}.bin" for i in range(count)]
        planned = items(*paths)
        index = PathIndex(planned)
        made = [0]

        def profile(frame: Any, event: str, argument: Any) -> None:
            made[0] += event in ("call", "c_call")

        sys.setprofile(profile)
        try:
            chosen = [index.choose(moved(item, "x.bin")) for item in planned]
        finally:
            sys.setprofile(None)
        assert len(set(chosen)) == count
        return made[0]

    assert calls(10_000) < 12 * calls(1_000)
