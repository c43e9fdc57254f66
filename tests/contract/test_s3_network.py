"""S3 through a configured proxy, and with a service that sends redirects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from saveany.errors import StorageError, StorageUnavailable
from saveany.net import trust
from storages.base import Services
from storages.s3.storage import S3Storage
from storages.testing.helpers import MIB, content, load, save
from tests.fixtures import s3
from tests.fixtures.certificates import private
from tests.fixtures.proxies import BAD, Behavior, Http, ScriptedReplies, Socks4, Socks5, proxy
from tests.fixtures.s3 import S3Server
from tests.fixtures.tcp import tcp_server
from tests.fixtures.webdav import canned

LOGIN, WRITTEN = "me:p@ss: wörd".encode(), "me:p%40ss%3A%20w%C3%B6rd"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3.moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.mark.parametrize(
    ("way", "login", "tls"),
    [
        (Socks5(login=LOGIN), WRITTEN, False),
        (Socks4(user=b"m\xc3\xa9"), "m%C3%A9", False),
        (Http(login=LOGIN), WRITTEN, False),
        (Http(login=LOGIN), WRITTEN, True),
    ],
    ids=["socks5", "socks4", "http", "https"],
)
async def test_files_are_transferred_through_a_proxy(
    server: S3Server, tmp_path: Path, way: Behavior, login: str, tls: bool
) -> None:
    ca_file, pem = private(tmp_path)
    trust.add(ca_file)
    try:
        async with proxy(way, pem if tls else "") as running:
            # This machine cannot resolve the name; the proxy does.
            storage = S3Storage(server.options(server.bucket()), Services(proxy=running.url(login)))
            data = content(12 * MIB + 5)
            await save(storage, "d/a.bin", data)
            assert await load(storage, "d/a.bin") == data
            await storage.probe()
            assert running.connections
            assert {each.replace(":", " ") for each in getattr(way, "asked", [])} == {
                f"127.0.0.1 {server.port}"
            }
            await storage.close()
    finally:
        trust.add(None)


@pytest.mark.parametrize(
    "name",
    ["socks5 reply 2", "socks5 wants GSSAPI", "socks4 refuses", "http 407", "http garbage", "http hangs up"],
)
async def test_a_bad_proxy_is_named(server: S3Server, name: str) -> None:
    behavior, said = BAD[name]
    async with proxy(behavior) as bad:
        storage = S3Storage(server.options("b"), Services(proxy=bad.url("me:s3cret%40word")))
        with pytest.raises(StorageUnavailable, match=f"^storage 'bucket': {said}") as caught:
            await storage.probe()
        assert "s3cret" not in str(caught.value)
        await storage.close()


@pytest.mark.parametrize("scheme", ["socks5", "http"])
async def test_a_proxy_that_stalls_is_named(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr("storages.s3.bucket.CONNECT_SECONDS", 0.3)
    async with proxy(ScriptedReplies((b"",), stalls=True, scheme=scheme)) as bad:
        storage = S3Storage(server.options("b"), Services(proxy=bad.url()))
        with pytest.raises(StorageUnavailable, match=r"^storage 'bucket': the proxy does not reply in time"):
            await storage.probe()
        await storage.close()


async def test_a_proxy_that_comes_back_is_used_again(server: S3Server) -> None:
    async with proxy(BAD["socks5 reply 2"][0]) as way:
        storage = S3Storage(server.options(server.bucket()), Services(proxy=way.url()))
        with pytest.raises(StorageUnavailable):
            await storage.probe()
        way.behavior = Socks5()
        await storage.probe()
        await storage.close()


async def _read(storage: S3Storage) -> None:
    await load(storage, "a.bin")


async def _save(storage: S3Storage) -> None:
    await save(storage, "a.bin", b"x")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "use",
    [S3Storage.probe, lambda storage: storage.stat("a.bin"), lambda storage: storage.list(""), _read, _save],
    ids=["probe", "stat", "list", "read", "save"],
)
async def test_redirects_of_a_service_are_not_followed(
    use: Callable[[S3Storage], Awaitable[object]], status: int
) -> None:
    """Not even to this machine, where programs may trust local connections."""
    async with (
        tcp_server() as inside,
        canned(status, b"", {"Location": inside.url("/latest/meta-data")}) as hostile,
    ):
        options = S3Server(0).options("b", endpoint=hostile)
        storage = S3Storage(options)
        with pytest.raises(StorageError, match=r"another address|another region"):
            await use(storage)
        await storage.close()
        assert inside.connections == 0
