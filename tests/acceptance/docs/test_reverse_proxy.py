"""The reverse proxy configurations of the documentation, with other addresses and certificates."""

from __future__ import annotations

import asyncio
import getpass
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from saveany.api.limits import MAX_BODY
from tests.fixtures.servers import answers, free_port, program, running
from tests.fixtures.stack import USER_ID, Stack
from tests.unit.docs import pages

BLOCKS = {one.name: one.code for one in pages.examples(pages.ROOT / "docs/howto/reverse-proxy.md")}

Proxy = Callable[[Path, int], AbstractContextManager[str]]


@contextmanager
def nginx(folder: Path, port: int, *, max_body: str = "0") -> Iterator[str]:
    """nginx with the block of the page, without TLS, before a port; its address."""
    own = free_port()
    block = re.sub(r"^ *ssl_.*\n", "", BLOCKS["nginx"], flags=re.MULTILINE)
    block = block.replace("client_max_body_size 0", f"client_max_body_size {max_body}")
    block = block.replace("listen 443 ssl", f"listen 127.0.0.1:{own}")
    block = block.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    places = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"user {getpass.getuser()};\ndaemon off;\npid {folder}/pid;\nevents {{}}\n"
        f"http {{ access_log off; {places}\n{block} }}\n"
    )
    command: list[str | Path] = [
        program("nginx"),
        "-p",
        folder,
        "-e",
        folder / "error.log",
        "-c",
        folder / "nginx.conf",
    ]
    with running(command, lambda: answers(own), log=folder / "log"):
        yield f"http://127.0.0.1:{own}"


@contextmanager
def caddy(folder: Path, port: int) -> Iterator[str]:
    """Caddy with the block of the page, without TLS, before a port; its address."""
    own = free_port()
    block = BLOCKS["caddy"].replace("saveany.example.org", f"http://127.0.0.1:{own}")
    block = block.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    (folder / "Caddyfile").write_text("{\nadmin off\nauto_https off\n}\n" + block)
    command: list[str | Path] = [
        program("caddy"),
        "run",
        "--adapter",
        "caddyfile",
        "--config",
        folder / "Caddyfile",
    ]
    env = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
    with running(command, lambda: answers(own), log=folder / "log", env=env):
        yield f"http://127.0.0.1:{own}"


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """An API without workers."""
    async with Stack(tmp_path / "stack", workers=0, tables={"dav": {"enable": True}}) as stack:
        yield stack


@pytest.mark.parametrize("proxy", [nginx, caddy], ids=["nginx", "caddy"])
async def test_events_are_not_buffered_and_other_requests_work(
    proxy: Proxy, stack: Stack, tmp_path: Path
) -> None:
    folder = tmp_path / "proxy"
    folder.mkdir(mode=0o755)
    headers = {"Authorization": f"Bearer {stack.token}"}
    with proxy(folder, stack.port) as url:
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=20) as client:
            task_id = await _event_arrives(client)
            assert (await client.get(f"/api/v1/tasks/{task_id}")).json()["status"] == "queued"
            json_type = {"Content-Type": "application/json"}
            too_long = await client.post("/api/v1/tasks", content=b"x" * (MAX_BODY + 1), headers=json_type)
            assert too_long.status_code == 413
            refused = await client.get("/api/v1/tasks", headers={"Authorization": "Bearer wrong"})
            assert refused.json()["error"] == "Unauthorized"
            made = await client.post(
                "/api/v1/keys", json={"name": "x", "user_id": USER_ID, "scopes": ["read"]}
            )
            login = ("x", made.json()["secret"])
            for path in ("/", "/dav/"):
                listed = await client.request("PROPFIND", path, headers={"Depth": "1"}, auth=login)
                assert (listed.status_code, "/dav/" in listed.text) == (207, True)
                assert (await client.options(path)).headers["dav"] == "1"
        result = await stack.saveany("ls", "--url", url, "--token", stack.token, "--json")
        assert task_id in result.out


async def _event_arrives(client: httpx.AsyncClient) -> str:
    """Watch while a task is added: its event comes long before anything would fill a buffer."""
    async with client.stream("GET", "/api/v1/events") as stream:
        body = {"telegram_url": "https://t.me/channel/123", "user_id": 123456789, "storage_name": "local1"}
        task_id = str((await client.post("/api/v1/tasks", json=body)).json()["task_id"])
        async with asyncio.timeout(12):  # a comment comes after 15 s, and might push a buffer out
            async for line in stream.aiter_lines():
                if task_id in line:
                    return task_id
    raise AssertionError("the stream ended")


def test_the_labels_for_traefik_are_well_formed() -> None:
    """No package has Traefik for tests, so its block is only read: all is about one router and one
    service, and leads to where the API listens in its container."""
    labels = yaml.safe_load(BLOCKS["traefik"])["labels"]
    assert all(isinstance(value, str) for value in labels.values()), "Docker takes texts only"
    names = [re.fullmatch(r"traefik\.http\.(routers|services)\.saveany\.[\w.]+", name) for name in labels]
    assert [name for name, fits in zip(labels, names, strict=True) if not fits] == ["traefik.enable"]
    assert re.fullmatch(r"Host\(`[\w.]+`\)", labels["traefik.http.routers.saveany.rule"])
    composed = yaml.safe_load((pages.ROOT / "docker-compose.yml").read_text())["services"]["api"]
    port = labels["traefik.http.services.saveany.loadbalancer.server.port"]
    assert any(str(each).endswith(f":{port}") for each in composed["ports"])
