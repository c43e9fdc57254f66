"""Web servers that refuse, redirect, ask to wait, or reply with something that is not a complete file."""

from __future__ import annotations

import random

import pytest

from saveany.errors import Permanent, Retryable
from tests.fixtures.site import Page, Site
from tests.integration.sources.conftest import SourceHarness
from tests.unit.net.servers import serving

MIB = 1 << 20
DATA = random.Random(1).randbytes(20 * MIB + 7)


@pytest.mark.parametrize("url", ["http://127.0.0.1:port/a", "http://xn--a/", "http://exa\u200bmple.com/"])
async def test_invalid_urls_are_refused(harness: SourceHarness, url: str) -> None:
    (item,) = await harness.items(url)
    with pytest.raises(Permanent, match="not a valid URL"):
        await harness.prepared(item)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, Permanent),
        (410, Permanent),
        (401, Permanent),
        (400, Permanent),
        (429, Retryable),
        (503, Retryable),
    ],
)
async def test_refusals_are_classified(
    site: Site, harness: SourceHarness, status: int, kind: type[Exception]
) -> None:
    site.pages["/a"] = Page(b"no", status=status, headers={"Retry-After": "7"})
    (item,) = await harness.items(site.url("/a"))
    with pytest.raises(kind) as caught:
        await harness.prepared(item)
    assert str(status) in str(caught.value)
    if isinstance(caught.value, Retryable):
        assert caught.value.after == 7


async def test_endless_retry_after_replies_fail_eventually(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(status=503, headers={"Retry-After": "7"})
    (item,) = await harness.items(site.url("/a"))
    waits = list[float]()
    while not waits or waits[-1]:
        with pytest.raises(Retryable) as caught:
            await harness.prepared(item)
        waits.append(caught.value.after)
    assert waits == [7] * 19 + [0]


async def test_redirects_are_followed(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(status=302, headers={"Location": "/b/c.bin"})
    site.pages["/b/c.bin"] = Page(b"found")
    item, data = await harness.get(site.url("/a"))
    assert (item.name, data) == ("c.bin", b"found")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/a", "more than 10 times"),
        ("http://127.0.0.2/x", "127.0.0.2"),
        ("http://169.254.169.254/latest/", "169.254.169.254"),
        ("file:///etc/passwd", "http"),
        ("http://[", "invalid URL"),
        ("http://a:99999999/", "port|URL"),
        ("http://me:secret@127.0.0.1/", "password"),
    ],
)
async def test_bad_redirects_are_refused(
    site: Site, harness: SourceHarness, location: str, words: str
) -> None:
    site.pages["/a"] = Page(status=301, headers={"Location": location})
    (item,) = await harness.items(site.url("/a"))
    with pytest.raises(Permanent, match=words):
        await harness.prepared(item)


@pytest.mark.parametrize(
    "location", ["http://xn--a/", "http://xn--zzzzzzzzzz99999/", "http://a:b/", "http://\x7f/"]
)
async def test_redirects_to_invalid_urls_are_refused(
    site: Site, harness: SourceHarness, location: str
) -> None:
    site.pages["/a"] = Page(status=302, headers={"Location": location})
    (item,) = await harness.items(site.url("/a"))
    with pytest.raises((Permanent, Retryable), match=r"URL|not valid"):
        await harness.prepared(item)


async def test_ten_redirects_are_followed(site: Site, harness: SourceHarness) -> None:
    for n in range(10):
        site.pages[f"/{n}"] = Page(status=307, headers={"Location": f"{n + 1}"})
    site.pages["/10"] = Page(b"found")
    _, data = await harness.get(site.url("/0"))
    assert data == b"found"


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("9" * 5000, 0, 0),
        ("99999999", 86400, 86400),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400, 86400),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 0, 86400),
        ("soon", 0, 0),
    ],
)
async def test_retry_after_is_respected(
    site: Site, harness: SourceHarness, value: str, least: float, most: float
) -> None:
    site.pages["/a"] = Page(status=503, headers={"Retry-After": value})
    (item,) = await harness.items(site.url("/a"))
    with pytest.raises(Retryable) as caught:
        await harness.prepared(item)
    assert least <= caught.value.after <= most


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-4/50\r\nContent-Length: 50\r\n\r\nhello",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 1-5/5\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-9/5\r\nContent-Length: 10\r\n\r\nhellohello",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-4/" + b"9" * 5000 + b"\r\n\r\n",
    ],
)
async def test_incomplete_responses_are_refused(harness: SourceHarness, answer: bytes) -> None:
    async with serving(answer, close=True) as server:
        with pytest.raises((Retryable, Permanent)):
            await harness.get(f"http://127.0.0.1:{server.port}/a")
