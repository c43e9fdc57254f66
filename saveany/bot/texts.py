"""What the bot says, in the language of whom it talks to.

English is in the code, as the message id; another language is a catalog of gettext in `locales/`, read with
babel. A test finds every text in the code and fails if a catalog lacks one.
"""

from __future__ import annotations

import html
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from io import BytesIO
from typing import Final

from babel import Locale, UnknownLocaleError
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from saveany.errors import SaveAnyError
from saveany.texts import Field, Text

#: Languages by their tag, and how they call themselves.
LANGUAGES: Final = {"en": "English", "zh-Hans": "简体中文"}


def said(text: str) -> str:
    """Marks a text that is translated later, for whoever collects them."""
    return text


class CommandError(SaveAnyError):
    """A command cannot do what it was asked for."""


class Translator:
    """Texts in one language: `t("Saved {name}", name=…)`. Values are escaped for Telegram's HTML."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._catalog = _catalog(language)

    def __call__(self, text: str, /, **values: object) -> str:
        """The text with its values."""
        return _filled(self._catalog.gettext(text), values)

    def reason(self, error: SaveAnyError) -> str:
        """Why something failed, as plain text. A text that no catalog has stays English."""
        return self.text(error.text)

    def text(self, text: Text) -> str:
        """A text as plain text, the texts in its fields translated, too."""
        fields: dict[str, Field] = {
            name: self.text(value) if isinstance(value, Text) else value
            for name, value in text.fields.items()
        }
        return str(Text(self._catalog.gettext(text.template), fields))

    def n(self, one: str, many: str, count: int, /, **values: object) -> str:
        """The form for so many; `{n}` is the count."""
        return _filled(self._catalog.ngettext(one, many, count), {"n": count, **values})


def translator(language: str) -> Translator:
    """The translator for a language tag such as `zh-hans` or `en-GB`; English if it is none of ours."""
    return _translators(closest(language))


def closest(language: str) -> str:
    """Which of `LANGUAGES` is meant by a tag."""
    try:
        spoken = Locale.parse(language.replace("-", "_")).language if language else ""
    except (UnknownLocaleError, ValueError):
        spoken = ""
    return next((each for each in LANGUAGES if each.partition("-")[0] == spoken), "en")


def plain(value: object) -> str:
    """A value as it is, within Telegram's HTML."""
    return html.escape(str(value), quote=False)


def _filled(text: str, values: dict[str, object]) -> str:
    return text.format(**{name: plain(value) for name, value in values.items()})


@cache
def _translators(language: str) -> Translator:
    return Translator(language)


def _catalog(language: str) -> NullTranslations:
    file = files("saveany.bot") / "locales" / f"{language.replace('-', '_')}.po"
    if not file.is_file():
        return NullTranslations()
    compiled = BytesIO()
    with file.open("rb") as stream:
        write_mo(compiled, read_po(stream))
    compiled.seek(0)
    return GNUTranslations(compiled)
