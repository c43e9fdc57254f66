"""Error responses: one JSON format for errors of this project, of the framework, and for crashes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from saveany.api.bodies import BODIES
from saveany.api.models import ErrorReply
from saveany.config.hints import closest
from saveany.errors import InvalidInput, RequestError, StoreUnavailable, TooMany, Unauthorized
from saveany.languages import localized, preferred, requested
from saveany.logs import get_logger
from saveany.texts import StoredText, Text, gettext_noop, joined
from saveany.validation import describe

log = get_logger("saveany.api")

#: Maximum number of problems reported for one request, and maximum number of characters quoted of a name in
#: the request, so that a response stays small.
MAX_PROBLEMS = 20
MAX_NAME = 100

#: The name of a field, and what is wrong with it.
Detail = tuple[str, Text]

#: Kinds of errors by status. Those of the framework get their message from `_MESSAGES`.
_KINDS = {each.status: each.error for each in RequestError.__subclasses__()} | {
    400: "Bad request",
    405: "Method not allowed",
    408: "Request timeout",
    413: "Content too large",
    415: "Unsupported media type",
    431: "Request header fields too large",
    500: "Internal error",
}
_MESSAGES = {
    401: Unauthorized().text,
    404: Text("there is nothing at this address; /openapi.json lists all addresses"),
    405: Text("this address does not support this method; the Allow header lists those it supports"),
    413: Text("the body is larger than 2 MiB; send less"),
    415: Text("send the body as JSON, with the header Content-Type: application/json"),
    500: Text(
        "something went wrong inside SaveAny; look for the error id {id} in its log", {"id": "5f0c1d2e3a4b"}
    ),
}
#: Fields of the plain body that have no counterpart in the typed one.
_LINKS = frozenset({"telegram_url", "url"})


def kind(status: int) -> str:
    """The name of an HTTP error status."""
    return _KINDS[status]


def error_body(
    status: int, error: str, message: StoredText, details: Iterable[Detail] = ()
) -> dict[str, Any]:
    """The JSON body of an error, with messages in the language that the client has asked for."""
    body: dict[str, Any] = {"error": error, "code": status, "message": localized(message)}
    if listed := [{"field": field, "message": localized(text)} for field, text in details]:
        body["details"] = listed
    return body


def error_response(error: RequestError | HTTPException, details: Sequence[Detail] = ()) -> Response:
    """The response for a request that is refused."""
    if isinstance(error, HTTPException):
        message: StoredText = error.detail if error.status_code == 400 else _MESSAGES[error.status_code]
        return _response(error.status_code, _KINDS[error.status_code], message, headers=error.headers)
    if isinstance(error, InvalidInput) and error.field and not details:
        details = [(error.field, error.text)]
    return _response(error.status, error.error, error.text, details, _headers(error))


def _headers(error: RequestError) -> dict[str, str]:
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, TooMany):
        return {"Retry-After": f"{error.after:.0f}", **rate_limit(error.maximum, 0, error.after)}
    return {"Retry-After": f"{error.after:.0f}"} if error.after else {}


def rate_limit(maximum: int, remaining: int, reset: float) -> dict[str, str]:
    """The headers that describe a limit; it has `remaining` requests left, and one more after `reset`
    seconds. The header has the time of that, in seconds since the epoch."""
    values = {"Limit": maximum, "Remaining": remaining, "Reset": math.ceil(time.time() + reset)}
    return {f"X-RateLimit-{name}": str(value) for name, value in values.items()}


def _response(
    status: int,
    error: str,
    message: StoredText,
    details: Iterable[Detail] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    # json's ASCII output can express every name that a client sends, even with lone surrogates.
    content = json.dumps(error_body(status, error, message, details)).encode()
    # Caches may keep an error such as 410, but a revoked link can work again.
    return Response(content, status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")


def responses(*statuses: int, public: bool = False) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, for openapi.json: these statuses and those that every route has, or
    every `public` one."""
    # unknown query parameter, another site, a bug, no Redis; no token
    common = (400, 403, 500, 503) if public else (400, 401, 403, 500, 503)
    return {status: _described(status) for status in sorted({*common, *statuses})}


def _described(status: int) -> dict[str, Any]:
    message = _MESSAGES.get(status, Text("what is wrong, and what to do"))
    content = {
        "schema": {"$ref": "#/components/schemas/Error"},
        "example": error_body(status, _KINDS[status], message),
    }
    return {"description": _KINDS[status], "content": {"application/json": content}}


def schemas() -> dict[str, Any]:
    """The schemas that `responses` refers to, by name."""
    schema = ErrorReply.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "Error": schema}


def install(app: FastAPI) -> None:
    """Make `app` return every error in our format."""
    app.exception_handler(RequestError)(_refused)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_http)


async def _refused(_: Request, error: RequestError) -> Response:
    return refused(error)


