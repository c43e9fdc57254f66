"""The application: checks the signature of a request, finds its call, and writes the reply.

The HTTP status is 200 whatever happens, because clients read the code in the body, and ignore the body of
other replies.
"""

from __future__ import annotations

import re
from typing import Final
from uuid import uuid4
from xml.etree.ElementTree import Element

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from saveany.compat.addresses import path_parts, site_of, trust
from saveany.compat.streamapi.call import SCOPE, StreamApiServices, StreamCall
from saveany.compat.streamapi.calls import CALLS
from saveany.compat.streamapi.errors import (
    BAD_KEY,
    BAD_REQUEST_ID,
    BAD_SIGNATURE,
    MISSING,
    UNKNOWN,
    StreamApiError,
)
from saveany.compat.streamapi.signing import is_signed, parse
from saveany.compat.streamapi.xml import document
from saveany.errors import RequestError
from saveany.logs import get_logger

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
#: Parameters of every request.
_ALWAYS: Final = ("key", "sig", "rid")
_REQUEST_ID: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_GREATEST_REQUEST_ID: Final = 2**63 - 1

log = get_logger("saveany.compat.streamapi")


class StreamApiApp:
    """The API, at a path of SaveAny's address."""

    def __init__(self, services: StreamApiServices) -> None:
        self._services = services
        self._root = path_parts(services.config.compat.streamapi.path)

    def claims(self, scope: Scope) -> bool:
        """Whether a request is for this API."""
        return path_parts(scope["path"])[: len(self._root)] == self._root

    def is_upload(self, scope: Scope) -> bool:
        """Whether a request may have a body of any size."""
        return False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = Request(scope, receive)
        name = "/".join(path_parts(scope["path"])[len(self._root) :])
        response = Response(await self._reply(request, name), 200, _HEADERS, "application/xml")
        await response(scope, receive, send)

    async def _reply(self, request: Request, name: str) -> bytes:
        try:
            return document(0, "", await self._result(request, name))
        except StreamApiError as error:
            return document(error.code, error.message)
        except RequestError as error:
            return document(UNKNOWN, error.message)
        except HTTPException:
            return document(UNKNOWN, "the request is too large")
        except ClientDisconnect:
            return document(UNKNOWN, "the connection was closed")
        except Exception:
            number = uuid4().hex[:12]
            log.exception("request_crashed", error_id=number, call=name if name in CALLS else "")
            return document(UNKNOWN, f"something went wrong; look for the error id {number} in the log")

    async def _result(self, request: Request, name: str) -> list[Element]:
        spec = CALLS.get(name)
        if spec is None:
            raise StreamApiError(UNKNOWN, "there is no such call")
        if request.method != spec.method:
            raise StreamApiError(MISSING, f"send this request with {spec.method}")
        form = await request.body() if request.method == "POST" else b""
        parameters = parse(request.scope["query_string"], form)
        if missing := [each for each in (*_ALWAYS, *spec.required) if not parameters.get(each)]:
            raise StreamApiError(MISSING, f"required parameters are missing: {', '.join(missing)}")
        key = await self._services.keys.signing_key(parameters["key"])
        if key is None or SCOPE not in key.scopes:
            problem = f"there is no key with this id, with the scope {SCOPE} and a readable secret"
            raise StreamApiError(BAD_KEY, problem)
        if not is_signed(parameters, key.secret.get_secret_value()):
            raise StreamApiError(BAD_SIGNATURE, "the signature is wrong")
        self._services.keys.working.note_use(key)
        await self._advance(key.id, parameters["rid"])
        trust(request)
        site = site_of(self._services.config, request)
        return await spec.handle(StreamCall(self._services, parameters, key, site))

    async def _advance(self, key_id: str, rid: str) -> None:
        """Accept the id of a request whose signature is right."""
        if not _REQUEST_ID.fullmatch(rid) or int(rid) > _GREATEST_REQUEST_ID:
            raise StreamApiError(BAD_REQUEST_ID, "rid must be a number of at most 64 bits")
        if not await self._services.sessions.advance(key_id, int(rid)):
            raise StreamApiError(BAD_REQUEST_ID, "rid must be greater than that of every earlier request")
