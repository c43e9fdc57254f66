"""The package streamtape 1.0.3, unmodified. Some of its calls cannot work with any server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.acceptance.compat.conftest import Api, Login, PythonClient
from tests.fixtures.site import Page, serve
from tests.fixtures.stack import Stack
from tests.fixtures.videos import make_video
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

DATA = os.urandom(700_001)


@pytest.fixture
def api(running: Stack, login: Login) -> Api:
    return Api(running, login)


@pytest.fixture
def client(clients: Path, login: Login) -> PythonClient:
    return PythonClient(
        clients,
        f"""
from streamtape.Account import Account
from streamtape.Convertation import Convertation
from streamtape.FileManager import FileManager
from streamtape.Remote import Remote
from streamtape.Stream import Stream
from streamtape.Upload import Upload
def made(kind):
    found = kind("{login.login}", "{login.key}")
    found.set_api_url("{login.base_url}")
    return found
files, upload, remote = made(FileManager), made(Upload), made(Remote)
""",
    )


async def test_files_and_folders(api: Api, client: PythonClient, tmp_path: Path) -> None:
    source = tmp_path / "from streamtape.bin"
    source.write_bytes(DATA)
    sent, in_root, folder, inside, moved, listed, renamed, deleted, gone = await client(f"""
sent = upload.upload({str(source)!r})
in_root = files.list_data()
folder = files.create_folder('of the package')['folderid']
inside = files.create_folder('inside', folder)['folderid']
moved = files.move_file(sent['id'], inside)
listed = files.list_data(inside)
renamed = files.rename_folder('renamed', inside)
deleted = files.delete_file(sent['id'])
gone = files.delete_file(sent['id'])
[sent, in_root, folder, inside, moved, listed, renamed, deleted, gone]
""")
    assert sent["name"] == "from streamtape.bin"
    assert sent["id"] in str(in_root["files"])
    assert (moved, renamed, deleted) == (True, True, True)
    assert [(file["linkid"], file["size"]) for file in listed["files"]] == [(sent["id"], len(DATA))]
    assert gone["status_id"] == 404
    assert (await api.call("file/listfolder", folder=folder))["folders"] == [
        {"id": inside, "name": "renamed"}
    ]


async def test_its_rename_deletes_nothing(api: Api, client: PythonClient) -> None:
    file = (await api.upload(DATA, "precious.bin"))["id"]
    before = await api.call("file/listfolder")
    refused = await client(f"files.rename_file({file!r}, 'x.bin')")
    assert refused["status_id"] == 400
    assert await api.call("file/listfolder") == before


async def test_its_account_call_has_another_address(client: PythonClient) -> None:
    assert (await client("made(Account).get_info()"))["status_id"] == 404


async def test_remote_uploads_without_a_folder_a_name_or_headers(api: Api, client: PythonClient) -> None:
    # It sends None and {} for them. What it does next, with an address of its own, fails here as everywhere.
    async with serve() as web:
        web.pages["/film.mp4"] = Page(DATA)
        await client(f"""
import streamtape.Remote
class Nothing:
    def __init__(self, *args): pass
    def file_info(self, id): return None
streamtape.Remote.Stream = Nothing
added = remote.remote_upload({web.url("/film.mp4")!r}, None, None, None)
added
""")

        async def has_ended() -> bool:
            [upload] = (await api.call("remotedl/status")).values()
            return bool(upload["status"] == "finished")

        await until(has_ended, within=60)
    [added] = (await api.call("remotedl/status")).values()
    assert added["folderid"] == "0"
    assert await client(f"remote.check_remote_status({added['id']!r})") == {added["id"]: added}
    assert await client("remote.remove('all')") is True
    assert await api.call("remotedl/status") == {}


async def test_pictures_and_conversions(api: Api, client: PythonClient, tmp_path: Path) -> None:
    film = (await api.upload(make_video(tmp_path / "film.mp4"), "film.mp4"))["id"]
    running, failed, picture, info = await client(f"""
convert = made(Convertation)
[
    convert.list_converts(),
    convert.list_failed_converts(),
    convert.get_thumbnail({film!r}),
    made(Stream).file_info([{film!r}]),
]
""")
    assert (running, failed) == ([], [])
    assert "/thumb/" in picture
    assert info[film]["converted"] is True
