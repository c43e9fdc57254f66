"""node-openload 2.2.0, unmodified. Its address cannot be changed, so its network is: its connections to
api.openload.co lead to a TLS server in front of SaveAny, which is configured with that host name."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.compat.conftest import HERE, Api, Login, add_key
from tests.fixtures.certificates import private
from tests.fixtures.servers import program
from tests.fixtures.stack import Stack
from tests.fixtures.tcp import connection, forward, tcp_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = "api.openload.co"
#: The network of the client: as if this host name had another address.
NETWORK = """
const tls = require('tls');
const connect = tls.connect;
tls.connect = (options, ...more) => connect({
  ...options,
  host: '127.0.0.1',
  port: Number(process.env.TLS_PORT),
  servername: options.servername || options.host,
}, ...more);
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    tables = {
        "api": {"public_url": f"https://{HOST}"},
        "compat": {"openload": {"enable": True, "host": HOST}},
    }
    async with Stack(tmp_path_factory.mktemp("stack"), tables=tables) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def login(running: Stack) -> Login:
    found = await add_key(running)
    assert found.base_url == f"https://{HOST}/compat/openload"
    return Login(found.login, found.key, f"{running.url}/compat/openload/1")


@dataclass
class NodeClient:
    """Runs code that uses the client, `api`; what it returns is the result."""

    folder: Path
    login: Login
    ca_file: Path
    port: int

    async def __call__(self, code: str) -> Any:
        script = self.folder / "script.js"
        made = f"require('node-openload')({{api_login: '{self.login.login}', api_key: '{self.login.key}'}})"
        script.write_text(
            f"const api = {made};\n(async () => {{{code}}})()"
            ".then(found => console.log(JSON.stringify(found === undefined ? null : found)))"
            ".catch(error => console.log(JSON.stringify({error: error.message})));"
        )
        process = await asyncio.create_subprocess_exec(
            *(program("node"), "--require", str(self.folder / "network.js"), str(script)),
            env={**os.environ, "NODE_EXTRA_CA_CERTS": str(self.ca_file), "TLS_PORT": str(self.port)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return json.loads(out)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(
    running: Stack, login: Login, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[NodeClient]:
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / "node" / name, folder)
    (folder / "network.js").write_text(NETWORK)
    npm = await asyncio.create_subprocess_exec(
        *(program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"), cwd=folder
    )
    assert await npm.wait() == 0
    ca_file, pem = private(folder, HOST)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)

    async def pass_on(reader: StreamReader, writer: StreamWriter) -> None:
        async with connection("127.0.0.1", running.port) as inner:
            await forward((reader, writer), inner)

    async with tcp_server(pass_on, tls=context) as server:
        yield NodeClient(folder, login, ca_file, server.port)


async def test_every_call(running: Stack, login: Login, client: NodeClient) -> None:
    found = await client("""
const file = await api.upload({
  file: Buffer.from('the bytes of a buffer'), filename: 'from node.txt', contentType: 'text/plain',
});
const ticket = await api.getDownload(file.id);
const remote = await api.remoteUpload({url: 'https://t.me/channel/123'});
return {
  file, ticket, remote,
  account: await api.getAccountInfo(),
  info: await api.getFileInfo(file.id),
  folder: await api.listFolder(),
  status: await api.remoteUploadStatus({id: remote.id}),
  deleted: await api.deleteFile(file.id),
};""")
    assert found["file"]["name"] == "from node.txt"
    assert found["file"]["url"].startswith(f"https://{HOST}/1/v/{found['file']['id']}/")
    assert found["ticket"]["url"].startswith(f"https://{HOST}/dl/")
    assert found["account"]["email"] == "old script"
    assert found["info"][found["file"]["id"]]["size"] == 21
    assert found["file"]["id"] in str(found["folder"]["files"])
    assert found["status"][found["remote"]["id"]]["remoteurl"] == "https://t.me/channel/123"
    assert found["deleted"] == [True]


async def test_the_hash_of_a_path_is_not_that_of_its_file(
    running: Stack, login: Login, client: NodeClient, tmp_path: Path
) -> None:
    source = tmp_path / "film.txt"
    source.write_bytes(b"film")
    assert await client(f"return api.upload({{file: {json.dumps(str(source))}}});") is None
    assert "film.txt" not in str(await Api(running, login).call("file/listfolder"))


async def test_errors_are_errors(client: NodeClient) -> None:
    assert (await client("return api.getFileInfo('missing');"))["missing"]["status"] == 404
    assert "Error 404" in (await client("return api.getDownloadTicket('missing');"))["error"]
    assert "Error 404" in (await client("return api.getSplashImage('missing');"))["error"]
