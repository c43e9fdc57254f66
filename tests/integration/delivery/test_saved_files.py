"""The contents of saved files, for those who may see them."""

from __future__ import annotations

from pathlib import Path

import httpx

from saveany.store import Store
from tests.integration.delivery.conftest import save


async def test_a_saved_file_is_read_whole_and_in_ranges(
    live: httpx.AsyncClient, store: Store, tmp_path: Path
) -> None:
    page = b"<script>alert(1)</script>"
    file_id = (await save(live, store, tmp_path / "files", {"page.html": page}))["page.html"]
    address = f"/api/v1/files/{file_id}/content"
    whole = await live.get(address, params={"inline": True})
    assert whole.content == page
    assert whole.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in whole.headers["content-security-policy"]
    part = await live.get(address, headers={"Range": "bytes=1-6"})
    assert (part.status_code, part.content) == (206, b"script")
    assert (await live.head(address)).headers["content-length"] == "25"
    assert (await live.get(address, headers={"Authorization": ""})).status_code == 401
