"""Every view, and the events of the API, behind a proxy that has a path of its own for SaveAny (DA2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.web.conftest import RunningDemo
from tests.acceptance.web.test_web import add
from tests.acceptance.web.views import addresses, show
from tests.fixtures.browser import Browser
from tests.fixtures.servers import answers, free_port, program, running

pytestmark = pytest.mark.timeout(300)

NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port};
    location /files/ {{ proxy_pass {target}/; proxy_set_header Host $http_host; proxy_buffering off; }} }} }}
"""
CADDY = """
{{
admin off
auto_https off
}}
http://127.0.0.1:{port} {{
handle_path /files/* {{
reverse_proxy {target}
}}
}}
"""


#: What is saved behind each proxy: events show its progress while the stream is open.
SAMPLES = {"nginx": 124, "caddy": 126}
NAMES = {"nginx": "one-byte.bin", "caddy": "1MiB-and-1.bin"}


@contextmanager
def proxy(kind: str, folder: Path, target: str) -> Iterator[str]:
    port = free_port()
    file = folder / kind
    file.write_text(
        (NGINX if kind == "nginx" else CADDY).format(
            folder=folder, port=port, target=target.removeprefix("http://") if kind == "caddy" else target
        )
    )
    command: list[str | Path] = (
        [program("nginx"), "-p", folder, "-e", folder / "error.log", "-c", file]
        if kind == "nginx"
        else [program("caddy"), "run", "--adapter", "caddyfile", "--config", file]
    )
    env = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
    with running(command, lambda: answers(port), log=folder / "log", env=env):
        yield f"http://127.0.0.1:{port}/files/"


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
async def test_the_page_works_below_a_path(
    kind: str, demo: RunningDemo, browser: Browser, tmp_path: Path
) -> None:
    folder = tmp_path / "proxy"
    folder.mkdir()
    with proxy(kind, folder, demo.base) as address:
        async with browser.page(address + "#/login/" + demo.login().rpartition("/")[2]) as page:
            await page.wait("document.querySelector('.dot.live')")
            streams = [each for each in page.requests.values() if each["url"].endswith("/api/v1/events")]
            assert [each["status"] for each in streams] == [200]
            await add(page, f"https://t.me/channel/{SAMPLES[kind]}", NAMES[kind])
            for view in addresses():
                await show(page, view)
                assert not await page.run("document.querySelector('.failure')"), view
            await page.run("location.hash = '#/library'")
            await page.sees("Trash")
            await page.click("Log out", "button")
            await page.sees("Token or key")
            assert all(each["url"].startswith(address) for each in page.requests.values())
            assert [each for each in page.errors if "401" not in each] == []
