"""The preferences of a user: language, destination and names of their files."""

from __future__ import annotations

from typing import Literal

import msgspec

from saveany.models import Rule


class Shortcut(msgspec.Struct, frozen=True):
    """A folder that the user can choose with one button."""

    storage: str
    folder: str  # as `planning.paths.folder` returns it


class Preferences(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The preferences of one user. A storage in them may no longer exist or be permitted."""

    language: str = ""  # a tag such as `zh-Hans`; "": the language of the user's app
    silent: bool = False  # save without asking
    storage: str = ""  # default storage; "": the first that the user may use
    folder: str = ""  # in that storage
    on_conflict: Literal["", "rename", "overwrite", "skip", "ask"] = ""
    on_duplicate: Literal["", "save", "skip", "link"] = ""
    template: str = ""  # of file names, see `planning.templates`; "" keeps the original names
    rules_on: bool = True
    rules: tuple[Rule, ...] = ()  # see `planning.rules`
    shortcuts: tuple[Shortcut, ...] = ()
