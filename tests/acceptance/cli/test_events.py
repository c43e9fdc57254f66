"""Reading server-sent events."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from saveany.client.server_events import EventParser

WORDS = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), min_size=1)
TITLES = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    events=st.lists(st.tuples(WORDS, st.builds(lambda t: json.dumps({"t": t}, ensure_ascii=False), TITLES))),
    newline=st.sampled_from(["\n", "\r\n"]),
    data=st.data(),
)
def test_events_do_not_depend_on_how_the_stream_is_split(
    events: list[tuple[str, str]], newline: str, data: st.DataObject
) -> None:
    lines = [": ping", ""]
    for number, (name, text) in enumerate(events):
        lines += [f"event: {name}", f"data: {text}", f"id: {number}", ""]
    stream = "".join(line + newline for line in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    parser = EventParser()
    found = [
        event
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for event in parser.feed(stream[start:end])
    ]
    assert found == [(name, text, str(number)) for number, (name, text) in enumerate(events)]


def test_empty_and_incomplete_events_are_ignored() -> None:
    parser = EventParser()
    assert parser.feed(b"data: 1\n\nevent: x\n\n:c\n\ndata:2\ndata: 3\n\ndata: cut") == [
        ("message", "1", ""),
        ("message", "2\n3", ""),
    ]
