"""A new site for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.promises.site import Site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A site in which only Telegram, Valkey and a webhook receiver run. A test starts the roles that it
    needs."""
    async with Site(tmp_path) as site:
        yield site
        site.print_logs()  # shown if the test failed


@pytest.fixture
async def site_of_short_drain(tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose workers give running tasks one second to end."""
    async with Site(tmp_path, tables={"worker": {"drain_seconds": 1}}) as site:
        yield site
        site.print_logs()  # shown if the test failed
