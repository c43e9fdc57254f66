"""The demo as a visitor starts it, and a browser."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from saveany.programs import die_with_parent
from tests.fixtures.browser import Browser, Page

#: What the console of a browser shows when the API has refused a request, which the page then explains.
_REFUSED = "the server responded with a status of 4"


@dataclass
class RunningDemo:
    """A demo, and the addresses that it has printed."""

    facts: dict[str, Any]

    @property
    def base(self) -> str:
        return str(self.facts["api"])

    def api(self) -> httpx.Client:
        """A client with the token."""
        headers = {"Authorization": f"Bearer {self.facts['token']}"}
        return httpx.Client(base_url=self.base, headers=headers, trust_env=False, timeout=30)

    def login(self) -> str:
        """A new login link."""
        with self.api() as api:
            return str(api.post("/api/v1/session/links", json={}).raise_for_status().json()["url"])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    command = [sys.executable, "-m", "saveany", "demo", "--json", "--port", "0"]
    command += ["--data", str(tmp_path_factory.mktemp("demo"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=die_with_parent(15))
    assert process.stdout
    try:
        yield RunningDemo(json.loads(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with Browser(tmp_path / "profile") as browser:
        yield browser


@asynccontextmanager
async def logged_in(browser: Browser, demo: RunningDemo, **options: Any) -> AsyncIterator[Page]:
    """The web UI in a new profile, opened with a login link. Afterwards nothing may have gone wrong in it."""
    async with browser.page(demo.login(), **options) as page:
        await page.wait("document.querySelector('.dot.live')")
        yield page
        check(page, demo)


def check(page: Page, demo: RunningDemo) -> None:
    """No script failed, the policy refused nothing, and no request went to another host."""
    assert [each for each in page.errors if _REFUSED not in each] == []
    assert page.hosts == {demo.base.removeprefix("http://")}
