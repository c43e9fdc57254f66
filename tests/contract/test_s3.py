from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from unittest.mock import AsyncMock

import pytest
from botocore.exceptions import ClientError

from saveany.errors import StorageError, StorageUnavailable
from storages.base import Storage
from storages.s3.storage import S3Storage
from storages.testing import Open
from storages.testing.helpers import MIB, content, fill, key, load, save
from tests.contract.suite import StorageSuite
from tests.fixtures import s3
from tests.fixtures.faultproxy import fault_proxy
from tests.fixtures.s3 import S3Server
from tests.fixtures.servers import free_port, program
from tests.fixtures.waiting import until
from tests.fixtures.webdav import canned


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3.moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3.rclone(tmp_path_factory.mktemp("rclone")) as server:
        yield server


class S3Suite(StorageSuite):
    @pytest.fixture
    def server(self) -> S3Server:
        raise NotImplementedError

    @pytest.fixture
    def bucket(self, server: S3Server) -> str:
        return server.bucket()

    @pytest.fixture
    def open_storage(self, server: S3Server, bucket: str) -> Open:
        return lambda: S3Storage(server.options(bucket))

    @pytest.fixture
    def everything(self, server: S3Server, bucket: str) -> Callable[[], set[str]]:
        return server.everything(bucket)

    async def test_others_read_what_we_write(self, server: S3Server, bucket: str, worker: Open) -> None:
        data, found = content(12 * MIB + 3), BytesIO()
        await save(worker(), "d/ä b.bin", data)
        await asyncio.to_thread(server.boto.download_fileobj, bucket, "base/d/ä b.bin", found)
        assert found.getvalue() == data

    @pytest.mark.parametrize("size", [6, 12 * MIB + 3])
    async def test_we_read_what_others_write(
        self, server: S3Server, bucket: str, worker: Open, size: int
    ) -> None:
        data = content(size)
        await asyncio.to_thread(server.boto.upload_fileobj, BytesIO(data), bucket, "base/d/x y.bin")
        assert await load(worker(), "d/x y.bin") == data

    async def test_broken_connection_is_reported(self, server: S3Server, bucket: str) -> None:
        async with fault_proxy(server.port) as link:
            storage = S3Storage(server.options(bucket, endpoint=f"http://127.0.0.1:{link.port}"))
            link.cut_after = MIB
            async with await storage.begin(key(), "a.bin", 20 * MIB) as upload:
                with pytest.raises(StorageUnavailable):
                    await fill(upload, content(20 * MIB), seal=True)
            link.cut_after = None
            assert await storage.stat("a.bin") is None
            await storage.close()


