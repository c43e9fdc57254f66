"""`python -m saveany.api.openapi` writes docs/reference/openapi.json; a test compares it with the API."""

from __future__ import annotations

import json
from pathlib import Path

from saveany.api.app import create_app
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.store import Store, connect

FILE = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"


def render() -> str:
    """The content of the file."""
    store = Store(connect("redis://"))  # neither connects
    app = create_app(Config(), store, Catalogue.of(Config(), store))
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(render())
