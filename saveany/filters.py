"""A filter for files, used for ranges of messages and watched chats; its patterns are also those of rules."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Protocol

import re2
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from saveany.texts import Text

Kind = Literal["document", "photo", "video", "voice", "audio", "sticker", "animation", "video_note"]

#: Maximum number of characters of a text that are searched; a caption has at most 4,096.
_MAX_SEARCHED = 8192


class InvalidPattern(ValueError):
    """A pattern is not a regular expression in the syntax of RE2."""

    def __init__(self, reason: str) -> None:
        self.text = Text(
            "this is not a regular expression in the syntax of RE2: {reason} (look-around and "
            "back-references are not supported)",
            {"reason": reason},
        )
        super().__init__(str(self.text))


class FileFacts(Protocol):
    """The properties of a file that a filter checks."""

    @property
    def name(self) -> str | None:
        """The name that the sender gave it."""

    @property
    def caption(self) -> str:
        """The text of its message."""

    @property
    def kind(self) -> str:
        """One of `Kind`."""

    @property
    def size(self) -> int:
        """The size in bytes."""

    @property
    def date_ms(self) -> int:
        """When it was posted, in milliseconds since 1970."""


def search(pattern: str, text: str) -> bool:
    """Whether `pattern` occurs in `text`. The time is linear in the length of the text for every pattern."""
    return _compiled(pattern).search(text[:_MAX_SEARCHED]) is not None


def checked_pattern(pattern: str) -> str:
    """`pattern`, unchanged. Raises `InvalidPattern` if it is not a regular expression."""
    try:
        _compiled(pattern)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise InvalidPattern(reason) from None
    return pattern


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.max_mem = 1 << 20
    options.log_errors = False
    return re2.compile(pattern, options)  # re2 caches the compiled patterns


def _day(value: object) -> object:
    """A date means its first moment; a date or time without a zone is in UTC."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Pattern = Annotated[str, Field(max_length=500), AfterValidator(checked_pattern)]
Moment = Annotated[AwareDatetime, BeforeValidator(_day)]


class Filter(BaseModel):
    """Files that meet all given conditions; an omitted condition is met by every file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Pattern = Field(
        default="",
        description="Regular expression (RE2, ignoring case) that must occur in the file's name or in the "
        "text of the message.",
        examples=[r"\.(mkv|mp4)$"],
    )
    text: Pattern = Field(
        default="",
        description="Regular expression that must occur in the text of the message.",
        examples=["#keep"],
    )
    kinds: list[Kind] = Field(default=[], max_length=8, description="Only these kinds of media.")
    min_size: int = Field(default=0, ge=0, description="Minimum size in bytes.")
    max_size: int | None = Field(default=None, ge=0, description="Maximum size in bytes.")
    after: Moment | None = Field(
        default=None, description="Posted at or after this date or time (UTC unless a zone is given)."
    )
    before: Moment | None = Field(default=None, description="Posted before this date or time.")

    def accepts(self, file: FileFacts) -> bool:
        """Whether `file` meets all conditions."""
        return (
            (not self.kinds or file.kind in self.kinds)
            and self.min_size <= file.size
            and (self.max_size is None or file.size <= self.max_size)
            and (self.after is None or file.date_ms >= _ms(self.after))
            and (self.before is None or file.date_ms < _ms(self.before))
            and (not self.text or search(self.text, file.caption))
            and (not self.name or any(search(self.name, text) for text in (file.name, file.caption) if text))
        )


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