class TestMoto(S3Suite):
    @pytest.fixture
    def server(self, moto: S3Server) -> S3Server:
        return moto

    async def test_presigned_url_needs_no_login(self, worker: Open) -> None:
        storage = worker()
        await save(storage, "a.bin", b"hello")
        link = await storage.url("a.bin", 60)
        assert "X-Amz-Signature" in link
        got = subprocess.run([program("curl"), "-sf", link], capture_output=True, check=True)
        assert got.stdout == b"hello"

    async def test_no_upload_is_left_behind(self, worker: Open, everything: Callable[[], set[str]]) -> None:
        storage = worker()
        async with await storage.begin(key(), "a.bin", 12 * MIB) as upload:
            await fill(upload, content(12 * MIB)[: 11 * MIB])
        assert everything() == {"a.bin"}
        await worker().discard(key(2), "a.bin")
        assert everything() == set()

    async def test_successful_commit_is_recognized(self, worker: Open) -> None:
        data = content(12 * MIB)
        await save(worker(), "a.bin", data)
        async with await worker().begin(key(2), "a.bin", len(data)) as upload:
            await fill(upload, data)
            await upload.commit("a.bin", len(data), replace=False)
        assert await load(worker(), "a.bin") == data

    async def test_sealed_upload_is_kept(self, worker: Open) -> None:
        data = content(12 * MIB)
        async with await worker().begin(key(1), "a.bin", len(data)) as crashed:
            await fill(crashed, data, seal=True)
            keep = tuple(await crashed.sync([(0, len(data))]))
        assert keep == ((0, 10 * MIB),)
        async with await worker().begin(key(2), "a.bin", len(data), keep) as upload:
            assert upload.kept == keep
            await upload.write(10 * MIB, data[10 * MIB :])
            await upload.commit("a.bin", len(data), replace=False)
        assert await load(worker(), "a.bin") == data

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, None])
    async def test_html_pages_are_not_webdav(
        self, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, limit: int | None
    ) -> None:
        """To S3, `a-b` comes before the folder `a/`."""
        names = ["a", "a -b", "a b", "a-b", "a.b", "a0", "ab", "b", "b.", "b0"]
        storage = S3Storage(server.options(bucket))
        client = await storage.bucket.client()
        for name in names:
            path = f"{name}/x" if name in ("a", "a b", "b") else name
            await client.put_object(Bucket=bucket, Key=f"base/{path}", Body=b"x")
        monkeypatch.setattr(client, "list_objects_v2", partial(client.list_objects_v2, MaxKeys=2))
        found: list[str] = []
        while page := await storage.list("", after=(found or [""])[-1], limit=limit):
            found += [entry.name for entry in page]
        assert found == names
        await storage.close()

    async def test_changed_file_is_reported(
        self, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage = S3Storage(server.options(bucket))
        await save(storage, "a.bin", b"12345")
        before = await storage.bucket.head(storage.bucket.key("a.bin"))
        await storage.delete("a.bin")
        await save(storage, "a.bin", b"67890")
        monkeypatch.setattr(storage.bucket, "head", AsyncMock(return_value=before))
        with pytest.raises(StorageUnavailable, match="changed"):
            await load(storage, "a.bin")
        await storage.close()

    async def test_full_service_is_reported(
        self, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("storages.s3.part.STALL", 0.5)
        async with fault_proxy(server.port) as link, asyncio.timeout(20):
            link.stall_after = MIB
            storage = S3Storage(
                server.options(bucket, endpoint=f"http://127.0.0.1:{link.port}", part_size=16)
            )
            async with await storage.begin(key(), "a.bin", 16 * MIB) as upload:
                with pytest.raises(StorageUnavailable):
                    await fill(upload, content(16 * MIB), seal=True)
            await storage.close()

    @pytest.mark.parametrize("operation", ["list_multipart_uploads", "list_objects_v2"])
    async def test_probe_reports_missing_permissions(
        self, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, operation: str
    ) -> None:
        storage = S3Storage(server.options(bucket))
        denied = ClientError({"Error": {"Code": "AccessDenied"}}, operation)
        monkeypatch.setattr(await storage.bucket.client(), operation, AsyncMock(side_effect=denied))
        with pytest.raises(StorageError, match="their permissions"):
            await storage.probe()
        await storage.close()

    async def test_an_interrupted_finish_is_completed(
        self, worker: Open, everything: Callable[[], set[str]]
    ) -> None:
        data = content(12 * MIB)
        async with await worker().begin(key(1), "a.bin", len(data)) as upload:
            await fill(upload, data)
            await upload.seal(len(data))
        assert await worker().finished(key(2), "a.bin", "a.bin", len(data))
        assert await load(worker(), "a.bin") == data


class TestRclone(S3Suite):
    @pytest.fixture
    def server(self, rclone: S3Server) -> S3Server:
        return rclone

    async def test_names_that_look_alike_stay_distinct(self, storage: Storage) -> None:
        pytest.skip("this server keeps names in one form")

    async def test_finished_after_a_commit(self, worker: Open) -> None:
        """The server states no ETag while it is still busy with the file."""
        receipt = await save(worker(), "a/b.bin", b"x", key(1))

        async def is_finished() -> bool:
            return await worker().finished(key(2), "a/b.bin", "a/b.bin", 1) == receipt

        await until(is_finished)
        assert not await worker().finished(key(2), "a/b.bin", "a/b.bin", 2)
        assert not await worker().finished(key(2), "a/b.bin", "a/c.bin", 1)

    @pytest.mark.parametrize("size", [2 * MIB + 1])
    async def test_copy_into_an_upload(
        self, storage: Storage, everything: Callable[[], set[str]], size: int
    ) -> None:
        """The server treats the request as an empty part."""
        await save(storage, "a.bin", content(size))
        async with await storage.begin(key(item=1), "b.bin", size) as upload:
            with pytest.raises(StorageError, match="cannot copy"):
                await upload.copy(storage, "a.bin", lambda size: None)
            await upload.abort()
        assert everything() == {"a.bin"}

    async def test_failed_copy_leaves_nothing(
        self, storage: Storage, everything: Callable[[], set[str]]
    ) -> None:
        """The server treats the request as an empty part."""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bucket_name": "no-such-bucket"}, "bucket does not exist"),
        ({"endpoint": "http://127.0.0.1:1"}, "cannot be reached"),
        ({"region": "us east"}, "region"),
    ],
)
async def test_wrong_options_are_reported(moto: S3Server, changes: dict[str, str], words: str) -> None:
    storage = S3Storage(moto.options(moto.bucket(), **changes))
    with pytest.raises(StorageError, match=words) as caught:
        await storage.probe()
    assert s3.SECRET not in str(caught.value)
    await storage.close()


