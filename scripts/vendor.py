"""Fetches the libraries of the web UI again, and fails if one differs from what is in saveany/web/vendor."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "saveany/web/vendor"


def main() -> int:
    """Compare each file, or write it if it is missing."""
    differing = []
    for each in tomllib.loads((FOLDER / "VENDOR.toml").read_text())["file"]:
        content = fetched(f"{each['package']}@{each['version']}", each["source"])
        target = FOLDER / each["name"]
        if not target.exists():
            target.write_bytes(content)
        if {hashlib.sha256(content).hexdigest(), hashlib.sha256(target.read_bytes()).hexdigest()} != {
            each["sha256"]
        }:
            differing.append(each["name"])
    print(
        "\n".join(f"{name} differs from its package" for name in differing)
        or "all files are those of their packages"
    )
    return bool(differing)


def fetched(package: str, path: str) -> bytes:
    """A file of a package of npm."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, package]
        archive = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603
        with tarfile.open(Path(folder) / archive) as tar:
            file = tar.extractfile(f"package/{path}")
            return file.read() if file else b""


if __name__ == "__main__":
    sys.exit(main())
