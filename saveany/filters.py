"""Which of many files are wanted. One filter for ranges of messages, watched chats and rules."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Protocol

import re2
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

Kind = Literal["document", "photo", "video", "voice", "audio", "sticker", "animation", "video_note"]

#: A longer text is looked at up to here: a caption has at most 4,096 characters.
_MOST = 8192


class FileFacts(Protocol):
    """What a filter asks of a file."""

    @property
    def name(self) -> str | None:
        """As the sender gave it."""

    @property
    def caption(self) -> str:
        """The text beside it."""

    @property
    def kind(self) -> str:
        """One of `Kind`."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def date_ms(self) -> int:
        """When it was posted, milliseconds since 1970."""


def search(pattern: str, text: str) -> bool:
    """Whether a pattern occurs in a text; takes time in proportion to the text, whatever the pattern."""
    return _compiled(pattern).search(text[:_MOST]) is not None


def checked_pattern(pattern: str) -> str:
    """The pattern; `ValueError` with the reason if it is none."""
    try:
        _compiled(pattern)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(
            f"this is no regular expression in the syntax of RE2: {reason} (look-around and "
            "back-references are not known)"
        ) from None
    return pattern


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.max_mem = 1 << 20
    options.log_errors = False
    return re2.compile(pattern, options)  # which keeps the last ones


def _day(value: object) -> object:
    """A date alone is its first moment, in UTC; so is a time without a zone."""
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
    """Files for which all that is given holds; what is left out does not matter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Pattern = Field(
        default="",
        description="Regular expression (RE2, upper and lower case alike) that occurs in the file's name or "
        "in the text of the message.",
        examples=[r"\.(mkv|mp4)$"],
    )
    kinds: list[Kind] = Field(default=[], max_length=8, description="One of these kinds of media.")
    min_size: int = Field(default=0, ge=0, description="At least so many bytes.")
    max_size: int | None = Field(default=None, ge=0, description="At most so many bytes.")
    after: Moment | None = Field(
        default=None, description="Posted then or later; a date, or date and time (without a zone: UTC)."
    )
    before: Moment | None = Field(default=None, description="Posted earlier than then.")

    def accepts(self, file: FileFacts) -> bool:
        """Whether a file is wanted."""
        return (
            (not self.kinds or file.kind in self.kinds)
            and self.min_size <= file.size
            and (self.max_size is None or file.size <= self.max_size)
            and (self.after is None or file.date_ms >= _ms(self.after))
            and (self.before is None or file.date_ms < _ms(self.before))
            and (not self.name or any(search(self.name, text) for text in (file.name, file.caption) if text))
        )


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
