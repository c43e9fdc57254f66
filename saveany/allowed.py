"""Which options of the programs that fetch for us a user may set.

Only what chooses and shapes a file is here: nothing that names a path, runs something, or changes where the
program connects to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

#: Options of yt-dlp, and whether they take a value.
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

#: Those among them that say which videos of a list to take, rather than how to take one.
WHICH_VIDEOS = frozenset({"--no-playlist", "--playlist-items", "--playlist-reverse", "--yes-playlist"})

_SHORT = {"-f": "--format", "-I": "--playlist-items", "-r": "--limit-rate", "-S": "--format-sort"}
_SHORT |= {"-x": "--extract-audio"}

#: Options of aria2 for one download.
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


def ytdlp_flags(flags: Sequence[str]) -> list[str]:
    """The flags, one word each (`--format=best`). `ValueError` for one that may not be set, or is half."""
    return list(_flags(iter(flags)))


def _flags(words: Iterator[str]) -> Iterator[str]:
    for word in words:
        name, equals, value = word.partition("=")
        name = _SHORT.get(name, name)
        if name not in YTDLP:
            raise ValueError(_unknown(word, list(YTDLP)))
        if not YTDLP[name]:
            if equals:
                raise ValueError(f"{name} takes no value")
            yield name
            continue
        given = value if equals else next(words, None)
        if given is None or "\0" in given:
            raise ValueError(f"{name} needs a value")
        yield f"{name}={given}"


def aria2_options(options: Mapping[str, str]) -> dict[str, str]:
    """The options. `ValueError` for one that may not be set."""
    for name, value in options.items():
        if name not in ARIA2:
            raise ValueError(_unknown(name, sorted(ARIA2)))
        if any(character in value for character in "\r\n\0"):
            raise ValueError(f"the value of {name} must be one line")
    return dict(options)


def _unknown(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word.partition("=")[0], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"allowed are: {', '.join(known)}"
    return f"{word[:100]!r} cannot be set here; {hint}"
