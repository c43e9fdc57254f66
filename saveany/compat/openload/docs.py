"""Generates docs/reference/old-hosts.md from the tables of dialects and calls.

`python -m saveany.compat.openload.docs` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import getdoc
from pathlib import Path
from typing import Any

from saveany.compat.openload.calls import CALLS, WITH_TICKET, CallSpec
from saveany.compat.openload.dialects import DIALECTS, Field

REFERENCE = Path("docs/reference/old-hosts.md")

_HEAD = """# APIs of old hosts

<!-- Written by `make docs` from the tables of dialects and calls; do not edit. -->

With `[compat.openload] enable = true` SaveAny speaks the API of openload, in three dialects. How to point a
client at it is in [Use clients of old hosts](../howto/old-hosts.md).

Each call is a GET or POST request with `login` and `key`, from `saveany key add NAME --user ID --compat`,
and the parameters below, in the query or in a form. The reply is always HTTP 200 with `{"status": …,
"msg": …, "result": …}`; what follows describes `result`. These addresses are not in openapi.json.

| `status` | Meaning |
|---|---|
| 200 | done |
| 400 | a parameter is missing or wrong, or the state does not allow it |
| 403 | wrong login or key, a key without the scope `compat`, a ticket that has expired |
| 404 | there is no such call, file or folder, or it belongs to somebody else |
| 509 | a limit on links or traffic is reached; 503 in the dialect of pstream |
| 50x | something is down, or not finished yet: `msg` says what |
"""
_RULES = """
## Rules for all calls

- Texts for nothing (empty, `0`, `None`, `null`, `undefined`, `{}`) count as a parameter that is left out.
  A folder that is left out is the root, except for `file/deletefolder`, which never deletes that.
- Slashes may be doubled. `folder=7amp;name=x` is read as `folder=7&name=x`.
- In names, `/` and `\\` become `_`, and control characters are removed. Several files in a folder may
  have the same name; a folder that exists already is returned instead of a second one.
- `file/ul` returns an address for one upload within a day. The first part with a file name is the file,
  whatever the part is called; a `sha256` or `sha1` that was given is checked. The reply comes when the
  file is in its storage, under the path that its folder has now, or with 503 after five minutes; it will
  be saved nevertheless.
- `sha1` is known of files that were uploaded here, and false for others.
- `remotedl/add` takes every link that SaveAny can save, such as `https://t.me/channel/123`. Headers apply
  to plain URLs. `limit` of `remotedl/status` is 1 to 100; other values mean the default. pstream had no
  `remotedl/remove`; here each dialect has all calls. Addresses in private networks end as `Invalid URL`,
  and are not connected to.
- `file/dl` needs no login: the ticket, valid for an hour, is enough. The address that it returns works
  for four hours.
- `link`, `embed_link` and the `url` of an upload work without a login until the file is deleted.
- Deleted files go to the trash. Folders exist only in the library: renaming moves nothing in a storage.
- `httponly` has no effect: addresses begin as `api.public_url`, else as that of the request.
- Conversions are those of `[convert]`; without it the lists are empty.
"""


def reference() -> str:
    """The text of the page."""
    lines = [_HEAD, *_dialects(), _RULES, "## Calls"]
    for path, call in CALLS.items():
        lines += _call(path, call)
    return "\n".join(lines) + "\n"


def _dialects() -> Iterator[str]:
    yield "| Dialect | Address | Hash | Remote uploads listed | Files in a folder |"
    yield "|---|---|---|---|---|"
    for each in DIALECTS:
        address = "/".join(filter(None, ("BASE", each.prefix)))
        files = "object by id" if each.files_by_id else "list"
        yield f"| {each.title} | `{address}` | `{each.hash}` | {each.listed} | {files} |"


def _call(path: str, call: CallSpec) -> Iterator[str]:
    about = (getdoc(call.handle) or "").replace("\n", " ")
    optional = (f"{name[1:-1]} (optional)" for name in call.parameters if name.startswith("["))
    required = [name for name in call.parameters if not name.startswith("[")]
    login = [] if path in WITH_TICKET else ["login", "key"]
    yield from ("", f"### `{path}`", "", about, "")
    yield f"Parameters: {', '.join([*login, *required, *optional])}."
    if call.fields:
        yield ""
        yield f"| Field | {' | '.join(each.title for each in DIALECTS)} | Meaning |"
        yield f"|---|{'---|' * len(DIALECTS)}---|"
        for field in call.fields:
            yield _field(field)


def _field(field: Field[Any]) -> str:
    forms = (field.forms.get(each.name) for each in DIALECTS)
    cells = " | ".join(form.title if form else "" for form in forms)
    return f"| `{field.name}` | {cells} | {field.about} |"


def write(root: Path) -> None:
    """Write the page under `root`, the root of the repository."""
    (root / REFERENCE).write_text(reference())


if __name__ == "__main__":
    write(Path(__file__).parents[3])
