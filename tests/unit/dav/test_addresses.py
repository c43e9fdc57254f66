"""The addresses of the drive, and what a listing says of any name."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote, unquote, urljoin
from xml.etree.ElementTree import fromstring

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.dav.addresses import href, names_of
from saveany.dav.properties import DavResource, PropertyRequest, PropfindKind, Renderer, parse
from saveany.errors import InvalidInput, TooLarge

#: Names as the catalogue may have them: without halves of surrogate pairs, a slash or NUL, and not only dots.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1).filter(
    lambda name: name not in (".", "..")
)


def scope(path: str) -> dict[str, object]:
    """A request for a path, as it is sent by a client."""
    url = httpx.URL(f"http://api{path}")
    return {"raw_path": url.raw_path, "path": unquote(path)}


@given(st.lists(NAMES), st.booleans())
def test_an_address_leads_to_the_names_that_it_was_made_of(names: list[str], is_folder: bool) -> None:
    assert names_of(scope(href("", names, is_folder=is_folder))) == names


@given(st.lists(NAMES, min_size=1))
def test_clients_may_resolve_and_encode_addresses_in_their_own_way(names: list[str]) -> None:
    path = href("", names, is_folder=False)
    assert urljoin("http://api/dav/", path) == f"http://api{path}"
    again = quote(unquote(path), safe="/!$&'()*+,;=:@~")
    assert names_of(scope(again)) == names


@pytest.mark.parametrize("path", ["/", "/api/v1/files", "/davit", "/dav%2Ffilms", "/x/dav"])
def test_other_addresses_are_not_those_of_the_drive(path: str) -> None:
    assert names_of(scope(path)) is None


def test_a_slash_in_a_name_does_not_divide_it() -> None:
    assert names_of(scope("/dav//a%2Fb/%2e%2e/")) == ["a/b", ".."]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(PropfindKind), st.booleans())
def test_a_listing_is_xml_whatever_is_in_a_name(name: str, kind: PropfindKind, is_folder: bool) -> None:
    request = PropertyRequest(kind, [("DAV:", "displayname"), ("", "x"), ("a&<\">'", "y")])
    renderer = Renderer(request)
    resource = DavResource(name, is_folder, size=5, mime=name, etag=f'"{name}"', added_at=1)
    text = renderer.response(href("", [name or "x"], is_folder=is_folder), resource)
    root = fromstring(f"{renderer.begin}{text}{renderer.end}")
    found = root.findtext(".//{DAV:}displayname")
    if kind is not PropfindKind.NAMES and name.isprintable():
        assert found == name


BODY = b'<propfind xmlns="DAV:"><prop><getetag/><x xmlns="y"/></prop></propfind>'


@given(
    st.binary() | st.builds(lambda at, more: BODY[:at] + more + BODY[at:], st.integers(0, 80), st.binary())
)
def test_a_body_is_read_or_refused(body: bytes) -> None:
    with suppress(InvalidInput, TooLarge):
        assert parse(body).kind in PropfindKind


def test_names_that_would_make_a_listing_large_are_refused() -> None:
    """Each resource of a response repeats all names that are not known."""
    names = "".join(f"<p{number}/>" for number in range(200))
    namespace = "n" * 30_000
    body = f'<D:propfind xmlns:D="DAV:" xmlns="{namespace}"><D:prop>{names}</D:prop></D:propfind>'
    with pytest.raises(InvalidInput, match="characters"):
        parse(body.encode())
