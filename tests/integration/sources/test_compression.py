"""Web servers that compress files without a request for it."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable

import pytest

from saveany.errors import Permanent, Retryable
from tests.fixtures.site import Page, Site
from tests.integration.sources.conftest import Sink, SourceHarness

MIB = 1 << 20
DATA = random.Random(1).randbytes(20 * MIB + 7)


@pytest.mark.parametrize("ranges", [True, False])
async def test_unrequested_gzip_is_decompressed(site: Site, harness: SourceHarness, ranges: bool) -> None:
    packed = gzip.compress(DATA[:MIB], 1, mtime=0) + gzip.compress(DATA[MIB:], 1, mtime=0)
    site.pages["/a.txt"] = site.pages["/a.tgz"] = Page(
        packed, ranges=ranges, headers={"Content-Encoding": "gzip"}
    )
    assert (await harness.get(site.url("/a.txt")))[1] == DATA
    assert (await harness.get(site.url("/a.tgz")))[1] == packed


@pytest.mark.parametrize(
    "pack",
    [
        lambda: gzip.compress(DATA, 1, mtime=0)[:-5],
        lambda: b"no gzip",
        lambda: gzip.compress(b"a", mtime=0) + b"more",
    ],
)
async def test_damaged_gzip_is_an_error(
    site: Site, harness: SourceHarness, pack: Callable[[], bytes]
) -> None:
    site.pages["/a"] = Page(pack(), headers={"Content-Encoding": "gzip"})
    with pytest.raises(Retryable, match="compressed"):
        await harness.get(site.url("/a"))


async def test_decompressed_bytes_arrive_in_small_chunks(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(gzip.compress(bytes(64 * MIB)), headers={"Content-Encoding": "gzip"})
    (item,) = await harness.items(site.url("/a"), max_bytes=8 * MIB)
    item, sink = await harness.prepared(item), Sink()
    with pytest.raises(Permanent, match="max_bytes"):
        await harness.source.fetch(item, sink.write)
    assert max(map(len, sink.parts.values())) <= 2 * MIB


@pytest.mark.parametrize(
    "pack",
    [
        lambda: zlib.compress(DATA, 1),
        lambda: zlib.compress(DATA, 1)[2:-4],  # some servers forget what goes around it
        lambda: zlib.compress(DATA[:MIB], 1) + zlib.compress(DATA[MIB:], 1),
    ],
)
@pytest.mark.parametrize("ranges", [True, False])
async def test_unrequested_deflate_is_decompressed(
    site: Site, harness: SourceHarness, pack: Callable[[], bytes], ranges: bool
) -> None:
    site.pages["/a"] = Page(pack(), ranges=ranges, headers={"Content-Encoding": "deflate"})
    item, data = await harness.get(site.url("/a"))
    assert (item.size, data) == (None, DATA)


@pytest.mark.parametrize("more", range(1, 16))
async def test_output_after_the_last_input_is_not_lost(site: Site, harness: SourceHarness, more: int) -> None:
    """Without zlib's header and checksum all input is consumed before the end of the output."""
    data, packer = bytes((1 << 20) + more), zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(data) + packer.flush()
    site.pages["/a"] = Page(packed, headers={"Content-Encoding": "deflate"})
    assert (await harness.get(site.url("/a")))[1] == data


@pytest.mark.parametrize(
    "pack",
    [
        lambda: zlib.compress(DATA, 1)[:-5],
        lambda: b"no zlib",
        lambda: b"x",
        lambda: zlib.compress(b"a") + b"more",
    ],
)
async def test_damaged_deflate_is_an_error(
    site: Site, harness: SourceHarness, pack: Callable[[], bytes]
) -> None:
    site.pages["/a"] = Page(pack(), headers={"Content-Encoding": "deflate"})
    with pytest.raises(Retryable, match="compressed"):
        await harness.get(site.url("/a"))


@pytest.mark.parametrize("coding", ["br", "zstd", "BR", "compress", "gzip, br", "dcz", "x-unheard-of"])
@pytest.mark.parametrize("ranges", [True, False])
async def test_an_unknown_compression_is_an_error(
    site: Site, harness: SourceHarness, coding: str, ranges: bool
) -> None:
    site.pages["/a.bin"] = Page(b"packed", ranges=ranges, headers={"Content-Encoding": coding})
    with pytest.raises(Permanent, match="compressed"):
        await harness.get(site.url("/a.bin"))


@pytest.mark.parametrize(
    ("path", "coding"),
    [
        ("/a.tar.zst", "zstd"),
        ("/a.br", "br"),
        ("/a.Z", "compress"),
        ("/a.bin", "identity"),
        ("/a.bin", "UTF-8"),
        ("/a.bin", "aws-chunked"),
    ],
)
async def test_files_that_are_compressed_archives_stay_compressed(
    site: Site, harness: SourceHarness, path: str, coding: str
) -> None:
    site.pages[path] = Page(DATA[:MIB], headers={"Content-Encoding": coding})
    item, data = await harness.get(site.url(path))
    assert (item.size, data) == (MIB, DATA[:MIB])