def refused(error: RequestError) -> Response:
    """The response for a request that has failed; an outage of the store is logged."""
    if isinstance(error, StoreUnavailable):
        log.error("request_failed", reason=error.message, cause=str(error.__cause__ or ""))
    return error_response(error)


async def _invalid(_: Request, error: RequestValidationError) -> Response:
    found = error.errors()
    details = [_detail(each) for each in found[:MAX_PROBLEMS]]
    sentences = [_sentence(detail) for detail in details]
    if (more := len(found) - len(details)) > 0:
        sentences.append(Text("and {n} more", {"n": more}))
    return error_response(InvalidInput(joined(sentences, "; ")), details)


async def _http(request: Request, error: HTTPException) -> Response:
    status = error.status_code
    if status < 400:
        return Response(status_code=status)
    response = error_response(error)
    if status == 405:
        response.headers["Allow"] = _allowed(request) or response.headers["Allow"]
    return response


def _allowed(request: Request) -> str:
    """All methods of an address. The framework names only one, because each method is a separate route. An
    address of its own, such as `/archives/estimate`, is not the id of an archive."""
    path = request.scope["path"]
    found = [route for route in request.app.state.routes if route.path_regex.match(path)]
    own = [route for route in found if route.path == path] or found
    return ", ".join(sorted({method for route in own for method in route.methods}))


class RequestedLanguage:
    """Middleware: notes the language that a client asks for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        header = b",".join(value for name, value in scope["headers"] if name == b"accept-language")
        with_language = requested.set(preferred(header.decode("latin-1")))
        try:
            await self._app(scope, receive, send)
        finally:
            requested.reset(with_language)


class CrashHandler:
    """The outermost middleware: logs an unexpected error under an id, and returns the id to the caller."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            if scope["type"] != "http" or started:
                raise
            number = uuid4().hex[:12]
            log.exception("request_crashed", error_id=number, method=scope["method"], path=_logged(scope))
            message = Text(_MESSAGES[500].template, {"id": number})
            await _response(500, _KINDS[500], message)(scope, receive, send)


def _logged(scope: Scope) -> str:
    """The path of a request, without the token of a link in it."""
    path: str = scope["path"]
    token = scope.get("path_params", {}).get("token")
    return path.replace(token, "…") if token else path


def shortened(name: str) -> str:
    """A name from the request, cut to `MAX_NAME` characters."""
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…"


def _sentence(detail: Detail) -> Text:
    field, text = detail
    return Text("{name}: {reason}", {"name": field, "reason": text}) if field else text


def _detail(found: dict[str, Any]) -> Detail:
    """An error of pydantic as field and message."""
    source, *names = (shortened(str(name)) for name in found["loc"])
    body = BODIES.get(names[0]) if source == "body" and names else None
    names = names[1:] if body else names
    field = ".".join(names) or source
    if found["type"] != "extra_forbidden":
        return field, _text(found)
    top = body.model_fields if body and len(names) == 1 else ()
    return field, _unknown(names, found.get("ctx", {}).get("known") or top)


def _unknown(names: Sequence[str], known: Collection[str]) -> Text:
    name = names[-1]
    if not known:
        return Text("there is no such field")
    if len(names) == 1 and name in _LINKS:
        hint = Text("links go into params; GET /api/v1/task-types lists their names")
    else:
        hint = one_of(name, known)
    return Text("there is no such field; {hint}", {"hint": hint})


def one_of(name: str, known: Iterable[str]) -> Text:
    """What a name was probably meant to be, or which names there are."""
    if near := closest(name, known):
        return Text("did you mean {name}?", {"name": near})
    return Text("there are: {names}", {"names": ", ".join(known)})


#: What JSON calls values; all other descriptions are those of `saveany.validation`.
_JSON_TEXTS = {
    "missing": gettext_noop("is required"),
    "bool_type": gettext_noop("must be true or false"),
    "model_attributes_type": gettext_noop("must be a JSON object"),
    "model_type": gettext_noop("must be a JSON object"),
    "dict_type": gettext_noop("must be a JSON object"),
    "list_type": gettext_noop("must be a JSON array"),
    "string_type": gettext_noop("must be a string"),
    "string_unicode": gettext_noop("must be valid unicode"),
    "string_pattern_mismatch": gettext_noop("contains a character that is not allowed"),
    "datetime_parsing": gettext_noop("must be a valid date and time"),
    "datetime_from_date_parsing": gettext_noop("must be a valid date and time"),
    "timezone_aware": gettext_noop("must have a time zone"),
}
#: Validators of our own, whose message is meant for the user.
_OWN_TYPES = frozenset({"query", "one_link", "time"})


def _text(found: dict[str, Any]) -> Text:
    if found["type"] in _OWN_TYPES:
        message = found["msg"]
        return message if isinstance(message, Text) else Text(str(message))
    own = _JSON_TEXTS.get(found["type"])
    return Text(own) if own else describe(found)
