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


async def test_every_call(running: Stack, client: PythonClient, source: Path) -> None:
    found = await client(f"""
account = api.account_info()
file = api.upload_file({str(source)!r})
info = api.file_info(file['id'])[file['id']]
renamed = api.rename_file(file['id'], 'renamed.mp4')
listed = api.list_folder()
running = api.running_conversions()
remote = api.remote_upload('https://t.me/channel/123')
states = api.remote_upload_status(limit=1)
state = api.remote_upload_status(remote_upload_id=remote['id'])
deleted = api.delete_file(file['id'])
gone = api.file_info(file['id'])[file['id']]
[account, info, renamed, listed, running, remote, states, state, deleted, gone]
""")
    account, info, renamed, listed, converts, remote, states, state, deleted, gone = found
    assert account["email"] == "old script"
    assert (info["name"], info["size"], info["status"]) == ("holiday film.mp4", len(DATA), 200)
    assert renamed is True
    assert "renamed.mp4" in str(listed["files"])
    assert converts == []
    assert list(states) == list(state) == [remote["id"]]
    assert state[remote["id"]]["remoteurl"] == "https://t.me/channel/123"
    assert deleted is True
    assert gone["status"] == 404


async def test_errors_are_the_exceptions_of_the_client(client: PythonClient, source: Path) -> None:
    raised = await client(f"""
wrong = Client(api.login, 'wrong')
folder = api._get('file/createfolder', {{'name': 'folder of ' + api.api_url}})['folderid']
api.rename_folder(folder, 'renamed ' + api.api_url)
[
    raised(wrong.account_info),
    raised(api.delete_file, 'missing'),
    raised(api.upload_file, {str(source)!r}, sha1='0' * 40),
    raised(api.list_folder, '99999'),
    raised(api.rename_file, 'missing', ''),
    raised(api.splash_image, 'missing'),
]
""")
    assert raised == [
        "PermissionDeniedException",
        "FileNotFoundException",
        "BadRequestException",
        "FileNotFoundException",
        "BadRequestException",
        "FileNotFoundException",
    ]
