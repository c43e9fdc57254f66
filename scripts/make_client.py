"""Write the requests and models of `saveany.client` from docs/reference/openapi.json: one function for each
operation, one `TypedDict` for each schema. `make docs` runs this."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections import defaultdict
from pathlib import Path
from typing import Any

Json = dict[str, Any]

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "saveany/client"
_WIDTH = 106
_SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_METHODS = ("get", "post", "put", "patch", "delete")
_STREAM = "text/event-stream"


def main(folder: Path = FOLDER) -> None:
    """Write the modules into `folder`."""
    api: Json = json.loads((ROOT / "docs/reference/openapi.json").read_text())
    modules = {"models": _models(api["components"]["schemas"])}
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for path, item in api["paths"].items():
        for method in (each for each in _METHODS if each in item):
            operation = item[method]
            if _STREAM not in _content(operation):
                groups[operation["tags"][0]].append(_function(method.upper(), path, operation))
    modules |= {f"{tag}_requests": _module(tag, functions) for tag, functions in groups.items()}
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    files = [str(folder / f"{name}.py") for name in modules]
    for command in (["format"], ["check", "--fix", "--select", "I,F401"], ["format"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, "--quiet", *files], check=True)  # noqa: S603  # our own files


def _models(schemas: Json) -> str:
    parts = [
        '"""The bodies and replies of the API. `make docs` has written this from openapi.json."""',
        "from __future__ import annotations",
        "from typing import Any, Literal, NotRequired, TypedDict",
        *(_model(name, schema) for name, schema in sorted(schemas.items())),
    ]
    return "\n\n\n".join(parts) + "\n"


def _model(name: str, schema: Json) -> str:
    if "properties" not in schema:
        return f"{name} = {_type(schema)}"
    lines = [f"class {name}(TypedDict):", _doc(schema.get("description") or name, 4)]
    for field, each in schema["properties"].items():
        if text := each.get("description"):
            lines += [f"    #: {line}" for line in textwrap.wrap(text, _WIDTH - 8)]
        type_ = _type(each)
        lines.append(
            f"    {field}: {type_ if field in schema.get('required', ()) else f'NotRequired[{type_}]'}"
        )
    return "\n".join(lines)


def _module(tag: str, functions: list[str]) -> str:
    text = "\n\n\n".join(functions)
    used = sorted(set(re.findall(r"\bmodels\.(\w+)", text)))
    models = f"from saveany.client.models import {', '.join(used)}" if used else ""
    return "\n\n".join(
        [
            f'"""Requests of the API: {tag}. `make docs` has written this from openapi.json."""',
            "from __future__ import annotations",
            "from typing import TYPE_CHECKING, Any, Literal",
            "from saveany.client.request import ApiRequest, quoted",
            f"if TYPE_CHECKING:\n    {models}" if models else "",
            "",
            text.replace("models.", ""),
            "",
        ]
    )


def _function(method: str, path: str, operation: Json) -> str:
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation["operationId"]).lower()
    parameters = operation.get("parameters", [])
    places = [each for each in parameters if each["in"] == "path"]
    options = [each for each in parameters if each["in"] != "path"]
    body, given = _body(operation)
    arguments = [f"{_python(each['name'])}: {_type(each['schema'], 'models.')}" for each in places]
    arguments += [body] if body else []
    if options:
        arguments.append("*")
        arguments += [f"{_python(each['name'])}: {_optional(each)}" for each in options]
    address = re.sub(r"{(\w+)}", r"{quoted(\1)}", path)
    call = [repr(method), f'f"{address}"' if places else repr(path), *given]
    for kind, where in {"params": "query", "headers": "header"}.items():
        if some := [each["name"] for each in options if each["in"] == where]:
            call.append(f"{kind}={{{', '.join(f'{each!r}: {_python(each)}' for each in some)}}}")
    reply = _reply(operation)
    if reply in ("bytes", "str"):
        call.append(f"reply={reply!r}")
    text = f"{operation['summary'].rstrip('.')}.\n\n{operation.get('description', '')}"
    described = [each for each in parameters if each.get("description")]
    text += "".join(f"\n\n{_python(each['name'])}: {each['description']}" for each in described)
    head = f"def {name}({', '.join(arguments)}) -> ApiRequest[{reply}]:"
    return f"{head}\n{_doc(text, 4)}\n    return ApiRequest({', '.join(call)})"


def _body(operation: Json) -> tuple[str, list[str]]:
    content = operation.get("requestBody", {}).get("content", {})
    if "application/octet-stream" in content:
        return "content: bytes", ["content=content"]
    if "application/json" not in content:
        return "", []
    return f"body: {_type(content['application/json']['schema'], 'models.')}", ["body=body"]


def _optional(parameter: Json) -> str:
    type_ = _type(parameter["schema"], "models.")
    return type_ if parameter.get("required") else f"{type_} | None = None"


def _content(operation: Json) -> Json:
    replies = [reply for status, reply in operation["responses"].items() if status.startswith("2")]
    content: Json = replies[0].get("content", {}) if replies else {}
    return content


def _reply(operation: Json) -> str:
    content = _content(operation)
    if "application/json" in content:
        return _type(content["application/json"]["schema"], "models.")
    return "str" if any(kind.startswith("text/plain") for kind in content) else "bytes"


def _type(schema: Json, prefix: str = "") -> str:
    if "$ref" in schema:
        return prefix + str(schema["$ref"]).rpartition("/")[2]
    if several := schema.get("anyOf") or schema.get("oneOf"):
        return " | ".join(dict.fromkeys(_type(each, prefix) for each in several))
    if "const" in schema:
        return f"Literal[{schema['const']!r}]"
    if "enum" in schema:
        return f"Literal[{', '.join(map(repr, schema['enum']))}]"
    kind = schema.get("type")
    if kind == "array":
        return f"list[{_type(schema.get('items', {}), prefix)}]"
    if kind == "object":
        more = schema.get("additionalProperties")
        return f"dict[str, {_type(more, prefix) if isinstance(more, dict) and more else 'Any'}]"
    return _SIMPLE.get(str(kind), "Any")


def _python(name: str) -> str:
    plain = name.lower().replace("-", "_")
    return f"{plain}_" if plain in ("from", "type", "in") else plain


def _doc(text: str, indent: int) -> str:
    paragraphs = [each.replace("\n", " ") for each in text.strip().split("\n\n")]
    whole = "\n\n".join(textwrap.fill(each, _WIDTH - indent) for each in paragraphs if each)
    whole = whole.replace("\\", "\\\\").replace('"""', "'''")
    end = "\n" if "\n" in whole or whole.endswith('"') else ""
    return textwrap.indent(f'"""{whole}{end}"""', " " * indent)


if __name__ == "__main__":
    main()
