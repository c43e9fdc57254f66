"""The body of PROPFIND, and the properties in its response (RFC 4918, sections 9.1, 14 and 15).

Requests are read with expat's events, so no tree is built; a document type, which entities need, is refused.
Responses are text, made one resource at a time: a folder may have hundreds of thousands of files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from enum import Enum
from itertools import chain
from typing import Final, NoReturn
from xml.parsers.expat import ExpatError, ParserCreate
from xml.sax.saxutils import escape, quoteattr

from saveany.errors import InvalidInput, TooLarge
from saveany.texts import gettext_noop

#: Maximum size of a body, and maximum number of properties that it names: clients ask for about 20.
MAX_BODY: Final = 32 << 10
MAX_NAMES: Final = 200
#: Maximum number of characters of all names, each with its namespace: those that the drive does not know are
#: repeated for each resource of the response.
MAX_NAME_CHARACTERS: Final = 16 << 10

_DAV: Final = "DAV:"
_BAD: Final = gettext_noop("the body is not a propfind element (RFC 4918, section 14.20)")
#: Characters that XML cannot contain, not even as references.
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

#: The name of a property: namespace, and local name.
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class DavResource:
    """A file or folder, as far as its properties need it."""

    name: str
    is_folder: bool
    size: int = 0  # bytes
    mime: str = ""
    etag: str = ""  # with quotes; "" if it is unknown
    added_at: int = 0  # ms; 0 if it is unknown


class PropfindKind(Enum):
    """The kinds of requests."""

    ALL = "allprop"
    NAMES = "propname"
    SOME = "prop"


_KINDS: Final = {kind.value: kind for kind in PropfindKind}


@dataclass(slots=True)
class PropertyRequest:
    """What a PROPFIND asks for."""

    kind: PropfindKind = PropfindKind.ALL
    names: list[Name] = field(default_factory=list)  # of properties, if they are named


def parse(body: bytes) -> PropertyRequest:
    """The request in a body; an empty one asks for all properties. Raises `InvalidInput` and `TooLarge`."""
    if len(body) > MAX_BODY:
        raise TooLarge("the body is larger than {limit} bytes", limit=MAX_BODY)
    return _Reader().read(body) if body.strip() else PropertyRequest()


class _Reader:
    """Reads one body."""

    def __init__(self) -> None:
        self._path: list[Name] = []  # of the open elements
        self._kinds: list[PropfindKind] = []
        self._names: dict[Name, None] = {}

    def read(self, body: bytes) -> PropertyRequest:
        """The request in a body."""
        parser = ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = _refuse_doctype
        try:
            parser.Parse(body, True)
        except (ExpatError, LookupError, ValueError) as error:  # also an encoding that does not exist
            raise InvalidInput("the body is not valid XML: {reason}", reason=str(error)) from None
        if len(self._kinds) != 1:
            raise InvalidInput(_BAD)
        return PropertyRequest(self._kinds[0], list(self._names))

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        namespace, _, local = tag.rpartition(" ")
        name = namespace, local
        match len(self._path):
            case 0 if name != (_DAV, "propfind"):
                raise InvalidInput(_BAD)
            case 1 if namespace == _DAV and local in _KINDS:
                self._kinds.append(_KINDS[local])
            case 2 if self._path[1] in ((_DAV, "prop"), (_DAV, "include")):
                self._names[name] = None
                if len(self._names) > MAX_NAMES:
                    raise InvalidInput("the body names more than {limit} properties", limit=MAX_NAMES)
                if sum(map(len, chain.from_iterable(self._names))) > MAX_NAME_CHARACTERS:
                    raise InvalidInput(
                        "the names of the properties have more than {limit} characters",
                        limit=MAX_NAME_CHARACTERS,
                    )
        self._path.append(name)

    def _end(self, _: str) -> None:
        self._path.pop()


def _refuse_doctype(*_: object) -> NoReturn:
    raise InvalidInput("the body has a document type, which is not accepted")


def _date(added_at: int) -> str | None:
    return formatdate(added_at // 1000, usegmt=True) if added_at else None


def _created(added_at: int) -> str | None:
    return f"{datetime.fromtimestamp(added_at // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}" if added_at else None


#: Local name -> the content of the property, as XML; None if a resource does not have it.
_PROPERTIES: Final[dict[str, Callable[[DavResource], str | None]]] = {
    "resourcetype": lambda found: "<D:collection/>" if found.is_folder else "",
    "displayname": lambda found: _text(found.name),
    "getcontentlength": lambda found: None if found.is_folder else str(found.size),
    "getcontenttype": lambda found: None if found.is_folder else _text(found.mime),
    "getetag": lambda found: _text(found.etag) or None,
    "getlastmodified": lambda found: _date(found.added_at),
    "creationdate": lambda found: _created(found.added_at),
}


class Renderer:
    """Makes the parts of a multistatus response to one request."""

    begin: Final = '<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:">\n'
    end: Final = "</D:multistatus>\n"

    def __init__(self, request: PropertyRequest) -> None:
        own = [local for namespace, local in request.names if namespace == _DAV and local in _PROPERTIES]
        self._locals = own if request.kind is PropfindKind.SOME else list(_PROPERTIES)
        self._values = request.kind is not PropfindKind.NAMES
        self._missing_too = request.kind is PropfindKind.SOME  # also says which properties there are not
        unknown = [name for name in request.names if name[0] != _DAV or name[1] not in _PROPERTIES]
        self._unknown = "".join(map(_element, unknown)) if self._missing_too else ""

    def response(self, href: str, resource: DavResource) -> str:
        """The properties of a resource."""
        found, missing = [], []
        for local in self._locals:
            value = _PROPERTIES[local](resource)
            if value is None:
                missing.append(f"<D:{local}/>")
            elif value and self._values:
                found.append(f"<D:{local}>{value}</D:{local}>")
            else:
                found.append(f"<D:{local}/>")
        absent = f"{''.join(missing)}{self._unknown}" if self._missing_too else ""
        stats = _status(found, "200 OK") if found or not absent else ""
        if absent:
            stats += _status([absent], "404 Not Found")
        return f"<D:response><D:href>{href}</D:href>{stats}</D:response>\n"


def error(condition: str) -> str:
    """The body of an error that names a condition (RFC 4918, section 16)."""
    return f'<?xml version="1.0" encoding="utf-8"?>\n<D:error xmlns:D="DAV:"><D:{condition}/></D:error>\n'


def _status(properties: Iterable[str], status: str) -> str:
    content = "".join(properties)
    return f"<D:propstat><D:prop>{content}</D:prop><D:status>HTTP/1.1 {status}</D:status></D:propstat>"


def _element(name: Name) -> str:
    """An empty element with a namespace of its own."""
    namespace, local = name
    return f"<{local} xmlns={quoteattr(namespace)}/>"


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))
