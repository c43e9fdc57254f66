"""Parsers for docker-compose.yml and the Dockerfile."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]


def compose() -> dict[str, Any]:
    """The compose file, its anchors resolved."""
    data: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return data


def seconds(text: str) -> float:
    """A duration as compose writes it: 10s, 5m."""
    found = re.fullmatch(r"(\d+)([sm])", text)
    assert found, text
    return int(found[1]) * {"s": 1, "m": 60}[found[2]]


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, continuation lines joined."""

    word: str
    rest: str

    @property
    def argv(self) -> list[str]:
        """The exec form: `["saveany", "run"]`."""
        argv: list[str] = json.loads(self.rest[self.rest.index("[") :])
        return argv


def dockerfile() -> list[Instruction]:
    """The instructions of the Dockerfile, in order."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    words = (line.split(None, 1) for line in lines if line.strip())
    return [Instruction(word, rest.strip()) for word, rest in words]


def runtime() -> list[Instruction]:
    """The instructions of the last stage: the image itself."""
    found = dockerfile()
    last = max(n for n, one in enumerate(found) if one.word == "FROM")
    return found[last:]


def one(instructions: list[Instruction], word: str) -> Instruction:
    """The only instruction of that word."""
    (found,) = [each for each in instructions if each.word == word]
    return found


def image_environment() -> dict[str, str]:
    """The variables of the image."""
    rest = one(runtime(), "ENV").rest
    return dict(pair.split("=", 1) for pair in shlex.split(rest))
