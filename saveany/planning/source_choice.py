"""Choosing the source of a task: by its type, or by the link."""

from __future__ import annotations

from collections.abc import Sequence

from saveany import advice
from saveany.config import Config
from saveany.errors import InvalidInput
from saveany.planning.hints import hint
from saveany.sources import SourceSpec, sources
from saveany.texts import Field, Text

#: Maximum number of characters of a link that an error message quotes.
_SHOWN_LINK = 200


def source_of(config: Config, type_: str) -> SourceSpec:
    """The source named `type_`. Raises `InvalidInput` (field `type`) if it does not exist, is disabled, or is
    not for requests."""
    known = {name: spec for name, spec in sources().items() if not spec.internal}
    source = known.get(type_)
    if source is None:
        usable = [spec.type for spec in known.values() if is_enabled(config, spec)]
        raise InvalidInput(
            "there is no task type {type!r}; {hint}", "type", type=type_, hint=hint(type_, known, usable)
        )
    if not is_enabled(config, source):
        raise InvalidInput(
            "task type {type!r} is disabled; {advice}", "type", type=type_, advice=how_to_enable(source)
        )
    return source


def source_for(config: Config, link: str) -> SourceSpec:
    """The first source that claims `link`.

    Raises `InvalidInput` (field `links`) if no source does, or if that source is disabled: the next one would
    save the page of a video in place of the video.
    """
    claiming = [source for source in sources().values() if source.claims(link)]
    if not claiming:
        raise InvalidInput(
            "this link is not supported; send the link of a Telegram message, such as "
            "https://t.me/channel/123, or the URL of a file",
            "links",
        )
    source, *others = claiming
    if is_enabled(config, source):
        return source
    raise InvalidInput(_disabled(config, source, others), "links")


def canonical_links(config: Config, source: SourceSpec, links: Sequence[str]) -> tuple[str, ...]:
    """The links in canonical form, without duplicates: one task fetches no file twice.

    Raises `InvalidInput` for a link that `source` cannot take; it names the link if there are several.
    """
    only = len(links) == 1
    return tuple(dict.fromkeys(_canonical(config, source, link, only=only) for link in links))


def is_enabled(config: Config, source: SourceSpec) -> bool:
    """Whether the configuration enables `source`."""
    return not source.table or bool(getattr(config, source.table).enable)


def how_to_enable(source: SourceSpec) -> Text:
    """What to do to enable a source that is disabled."""
    return Text(
        "set enable = true in [{table}] of config.toml ({command}), and start SaveAny again",
        {"table": source.table, "command": advice.command(f"config set {source.table}.enable true")},
    )


def _disabled(config: Config, source: SourceSpec, others: Sequence[SourceSpec]) -> Text:
    fields: dict[str, Field] = {"type": source.type, "advice": how_to_enable(source)}
    other = next((each.type for each in others if is_enabled(config, each)), "")
    if not other:
        return Text("this link is for {type}, which is disabled; {advice}", fields)
    return Text(
        "this link is for {type}, which is disabled; {advice}. Or choose the type {other}, to save what "
        "is at the URL itself",
        {**fields, "other": other},
    )


def _canonical(config: Config, source: SourceSpec, link: str, *, only: bool) -> str:
    try:
        return source.canonical(link)
    except InvalidInput as error:
        reason = _with_other_source(config, source, link, error.text)
        if not only:
            reason = Text("{link}: {reason}", {"link": link[:_SHOWN_LINK], "reason": reason})
        raise InvalidInput(reason, error.field) from error


def _with_other_source(config: Config, source: SourceSpec, link: str, reason: Text) -> Text:
    """`reason`, and which other source takes a link that `source` has refused."""
    other = next((each for each in sources().values() if each.claims(link)), source)
    if other is source:
        return reason
    fields: dict[str, Field] = {"reason": reason, "type": other.type}
    if is_enabled(config, other):
        return Text("{reason} It is a link for {type}: give it as url, or choose that type.", fields)
    return Text(
        "{reason} It is a link for {type}, which is disabled; {advice}.",
        {**fields, "advice": how_to_enable(other)},
    )
