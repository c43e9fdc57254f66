"""The options of yt-dlp and aria2 that a user may set in a request.

They choose a file or its format. Options that name a path, run a program or change what a program connects to
are not allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from saveany.texts import Field, Text

#: Option of yt-dlp -> whether it takes a value.
YTDLP: Mapping[str, bool] = {
    "--audio-format": True,
    "--audio-multistreams": False,
    "--audio-quality": True,
    "--download-sections": True,
    "--embed-chapters": False,
    "--embed-metadata": False,
    "--embed-subs": False,
    "--embed-thumbnail": False,
    "--extract-audio": False,
    "--format": True,
    "--format-sort": True,
    "--limit-rate": True,
    "--live-from-start": False,
    "--match-filters": True,
    "--max-filesize": True,
    "--merge-output-format": True,
    "--min-filesize": True,
    "--no-playlist": False,
    "--playlist-items": True,
    "--playlist-reverse": False,
    "--prefer-free-formats": False,
    "--recode-video": True,
    "--referer": True,
    "--remux-video": True,
    "--sub-langs": True,
    "--video-multistreams": False,
    "--yes-playlist": False,
}

#: The options among them that choose videos of a playlist.
PLAYLIST_FLAGS = frozenset({"--no-playlist", "--playlist-items", "--playlist-reverse", "--yes-playlist"})

_SHORT = {"-f": "--format", "-I": "--playlist-items", "-r": "--limit-rate", "-S": "--format-sort"}
_SHORT |= {"-x": "--extract-audio"}

#: Options of aria2 for a single download.
ARIA2 = frozenset(
    {
        "bt-exclude-tracker",
        "bt-max-peers",
        "bt-prioritize-piece",
        "bt-stop-timeout",
        "bt-tracker",
        "checksum",
        "follow-metalink",
        "header",
        "lowest-speed-limit",
        "max-connection-per-server",
        "max-download-limit",
        "max-upload-limit",
        "metalink-language",
        "metalink-os",
        "metalink-version",
        "min-split-size",
        "referer",
        "select-file",
        "split",
        "user-agent",
    }
)


class NotAllowed(ValueError):
    """An option is not allowed, or its value is missing or invalid; `text` says what is wrong."""

    def __init__(self, template: str, **fields: Field) -> None:
        self.text = Text(template, fields)
        super().__init__(str(self.text))


def ytdlp_flags(flags: Sequence[str]) -> list[str]:
    """The flags, each as one word (`--format=best`). Raises `ValueError` for a flag that is not allowed or
    lacks its value."""
    return list(_flags(iter(flags)))


def _flags(words: Iterator[str]) -> Iterator[str]:
    for word in words:
        name, equals, value = word.partition("=")
        name = _SHORT.get(name, name)
        if name not in YTDLP:
            raise _unknown(word, list(YTDLP))
        if not YTDLP[name]:
            if equals:
                raise NotAllowed("{name} takes no value", name=name)
            yield name
            continue
        given = value if equals else next(words, None)
        if given is None or "\0" in given:
            raise NotAllowed("{name} needs a value", name=name)
        yield f"{name}={given}"


def aria2_options(options: Mapping[str, str]) -> dict[str, str]:
    """The options, unchanged. Raises `ValueError` for one that is not allowed."""
    for name, value in options.items():
        if name not in ARIA2:
            raise _unknown(name, sorted(ARIA2))
        if any(character in value for character in "\r\n\0"):
            raise NotAllowed("the value of {name} must be a single line", name=name)
    return dict(options)


def _unknown(word: str, known: Sequence[str]) -> NotAllowed:
    near = get_close_matches(word.partition("=")[0], known, n=1)
    hint = Text("allowed: {names}", {"names": ", ".join(known)})
    if near:
        hint = Text("did you mean {name}?", {"name": near[0]})
    return NotAllowed("{option!r} cannot be set here; {hint}", option=word[:100], hint=hint)
