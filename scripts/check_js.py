"""Check the JavaScript of the web UI: its types, with those of openapi.json, and what the linter finds. `make
lint` runs this. Without node and npm nothing is checked: SaveAny itself needs neither. CI has them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "scripts/js"
OPENAPI = ROOT / "docs/reference/openapi.json"
GENERATED = TOOLS / "generated.d.ts"
INSTALLED = TOOLS / "node_modules/.package-lock.json"


def main() -> int:
    """The exit code."""
    if not (shutil.which("node") and shutil.which("npm")):
        return _skipped("node and npm are not installed")
    if _is_older(INSTALLED, TOOLS / "package-lock.json"):
        if _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"):
            return _skipped("npm could not install what checks it")
        INSTALLED.touch()
    if _is_older(GENERATED, OPENAPI) and _tool("openapi-typescript", str(OPENAPI), "-o", GENERATED.name):
        return 1
    failed = _tool("tsc", "--project", "tsconfig.json")
    # ESLint ignores what is outside of the current folder.
    return _tool("eslint", "--config", "scripts/js/eslint.config.js", "saveany/web", cwd=ROOT) or failed


def _skipped(reason: str) -> int:
    print(f"JavaScript is not checked: {reason}", file=sys.stderr)
    return int(os.environ.get("CI") == "true")


def _is_older(made: Path, source: Path) -> bool:
    return not made.exists() or made.stat().st_mtime < source.stat().st_mtime


def _tool(name: str, *arguments: str, cwd: Path = TOOLS) -> int:
    return _run(str(TOOLS / "node_modules/.bin" / name), *arguments, cwd=cwd)


def _run(*command: str, cwd: Path = TOOLS) -> int:
    """Run a program; it prints only when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603  # fixed commands
    if done.returncode:
        print(f"{Path(command[0]).name}:\n{done.stdout}{done.stderr}", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
