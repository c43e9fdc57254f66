"""Requests that are signed with the secret of a key: HTTP Message Signatures (RFC 9421) with HMAC-SHA256.

The signature must cover the method, the address, and the SHA-256 of the body (Content-Digest, RFC 9530), and
have a key id, a time and a nonce. docs/howto/signed-requests.md describes it for clients.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import http_sf
from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    MappingKeyResolver,
    algorithms,
)
from starlette.types import Message, Receive, Scope

from saveany.api.limits import body_kind, has_body
from saveany.catalogue.keys import ApiKey
from saveany.errors import Forbidden, InvalidInput, Unauthorized
from saveany.service.keys import KeyService
from saveany.store.nonces import Nonces

#: Seconds that the time of a signature may differ from the clock of Redis.
MAX_AGE_SECONDS: Final = 300
#: Maximum length of a nonce.
MAX_NONCE: Final = 128


@dataclass(frozen=True, slots=True)
class _Parameters:
    """What a request says about its signature, before that is verified."""

    key_id: str
    nonce: str
    created: int  # seconds since the epoch
    expires: int | None
    covered: frozenset[str]


class SignedRequests:
    """Finds out which key has signed a request."""

    def __init__(self, keys: KeyService, nonces: Nonces, public_url: str) -> None:
        self._keys = keys
        self._nonces = nonces
        self._public_url = public_url.rstrip("/")

    async def verify(self, scope: Scope, receive: Receive) -> tuple[ApiKey, Receive]:
        """The key that has signed a request, and what the application receives in place of `receive`.

        A short body has been read and verified then; a file is verified while it is read. The nonce is used
        up by a request that is right in everything else. Raises `Unauthorized`, `Forbidden` for a request
        that cannot be signed, and what `receive` raises."""
        if (kind := body_kind(scope)) == "parts":  # the headers of tus say what such a request does
            raise Forbidden(
                "uploads in parts cannot be signed; send the whole file to POST /api/v1/files, or the key as "
                "Authorization: Bearer"
            )
        given = _parameters(scope)
        _check_coverage(scope, given)
        key = await self._keys.signing_key(given.key_id)
        if key is None:
            raise Unauthorized(
                "there is no key with this keyid and a readable secret; make one with {command}",
                command="saveany key add NAME --user ID --readable",
            )
        signed = self._verified(scope, key)
        digest = _digest(signed) if "content-digest" in given.covered else None
        if digest is not None and not has_body(scope):
            _compare(hashlib.sha256(b"").digest(), digest)
        elif digest is not None:
            body = _checked(receive, digest)
            receive = body if kind == "file" else await _read(body, receive)
        await self._accept(key, given)
        self._keys.working.note_use(key)
        return key, receive

    def _verified(self, scope: Scope, key: ApiKey) -> Mapping[str, str]:
        """The values of the signed components. Raises `Unauthorized`."""
        secret = key.secret.get_secret_value().encode()
        resolver = MappingKeyResolver(public_keys={key.id: secret}, private_keys={})
        verifier = _Verifier(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=resolver)
        for url in self._addresses(scope):
            try:
                [result] = verifier.verify(_Message(scope, url), max_age=None)
            except HTTPMessageSignaturesException:
                continue
            return result.covered_components
        raise Unauthorized(
            "the signature does not match this request: the secret is a different one, or the method, the "
            "address or a signed header is; behind a proxy, sign @path and @query instead of @target-uri"
        )

    def _addresses(self, scope: Scope) -> Iterable[str]:
        """The addresses that the client may mean: that of the request, and the public one, which a proxy may
        have changed."""
        host = b"".join(value for name, value in scope["headers"] if name == b"host").decode("latin-1")
        path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
        target = f"{path}?{query}" if query else path
        yield f"{scope['scheme']}://{host}{target}"
        if self._public_url:
            yield f"{self._public_url}{target}"

    async def _accept(self, key: ApiKey, given: _Parameters) -> None:
        """Use up the nonce. Raises `Unauthorized` if it was used before, or at another time."""
        first, last = given.created - MAX_AGE_SECONDS, given.created + MAX_AGE_SECONDS
        last = last if given.expires is None else min(last, given.expires)
        is_new, now = await self._nonces.accept(key.id, given.nonce, first * 1000, last * 1000)
        if is_new:
            return
        seconds = round(now / 1000) - given.created
        if now > last * 1000 and seconds <= MAX_AGE_SECONDS:
            raise Unauthorized("the signature has expired; sign the request again")
        if not first * 1000 <= now <= last * 1000:
            raise Unauthorized(
                "the time of the signature differs by {seconds} seconds from the clock of this server, more "
                "than {most}; sign the request again, and check the clock of your machine",
                seconds=abs(seconds),
                most=MAX_AGE_SECONDS,
            )
        raise Unauthorized("a request with this nonce was received before; use a new nonce for each request")


class _Verifier(HTTPMessageVerifier):
    def validate_created_and_expires(self, sig_input: object, max_age: object = None) -> None:
        """Leave the times to `Nonces.accept`, which has one clock for all processes."""


class _Message:
    """A request as the library reads it."""

    def __init__(self, scope: Scope, url: str) -> None:
        self.method: str = scope["method"]
        self.url = url
        self.headers = _Headers((name, value) for name, value in scope["headers"])


class _Headers:
    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]

    def items(self) -> Iterable[tuple[str, str]]:
        """All header lines."""
        return self._headers


def _parameters(scope: Scope) -> _Parameters:
    """What a request says about its signature. Raises `Unauthorized`."""
    inputs, signatures = _dictionary(scope, "Signature-Input"), _dictionary(scope, "Signature")
    if len(inputs) != 1 or inputs.keys() != signatures.keys():
        raise Unauthorized("send one signature, with the same label in Signature and Signature-Input")
    [member] = inputs.values()
    components, parameters = member if isinstance(member[0], list) else ([], member[1])
    found = {name: _parameter(parameters, name, type_) for name, type_ in _REQUIRED.items()}
    if not 0 < len(found["nonce"]) <= MAX_NONCE:
        raise Unauthorized("the nonce must have 1 to {most} characters", most=MAX_NONCE)
    if parameters.get("alg", algorithms.HMAC_SHA256.algorithm_id) != algorithms.HMAC_SHA256.algorithm_id:
        raise Unauthorized("the algorithm of the signature must be hmac-sha256")
    return _Parameters(
        key_id=found["keyid"],
        nonce=found["nonce"],
        created=found["created"],
        expires=_parameter(parameters, "expires", int) if "expires" in parameters else None,
        covered=frozenset(name for name, flags in components if isinstance(name, str) and not flags),
    )


#: Parameters that each signature must have.
_REQUIRED: Final[Mapping[str, type]] = {"keyid": str, "nonce": str, "created": int}


def _parameter(parameters: Mapping[str, Any], name: str, type_: type) -> Any:
    value = parameters.get(name)
    if type(value) is not type_:  # a Token is a str, and a Boolean an int, to isinstance
        raise Unauthorized(
            "the signature needs the parameter {name}, as {kind}",
            name=name,
            kind=f'{name}="…"' if type_ is str else f"{name}=1234567890",
        )
    return value


def _dictionary(scope: Scope, header: str) -> dict[str, Any]:
    """A header that is a dictionary (RFC 9651). Raises `Unauthorized`."""
    name = header.lower().encode()
    return _parsed(b", ".join(value for key, value in scope["headers"] if key == name), header)


def _parsed(value: bytes, header: str) -> dict[str, Any]:
    try:
        return dict(http_sf.parse(value, tltype="dictionary"))  # type: ignore[arg-type]  # a dictionary
    except ValueError:
        raise Unauthorized("the header {header} is not valid", header=header) from None


def _check_coverage(scope: Scope, given: _Parameters) -> None:
    """Raise `Unauthorized` unless everything that counts is signed."""
    needed = ["@method"]
    if "@target-uri" not in given.covered:
        needed += ["@path", "@query"] if scope["query_string"] else ["@path"]
    if has_body(scope):
        needed.append("content-digest")
    if missing := [name for name in needed if name not in given.covered]:
        raise Unauthorized("the signature must cover {names}", names=", ".join(missing))


def _digest(signed: Mapping[str, str]) -> bytes:
    """The SHA-256 that the body must have. Raises `Unauthorized`."""
    member = _parsed(signed['"content-digest"'].encode("latin-1"), "Content-Digest").get("sha-256")
    if not (isinstance(member, tuple) and isinstance(member[0], bytes)):
        raise Unauthorized("the header Content-Digest must have the SHA-256 of the body: sha-256=:BASE64:")
    return member[0]


def _checked(receive: Receive, digest: bytes) -> Receive:
    """The messages of a body; raises `Unauthorized` in place of the last one if it has another SHA-256."""
    hasher = hashlib.sha256()

    async def checked() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            hasher.update(message.get("body", b""))
            if not message.get("more_body", False):
                _compare(hasher.digest(), digest)
        return message

    return checked


def _compare(actual: bytes, digest: bytes) -> None:
    if not hmac.compare_digest(actual, digest):
        raise Unauthorized("the body does not have the SHA-256 in Content-Digest")


async def _read(body: Receive, rest: Receive) -> Receive:
    """Read a short body; returns what has its messages again, and then the `rest`."""
    messages: deque[Message] = deque()
    while not messages or messages[-1].get("more_body", False):
        messages.append(await body())
        if messages[-1]["type"] != "http.request":
            raise InvalidInput("the connection was closed before the end of the body")

    async def again() -> Message:
        return messages.popleft() if messages else await rest()

    return again
