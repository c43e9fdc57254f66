"""Chats whose messages are made when they are read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from saveany.sandbox.long_chats import LongMessages
from saveany.sandbox.model import StoredMessage

_COUNT = 5


def _made(id_: int) -> StoredMessage:
    return StoredMessage(id=id_, text="made")


@given(st.lists(st.tuples(st.sampled_from(["set", "delete"]), st.integers(1, _COUNT + 3)), max_size=12))
def test_they_behave_like_stored_messages(changes: list[tuple[str, int]]) -> None:
    long, plain = LongMessages(_COUNT, _made), {id_: _made(id_) for id_ in range(1, _COUNT + 1)}
    for what, id_ in changes:
        for each in (long, plain):
            if what == "set":
                each[id_] = StoredMessage(id=id_, text="changed")
            else:
                each.pop(id_, None)
        assert dict(long) == plain
        assert list(long) == sorted(plain)
        assert len(long) == len(plain)
        assert [id_ in long for id_ in range(_COUNT + 5)] == [id_ in plain for id_ in range(_COUNT + 5)]
