"""The sample replies in the seeds, which are not always valid JSON, by call."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent

#: The titles in the README of the Streamtape wrapper, and the calls that they are about.
_CALLS = {
    "account_info": "account/info",
    "get_download_ticket": "file/dlticket",
    "get_download_link": "file/dl",
    "check_file": "file/info",
    "add_remote_upload": "remotedl/add",
    "remove_remote_upload": "remotedl/remove",
    "check_remote_upload_status": "remotedl/status",
    "subfolder_content": "file/listfolder",
}


def streamtape() -> dict[str, Any]:
    """The samples of seed 001."""
    text = (_HERE / "001-streamtape-python-api.txt").read_text()
    found = re.findall(r"\*\*(\w+)\*\*[^*`]*```\n(.*?)```", text, re.DOTALL)
    return {_CALLS[name]: _json(sample) for name, sample in found}


def pstream() -> dict[str, Any]:
    """The samples of seed 003."""
    text = (_HERE / "003-pstream-api.txt").read_text()
    samples = {}
    for part in text.split("https://api.pstream.net/v1/")[1:]:
        call = part.partition("?")[0]
        sample = part.partition("Content-Type: application/json\n")[2]
        samples[call] = _json(sample[: sample.rindex("\n}") + 2])
    return samples


def _json(text: str) -> Any:
    """The value of a sample, with the errors of its author corrected."""
    text = re.sub(r"null,?\n", "null,\n", text)
    text = re.sub(r",(\s*[}\]])", r"\1", text)
    text = re.sub(r'"files": \[(\s*"[^"]+": \{.*\})\s*\]', r'"files": {\1}', text, flags=re.DOTALL)
    return json.loads(text)


def shape(value: Any) -> Any:
    """A reply with types in place of values. Of a list, and of an object by ids, the set of the shapes of its
    parts."""
    if isinstance(value, list):
        return ["list", *_shapes(value)]
    if not isinstance(value, dict):
        return type(value).__name__
    if all(isinstance(each, dict) for each in value.values()):
        return ["by id", *_shapes(list(value.values()))]
    return {name: shape(each) for name, each in value.items()}


def _shapes(values: list[Any]) -> list[str]:
    return sorted({json.dumps(shape(each), sort_keys=True) for each in values})
