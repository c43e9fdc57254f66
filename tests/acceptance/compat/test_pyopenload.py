"""pyopenload 0.7, unmodified: its class has an attribute for the address."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import httpx
import pytest

from tests.acceptance.compat.conftest import Login, PythonClient
from tests.fixtures.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

DATA = os.urandom(3_000_001)


@pytest.fixture(params=["", "v"], ids=["openload", "pstream"])
def client(request: pytest.FixtureRequest, clients: Path, login: Login) -> PythonClient:
    return PythonClient(
        clients,
        f"""
from openload import OpenLoad
import openload
class Client(OpenLoad):
    api_base_url = "{login.base_url}/{request.param}{{api_version}}/"
api = Client("{login.login}", "{login.key}")
def raised(call, *args, **options):
    try:
        return call(*args, **options)
    except Exception as error:
        return type(error).__name__
""",
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "holiday film.mp4"
    file.write_bytes(DATA)
    return file


async def test_a_file_is_uploaded_and_read_back(running: Stack, client: PythonClient, source: Path) -> None:
    sent = await client(f"api.upload_file({str(source)!r}, sha1={hashlib.sha1(DATA).hexdigest()!r})")
    assert (sent["name"], sent["size"]) == ("holiday film.mp4", "3000001")
    assert sent["sha1"] == hashlib.sha1(DATA).hexdigest()
    link = await client(
        f"ticket = api.prepare_download({sent['id']!r})['ticket']\n"
        f"api.get_download_link({sent['id']!r}, ticket)"
    )
    assert (link["name"], link["size"]) == ("holiday film.mp4", 3000001)
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(link["url"])).content == DATA
        page = await http.get(sent["url"], follow_redirects=True)
        assert "holiday film.mp4" in page.text
