"""Texts in the language of each reader: of the bot, and of a client of the API.

The code contains the English texts, which are also the message ids. Each other language has a gettext
catalog in `locales/`, read with Babel, which a process loads for the first reader who names a language. A
test collects every text in the code that the bot, the API or the web UI may show, and fails if a catalog
lacks one.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from io import BytesIO
from typing import Final

from saveany.texts import Field, StoredText, Text, loaded

#: Language tags, and the name of each language in itself.
LANGUAGES: Final = {"en": "English", "zh-Hans": "简体中文"}
DEFAULT: Final = "en"
#: Characters of an Accept-Language header that are read.
_MAX_HEADER: Final = 200

#: The language of the present request to the API.
requested: Final = ContextVar("requested", default=DEFAULT)


class Translator:
    """Translates into one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._catalog = _catalog(language)

    def message(self, text: str) -> str:
        """The translation of a message id; the id itself if no catalog has it."""
        return self._catalog.gettext(text)

    def messages(self, one: str, many: str, count: int) -> str:
        """The translation of a message id in the form that agrees with `count`."""
        return self._catalog.ngettext(one, many, count)

    def text(self, text: Text) -> str:
        """A text and the texts in its fields, translated, as plain text. What no catalog has stays
        English."""
        fields: dict[str, Field] = {
            name: self.text(value) if isinstance(value, Text) else value
            for name, value in text.fields.items()
        }
        return str(Text(self.message(text.template), fields)) if text.template else ""

    def sentence(self, text: Text) -> str:
        """The same, beginning with a capital letter unless it begins with a value."""
        shown = self.text(text)
        first_word = text.template.partition(" ")[0]
        return shown[:1].upper() + shown[1:] if first_word.isalpha() else shown


def translator(language: str) -> Translator:
    """The translator for a language tag such as `zh-hans` or `en-GB`; English for any other language."""
    return _translator(closest(language))


def localized(text: StoredText | None) -> str:
    """A text in the language of the present request to the API; "" for None."""
    found = loaded(text or "")
    return _translator(requested.get()).text(found) if found else ""


def closest(language: str) -> str:
    """The tag in `LANGUAGES` that is closest to a language tag; English if none is."""
    return _known(language) or DEFAULT


def preferred(header: str) -> str:
    """The tag in `LANGUAGES` that a client prefers, by its Accept-Language header."""
    weights: dict[str, float] = {}
    for each in header[:_MAX_HEADER].split(","):
        tag, _, weight = each.partition(";")
        if found := _known(tag.strip()):
            weights.setdefault(found, _quality(weight))
    best = max(weights, key=weights.__getitem__, default=DEFAULT)
    return best if weights.get(best) else DEFAULT


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def _known(language: str) -> str | None:
    if not language:
        return None
    from babel import Locale, UnknownLocaleError

    try:
        code = Locale.parse(language.replace("-", "_")).language
    except (UnknownLocaleError, ValueError):
        code = ""
    return next((tag for tag in LANGUAGES if tag.partition("-")[0] == code), None)


@cache
def _translator(language: str) -> Translator:
    return Translator(language)


def _catalog(language: str) -> NullTranslations:
    file = files("saveany") / "locales" / f"{language.replace('-', '_')}.po"
    if not file.is_file():
        return NullTranslations()
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    compiled = BytesIO()
    with file.open("rb") as stream:
        write_mo(compiled, read_po(stream))
    compiled.seek(0)
    return GNUTranslations(compiled)
