"""The bot's texts in the language of each user, as Telegram's HTML."""

from __future__ import annotations

import html
from functools import cache

from saveany import languages
from saveany.errors import SaveAnyError


class CommandError(SaveAnyError):
    """The command cannot be carried out."""


class HtmlTranslator(languages.Translator):
    """Translates into one language: `t("Saved {name}", name=…)`. Values are escaped for Telegram's HTML."""

    def __call__(self, text: str, /, **values: object) -> str:
        """The translated text with its values, as HTML."""
        return _format(self.message(text), values)

    def plural(self, one: str, many: str, count: int, /, **values: object) -> str:
        """The form that agrees with `count`, as HTML; `{n}` in it is the count."""
        return _format(self.messages(one, many, count), {"n": count, **values})


def translator(language: str) -> HtmlTranslator:
    """The translator for a language tag such as `zh-hans` or `en-GB`; English for any other language."""
    return _translator(languages.closest(language))


def escape(value: object) -> str:
    """A value as literal text within Telegram's HTML."""
    return html.escape(str(value), quote=False)


def _format(text: str, values: dict[str, object]) -> str:
    return text.format(**{name: escape(value) for name, value in values.items()})


@cache
def _translator(language: str) -> HtmlTranslator:
    return HtmlTranslator(language)
