"""The themes of the pages of links, which `?theme=` chooses; without it the browser does."""

from __future__ import annotations

from typing import Final

THEMES: Final = ("light", "dark")
