"""Links to the posts of a watched chat."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from saveany.archives.posts import links_to
from saveany.telegram.links import parse
from saveany.telegram.media import Location, Media


def media(message: int, username: str, album: int | None) -> Media:
    return Media(
        chat_id=-1001600000001,
        message_id=message,
        document_id=message,
        kind="video",
        size=1,
        name=None,
        mime_type="",
        caption="",
        date_ms=0,
        grouped_id=album,
        dc_id=2,
        account="me",
        location=Location(1, b""),
        chat_username=username,
    )


@given(
    st.sets(st.integers(1, 30), min_size=1, max_size=10),
    st.sampled_from(["", "some_name"]),
    st.sampled_from([None, 5]),
)
def test_links_of_a_watched_chat_lead_to_exactly_the_posted_files(
    ids: set[int], username: str, album: int | None
) -> None:
    found = [parse(link) for link in links_to([media(id_, username, album) for id_ in sorted(ids)])]
    assert {link.chat for link in found} == {1600000001}
    assert [id_ for link in found for id_ in range(link.message, (link.last or link.message) + 1)] == sorted(
        ids
    )
    assert all(link.single for link in found if link.last is None and album)
