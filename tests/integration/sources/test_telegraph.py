"""Complete and broken articles of telegra.ph."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from saveany.errors import Permanent, Retryable, TaskError
from tests.fixtures.site import Page, Site
from tests.integration.sources.conftest import SourceHarness
from workers.sources.base import Tools
from workers.sources.telegraph import TelegraphSource


@pytest.fixture
async def harness(tools: Tools) -> AsyncIterator[SourceHarness]:
    source = TelegraphSource(tools)
    yield SourceHarness(source)
    await source.close()


def article(*sources: str) -> Page:
    return Page("".join(f'<figure><img src="{each}"></figure>' for each in sources).encode())


async def test_pictures_and_videos_are_saved_in_order(site: Site, harness: SourceHarness) -> None:
    site.pages["/My-Title-01-31"] = Page(
        b'<img src="/file/b.png"><video src="/file/a.mp4"></video><video><source src="c.webm"></video>'
        b'<img src="/file/b.png"><img alt="none"><p>words</p>'
    )
    for path in ("/file/b.png", "/file/a.mp4", "/c.webm"):
        site.pages[path] = Page(path.encode())
    items = await harness.items(site.url("/My-Title-01-31"))
    assert [item.path for item in items] == [
        "My-Title-01-31/01.png",
        "My-Title-01-31/02.mp4",
        "My-Title-01-31/03.webm",
    ]
    files = [await harness.fetched(await harness.prepared(item)) for item in items]
    assert files == [b"/file/b.png", b"/file/a.mp4", b"/c.webm"]


async def test_numbers_are_padded_for_sorting(site: Site, harness: SourceHarness) -> None:
    site.pages["/T"] = article(*(f"/{number}.jpg" for number in range(100)))
    names = [item.name for item in await harness.items(site.url("/T"))]
    assert names == sorted(names)
    assert (names[0], names[-1]) == ("001.jpg", "100.jpg")


@pytest.mark.parametrize(
    ("path", "headers", "name"),
    [
        ("/p", {"Content-Type": "image/png"}, "01.png"),
        ("/p", {"Content-Disposition": 'attachment; filename="../../x.gif"'}, "01.gif"),
        ("/p", {}, "01.jpg"),
        ("/..%2F..%2Fetc%2Fpasswd.png", {}, "01.png"),
        ("/a.p%2Fng", {}, "01.jpg"),
    ],
)
async def test_pictures_get_names_with_extensions(
    site: Site, harness: SourceHarness, path: str, headers: dict[str, str], name: str
) -> None:
    site.pages["/T"], site.pages[path] = article(path), Page(b"picture", headers=headers)
    item, data = await harness.get(site.url("/T"))
    assert data == b"picture"
    assert item.name == name


@pytest.mark.parametrize("title", ["/..%2F..%2Fetc", "/%2e%2e", "/a%00b", "/x%5C..%5Cy", "/" + "t" * 400])
async def test_the_title_cannot_leave_the_folder(site: Site, harness: SourceHarness, title: str) -> None:
    site.pages[title] = article("/p.png")
    (item,) = await harness.items(site.url(title))
    folder, name = item.path.split("/")
    assert name == "01.png"
    assert folder not in ("", ".", "..")
    assert not set(folder) & set("/\\\0")
    assert len(folder.encode()) <= 255


@pytest.mark.parametrize(
    "page",
    [
        Page(b"<p>words only</p>"),
        article("data:image/png;base64,AAAA", "javascript:alert(1)", "file:///etc/passwd", "ftp://x/y.png"),
        article("http://[bad", "httpx:a", "tg://x"),
        Page(b""),
        Page(bytes(range(256)) * 100),
    ],
)
async def test_an_article_without_pictures_is_an_error(
    site: Site, harness: SourceHarness, page: Page
) -> None:
    site.pages["/T"] = page
    with pytest.raises(Permanent, match="no pictures"):
        await harness.items(site.url("/T"))


async def test_invalid_html_is_refused(site: Site, harness: SourceHarness) -> None:
    site.pages["/T"] = Page(b'<img src="/a.png"><![what is this]><img src="/b.png">')
    with pytest.raises(Permanent, match="not valid HTML"):
        await harness.items(site.url("/T"))


async def test_an_endless_article_is_refused(site: Site, harness: SourceHarness) -> None:
    site.pages["/T"] = Page(b"<p>" * (3 << 20), length=False)
    with pytest.raises(Permanent):
        await harness.items(site.url("/T"))


async def test_a_missing_article_is_reported(site: Site, harness: SourceHarness) -> None:
    with pytest.raises(Permanent, match="404"):
        await harness.items(site.url("/T"))


async def test_a_truncated_article_is_retried(site: Site, harness: SourceHarness) -> None:
    site.pages["/T"] = Page(b"<p>" * 9999, cut_after=100, ranges=False)
    with pytest.raises(Retryable):
        await harness.items(site.url("/T"))


async def test_private_addresses_are_refused(site: Site, harness: SourceHarness) -> None:
    """In a redirect of the article, in the article, and in a redirect of a picture."""
    inside = "http://169.254.169.254/latest/meta-data/x.png"
    site.pages["/moved"] = Page(status=302, headers={"Location": inside})
    with pytest.raises(Permanent, match=r"169\.254\.169\.254"):
        await harness.items(site.url("/moved"))
    site.pages["/T"] = article(inside, "/moved")
    for item in await harness.items(site.url("/T")):
        with pytest.raises(Permanent, match=r"169\.254\.169\.254"):
            await harness.prepared(item)


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        (Page(b"x" * 9999, cut_after=99, ranges=False), Retryable),
        (Page(b"x" * 99, ranges=False, headers={"Content-Length": "100"}), Retryable),
        (Page(b"no", 503), Retryable),
        (Page(b"no", 403), Permanent),
        (Page(b"<p>log in", headers={"Content-Type": "text/HTML; charset=utf-8"}), Permanent),
    ],
)
async def test_an_incomplete_picture_is_an_error(
    site: Site, harness: SourceHarness, page: Page, kind: type[TaskError]
) -> None:
    site.pages["/T"], site.pages["/p.png"] = article("/p.png"), page
    (item,) = await harness.items(site.url("/T"))
    with pytest.raises(kind):
        await harness.fetched(await harness.prepared(item))


async def test_a_picture_continues_where_it_stopped(site: Site, harness: SourceHarness) -> None:
    site.pages["/T"] = article("/p.png")
    site.pages["/p.png"] = Page(b"0123456789" * 999, headers={"ETag": '"1"'}, cut_after=4000, cuts=1)
    (item,) = await harness.items(site.url("/T"))
    item = await harness.prepared(item)
    assert await harness.fetched(item, [(0, 5)]) == (b"0123456789" * 999)[5:]
