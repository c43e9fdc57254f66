"""Reads requests as strictly as JSON and openapi.json demand, so that no typo goes unnoticed."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterable
from itertools import islice
from typing import Any, NoReturn

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response

from saveany.api.auth import requirement_of
from saveany.api.errors import MAX_PROBLEMS, one_of, shortened
from saveany.api.services import ApiServices
from saveany.texts import Field, Text, WrongValue

#: Maximum number of names in one object of a body; the headers of a download need the most.
MAX_NAMES = 1000

_SAFE = frozenset({"GET", "HEAD"})

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class JsonRoute(APIRoute):
    """A route that refuses callers without the right to use it, unknown query parameters, and bodies that
    are not strictly JSON."""

    #: Whether the body must be JSON.
    is_json = True

    def get_route_handler(self) -> Handler:
        """The handler with these checks (see "Custom Request and APIRoute class" in FastAPI's docs)."""
        handle = super().get_route_handler()
        known = _query_names(self)
        takes_body = self.body_field is not None
        changes = not set(self.methods or ()) <= _SAFE
        requirement = requirement_of(self)

        async def strict(request: Request) -> Response:
            if requirement:
                requirement.check(request.scope["state"]["caller"], request.method)  # before anything is read
            if request.scope["query_string"]:
                _check_query(request.query_params, known)
            if changes and self.is_json:
                _check_type(request, takes_body)
            services: ApiServices = request.app.state.services
            with services.foreground.work():
                return await handle(_JsonRequest(request.scope, request.receive))

        return strict


class FileRoute(JsonRoute):
    """A route that makes the same checks, but takes any body, which may be a file."""

    is_json = False


class _JsonRequest(Request):
    async def json(self) -> Any:
        """The body. Raises HTTP 400 even for errors that Python's parser tolerates."""
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body())
        return self._json


def parse_json(body: bytes) -> Any:
    """The value of JSON text (RFC 8259, UTF-8, unique names). Raises HTTP 400 with the reason."""
    try:
        return json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    except UnicodeDecodeError:
        raise _bad("the body is not UTF-8") from None
    except RecursionError:
        raise _bad("the body is nested too deeply") from None
    except ValueError as error:
        raise _bad("the body is not valid JSON: {reason}", reason=_reason(error)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_NAMES:
        raise WrongValue("an object has more than {n} names", n=MAX_NAMES)
    found = dict(pairs)
    if len(found) < len(pairs):
        name = shortened(repeated(name for name, _ in pairs)[0])
        raise WrongValue("{name!r} occurs twice", name=name)
    return found


def repeated(names: Iterable[str]) -> list[str]:
    """The names that occur more than once, each of them once."""
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for name in names:
        if name in seen:
            twice[name] = None
        seen.add(name)
    return list(twice)


def _no_number(word: str) -> NoReturn:
    raise WrongValue("{word} is not a JSON number", word=word)


def _reason(error: ValueError) -> Text:
    return error.text if isinstance(error, WrongValue) else Text(str(error))


def _bad(template: str, **fields: Field) -> HTTPException:
    return HTTPException(400, Text(template, fields))


def _check_type(request: Request, takes_body: bool) -> None:
    """Raises HTTP 415 unless the body is declared as JSON, which forms and scripts of other sites cannot do.

    A request without a body need not declare it, except a POST to an API without a token, which every web
    page can send."""
    headers = request.headers
    if content_type := headers.get("content-type"):
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
            return
    elif not (takes_body or has_body(headers) or _anybody_could_post(request)):
        return
    raise HTTPException(415)


def has_body(headers: Headers) -> bool:
    """Whether a request has a body that is not empty."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _anybody_could_post(request: Request) -> bool:
    services: ApiServices = request.app.state.services
    return request.method == "POST" and not services.config.api.token.get_secret_value()


def _query_names(route: APIRoute) -> frozenset[str]:
    names: set[str] = set()
    for param in route.dependant.query_params:
        annotation = param.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            names |= {field.alias or name for name, field in annotation.model_fields.items()}
        else:
            names.add(param.alias)
    return frozenset(names)


def _check_query(query: QueryParams, known: frozenset[str]) -> None:
    names = [name for name, _ in query.multi_items()]
    unknown = dict.fromkeys(name for name in names if name not in known)
    problems = {shortened(name): _unknown(name, known) for name in islice(unknown, MAX_PROBLEMS + 1)}
    problems |= {name: Text("occurs twice") for name in repeated(names) if name in known}
    if problems:
        raise RequestValidationError(
            [{"type": "query", "loc": ("query", name), "msg": text} for name, text in problems.items()]
        )


def _unknown(name: str, known: frozenset[str]) -> Text:
    if not known:
        return Text("this address has no query parameters")
    hint = one_of(shortened(name), sorted(known))
    return Text("there is no such parameter; {hint}", {"hint": hint})
