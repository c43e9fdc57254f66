"""The bot's texts, in the language of each user.

The code contains the English texts, which are also the message ids. Each other language has a gettext catalog
in `locales/`, read with Babel. A test collects every text in the code, and the templates of the errors that
users are most likely to see, and fails if a catalog lacks one.
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

#: Language tags, and the name of each language in itself.
LANGUAGES: Final = {"en": "English", "zh-Hans": "简体中文"}


class CommandError(SaveAnyError):
    """The command cannot be carried out."""


class Translator:
    """Translates into one language: `t("Saved {name}", name=…)`. Values are escaped for Telegram's HTML."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._catalog = _catalog(language)

    def __call__(self, text: str, /, **values: object) -> str:
        """The translated text with its values, as HTML."""
        return _format(self._catalog.gettext(text), values)

    def plural(self, one: str, many: str, count: int, /, **values: object) -> str:
        """The form that agrees with `count`, as HTML; `{n}` in it is the count."""
        return _format(self._catalog.ngettext(one, many, count), {"n": count, **values})

    def text(self, text: Text) -> str:
        """A text and the texts in its fields, translated, as plain text. What no catalog has stays
        English."""
        fields: dict[str, Field] = {
            name: self.text(value) if isinstance(value, Text) else value
            for name, value in text.fields.items()
        }
        return str(Text(self._catalog.gettext(text.template), fields))

    def sentence(self, text: Text) -> str:
        """The same, beginning with a capital letter unless it begins with a value."""
        shown = self.text(text)
        first_word = text.template.partition(" ")[0]
        return shown[:1].upper() + shown[1:] if first_word.isalpha() else shown


def translator(language: str) -> Translator:
    """The translator for a language tag such as `zh-hans` or `en-GB`; English for any other language."""
    return _translator(closest(language))


def closest(language: str) -> str:
    """The tag in `LANGUAGES` that is closest to a language tag."""
    try:
        code = Locale.parse(language.replace("-", "_")).language if language else ""
    except (UnknownLocaleError, ValueError):
        code = ""
    return next((tag for tag in LANGUAGES if tag.partition("-")[0] == code), "en")


def escape(value: object) -> str:
    """A value as literal text within Telegram's HTML."""
    return html.escape(str(value), quote=False)


def _format(text: str, values: dict[str, object]) -> str:
    return text.format(**{name: escape(value) for name, value in values.items()})


@cache
def _translator(language: str) -> Translator:
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