async def test_https_to_a_plain_server_is_reported(moto: S3Server) -> None:
    endpoint = moto.options("x").endpoint.replace("http://", "https://")
    storage = S3Storage(moto.options("x", endpoint=endpoint))
    with pytest.raises(StorageUnavailable, match="write http://"):
        await storage.probe()
    await storage.close()


@pytest.mark.parametrize(
    "wrong",
    [
        *({"endpoint": each} for each in ("ht!tp://x", "ftp://x", "https://", ":9000", "http://me:pw@x")),
        *({"bucket_name": each} for each in ("a bucket", "bucket/folder")),
    ],
)
def test_an_invalid_endpoint_is_refused(moto: S3Server, wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        moto.options("x", **{"bucket_name": "x"} | wrong)


async def test_wrong_keys_are_reported(rclone: S3Server) -> None:
    storage = S3Storage(rclone.options(rclone.bucket(), secret_access_key="wrong"))
    with pytest.raises(StorageError, match="secret_access_key"):
        await storage.probe()
    await storage.close()


@pytest.mark.parametrize(("status", "words"), [(200, "not from an S3 service"), (301, "another region")])
async def test_other_service_than_s3_is_reported(moto: S3Server, status: int, words: str) -> None:
    async with canned(status, b"<html>hello</html>") as endpoint, asyncio.timeout(60):
        storage = S3Storage(moto.options("x", endpoint=endpoint))
        with pytest.raises(StorageError, match=words):
            await save(storage, "a.bin", b"x")
        with pytest.raises(StorageError):
            await storage.probe()
        await storage.close()


async def test_server_that_is_down_is_reported(moto: S3Server) -> None:
    storage = S3Storage(moto.options("x", endpoint=f"127.0.0.1:{free_port()}", use_ssl=False))
    with pytest.raises(StorageUnavailable):
        await storage.probe()
    await storage.close()


@pytest.mark.parametrize(
    ("virtual_host", "address"),
    [(False, "https://s3.example.com/films/d/a.mkv?"), (True, "https://films.s3.example.com/d/a.mkv?")],
)
async def test_the_bucket_is_in_the_host_or_the_path_of_the_url(
    moto: S3Server, virtual_host: bool, address: str
) -> None:
    changes = {"endpoint": "s3.example.com", "virtual_host": virtual_host, "base_path": ""}
    storage = S3Storage(moto.options("films", **changes))
    assert (await storage.url("d/a.mkv", 60)).startswith(address)
    await storage.close()
