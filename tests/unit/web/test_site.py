"""The files of the web UI as they are served."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import tomllib
from pathlib import Path

import pytest

import saveany.web
from saveany.web.site import Site, site

FOLDER = Path(saveany.web.__file__).parent
VENDOR = FOLDER / "vendor"

SOURCES = {
    "index.html": b"<script type=importmap>%IMPORTS%</script>%PRELOADS%<script src=%ROOT%/app.js></script>",
    "app.js": b'import { h } from "preact";\nimport { a } from "./parts/a.js";\nimport("./views/now.js");',
    "parts/a.js": b'export { b } from "../b.js";',
    "b.js": b'const from = "./nowhere.js";',
    "views/now.js": b'import { b } from "../b.js"; import("./later.js")',
    "views/later.js": b"",
    "vendor/preact.js": b"",
}


def test_the_first_page_names_all_modules_that_a_first_visit_needs() -> None:
    page = Site(SOURCES).page.content.decode()
    loaded = re.findall(r'modulepreload" href="assets/\w+/([^"]+)"', page)
    assert sorted(loaded) == ["app.js", "b.js", "parts/a.js", "vendor/preact.js", "views/now.js"]


def test_a_change_of_any_file_changes_all_addresses() -> None:
    one = Site(SOURCES)
    other = Site(SOURCES | {"views/later.js": b"1"})
    assert one.version != other.version
    assert one.asset(one.version, "b.js")
    assert one.asset(other.version, "b.js") is None


@pytest.mark.parametrize("path", ["index.html", "../site.py", "site.py", "", "views", "vendor/VENDOR.toml"])
def test_nothing_else_is_served(path: str) -> None:
    assert site().asset(site().version, path) is None


def test_the_policy_permits_exactly_the_import_map() -> None:
    page = site().page.content.decode()
    [(text,)] = [re.findall(r'<script type="importmap">(.*?)</script>', page, re.DOTALL)]
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    policy = site().headers["content-security-policy"]
    assert f"script-src 'self' 'sha256-{digest}';" in policy
    assert "unsafe" not in policy
    assert "*" not in policy


def test_files_are_what_they_were() -> None:
    for file in FOLDER.rglob("*.js"):
        path = file.relative_to(FOLDER).as_posix()
        found = site().asset(site().version, path)
        assert found
        assert found.content == file.read_bytes() == gzip.decompress(found.compressed)


def test_the_libraries_are_those_that_are_described() -> None:
    described = tomllib.loads((VENDOR / "VENDOR.toml").read_text())["file"]
    assert {each["name"]: each["sha256"] for each in described} == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in VENDOR.glob("*.js")
    }
    for each in described:
        assert (VENDOR / each["license_file"]).is_file()
