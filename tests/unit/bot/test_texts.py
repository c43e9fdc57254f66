"""Every text of the bot, and every error of the API, is translated into every language."""

import ast
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir, extract_from_file
from babel.messages.pofile import read_po

import saveany.bot
from saveany import errors
from saveany.bot.texts import CommandError, translator
from saveany.config import keys
from saveany.config.describe import describe, storage_options
from saveany.errors import NotFound
from saveany.languages import LANGUAGES, closest
from storages import registry

FOLDER = Path(saveany.bot.__file__).parent
ROOT = FOLDER.parents[1]
LOCALES = FOLDER.parent / "locales"
OTHERS = sorted(tag for tag in LANGUAGES if tag != "en")
#: `t("…")`, `t.plural("one", "many", …)`, `gettext_noop("…")`, `CommandError("…")` and `Text("…")`.
KEYWORDS = {"t": None, "plural": (1, 2), "gettext_noop": None, "CommandError": None, "Text": None}
#: Packages whose errors the bot or the API shows.
ERROR_PACKAGES = (
    "saveany/api",
    "saveany/archives",
    "saveany/catalogue",
    "saveany/config",
    "saveany/dav",
    "saveany/delivery",
    "saveany/first_run",
    "saveany/moving_in",
    "saveany/uploads",
    "saveany/planning",
    "saveany/service",
    "saveany/store",
    "saveany/telegram",
    "saveany/webhooks",
    "saveany/net",
    "workers",
    "storages",
)
#: Modules outside of these packages with texts that the bot or the API shows.
MODULES = ("allowed", "backup/make", "filters", "sources", "storage_set", "validation")
#: Constructors of errors and texts, and functions that make errors: the first argument is a template. Other
#: errors of the configuration are for operators, who see them in the log.
ERROR_KEYWORDS = {
    name: None
    for name, value in vars(errors).items()
    if isinstance(value, type) and name[0].isupper() and name != "ConfigError"
} | {
    **dict.fromkeys(("gettext_noop", "ProxyFailed", "ProxyRefused", "NotAllowed", "UnreadableSource")),
    **dict.fromkeys(("_refused", "_unavailable", "_upload_error", "_bad", "WrongValue")),
    **dict.fromkeys(("kind", "ours")),  # variables with a class of errors
}
#: What validators of the configuration raise.
CONFIG_KEYWORDS = dict.fromkeys(("ConfigError", "ValueError", "WrongValue"))
#: Methods whose second argument is a template.
METHOD_KEYWORDS = {"_error": (2,), "leave_out": (2,)}
#: The suite for storages of other packages has no texts for users.
METHODS = [("testing/**.py", "ignore"), ("**.py", "python")]
OPTIONS = [("**/options.py", "python"), ("http_client.py", "python")]


def texts() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each text of the bot: its place in the code and its forms."""
    return extract(FOLDER, KEYWORDS)


def error_templates() -> set[str]:
    """The templates of the errors that the bot may show."""
    found = itertools.chain.from_iterable(
        extract(ROOT / package, keywords)
        for package in ERROR_PACKAGES
        for keywords in (ERROR_KEYWORDS, METHOD_KEYWORDS)
    )
    modules = itertools.chain.from_iterable(
        extract_from_file("python", ROOT / "saveany" / f"{name}.py", keywords=ERROR_KEYWORDS)
        for name in MODULES
    )
    found = itertools.chain(
        found,
        extract(ROOT / "saveany/api", {"ConfigError": None}),
        extract(ROOT / "saveany/config", CONFIG_KEYWORDS),
        extract(ROOT / "saveany/delivery", {"messages": (1, 2)}),
        extract(ROOT / "storages", CONFIG_KEYWORDS, OPTIONS),
    )
    pages = (file.read_text() for file in (ROOT / "saveany/delivery").glob("*.html"))
    shown = {text for page in pages for text in re.findall(r'\bt\("([^"]+)"\)', page)}
    return shown | {forms[0] for _, forms in found} | {str(message) for _, message, *_ in modules}


def implied_templates() -> set[str]:
    """The templates of errors that are not in the call of their constructor: a constant of the module, or the
    docstring of a class that is raised without a text."""
    folders = [ROOT / package for package in ERROR_PACKAGES]
    trees = [ast.parse(file.read_text()) for each in folders for file in each.rglob("*.py")]
    kinds = error_classes([*trees, ast.parse((ROOT / "saveany/errors.py").read_text())])
    found: set[str] = set()
    for tree in trees:
        constants = dict(assigned(tree))
        for node in ast.walk(tree):
            called = node.exc if isinstance(node, ast.Raise) else getattr(node, "func", None)
            kind = kinds.get(called.id) if isinstance(called, ast.Name) else None
            if kind and isinstance(node, ast.Call) and node.args:
                found |= values_of(node.args[0], constants)
            if kind and (not getattr(node, "args", None) or "super().__init__()" in ast.unparse(kind)):
                found.add((ast.get_docstring(kind) or "").strip())
    return found


def error_classes(trees: list[ast.Module]) -> dict[str, ast.ClassDef]:
    """The classes of errors, by name."""
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    found: dict[str, ast.ClassDef] = {}
    count = -1
    while count < len(found):
        count = len(found)
        for each in classes:
            bases = {base.id for base in each.bases if isinstance(base, ast.Name)}
            if each.name == "SaveAnyError" or bases & found.keys():
                found[each.name] = each
    return found


def assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """The constants of a module."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def values_of(argument: ast.expr, constants: Mapping[str, ast.expr]) -> set[str]:
    """The texts of a constant, or of a table of constants, that is given to a constructor."""
    named = argument.value if isinstance(argument, ast.Subscript) else argument
    value = constants.get(named.id) if isinstance(named, ast.Name) else None
    each = value.values if isinstance(value, ast.Dict) else [value]
    # One that is marked with `gettext_noop` is found by its mark.
    return {str(one.value) for one in each if isinstance(one, ast.Constant)}


def descriptions() -> set[str]:
    """What forms say about settings, and about options of storages."""
    types = [each for each in registry.types() if each not in ("memory", "minio")]
    found = [*keys.tables().values()]
    found += [describe(str(key.path[-1]), key.field).about for key in keys.KEYS.values()]
    found += [backend.description for each in types if (backend := registry.backend(each))]
    found += [option.about for each in types for option in storage_options(each)]
    return {" ".join(each.split()) for each in found if each}


def extract(
    folder: Path,
    keywords: Mapping[str, tuple[int, ...] | None],
    methods: list[tuple[str, str]] = METHODS,
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for file, line, message, *_ in extract_from_dir(str(folder), methods, keywords=keywords):
        yield f"{file}:{line}", message if isinstance(message, tuple) else (message,)


def catalog(tag: str) -> Catalog:
    with (LOCALES / f"{tag.replace('-', '_')}.po").open("rb") as file:
        return read_po(file, abort_invalid=True)


def slots(text: str) -> set[str]:
    return set(re.findall(r"{(\w*)(?:!\w)?(?::[^}]*)?}", text))


def tags(text: str) -> list[str]:
    return sorted(re.findall(r"</?\w+>", text))


@pytest.mark.parametrize("tag", OTHERS)
def test_every_text_is_translated(tag: str) -> None:
    known = catalog(tag)
    missing, wrong = [], []
    for place, forms in texts():
        message = known.get(forms[0])
        translated = message.string if message else ""
        if not translated or (isinstance(translated, tuple) and not all(translated)):
            missing.append(f"{place}: {forms[0]}")
            continue
        for each in [translated] if isinstance(translated, str) else translated:
            if slots(each) != slots(forms[-1]) or tags(each) != tags(forms[-1]):
                wrong.append(f"{place}: {forms[-1]} -> {each}")
    assert not missing
    assert not wrong


@pytest.mark.parametrize("tag", OTHERS)
def test_every_translation_is_used(tag: str) -> None:
    used = {forms[0] for _, forms in texts()} | error_templates() | implied_templates() | descriptions()
    ids = (each.id for each in catalog(tag) if each.id)
    assert [each for each in ids if (each[0] if isinstance(each, tuple) else each) not in used] == []


@pytest.mark.parametrize("tag", OTHERS)
def test_every_error_and_reason_that_the_bot_may_show_is_translated(tag: str) -> None:
    known = catalog(tag)
    missing = [each for each in sorted(error_templates() | implied_templates()) if not known.get(each)]
    assert [each for each in missing if re.search("[a-z]{2}", re.sub(r"{\w+}", "", each))] == []


@pytest.mark.parametrize("tag", OTHERS)
def test_every_description_of_a_setting_is_translated(tag: str) -> None:
    known = catalog(tag)
    assert [each for each in sorted(descriptions()) if not known.get(each)] == []


@pytest.mark.parametrize("tag", OTHERS)
def test_the_errors_that_users_see_most_are_translated(tag: str) -> None:
    known = catalog(tag)
    translated = {each: known.get(each) for each in error_templates() if known.get(each)}
    assert len(translated) >= 60
    assert [
        template
        for template, message in translated.items()
        if message is None or slots(str(message.string)) != slots(template)
    ] == []


def test_values_are_inserted_unchanged() -> None:
    assert translator("en")("Not saved: {reason}", reason="<b> & {x}") == ("Not saved: &lt;b&gt; &amp; {x}")


@pytest.mark.parametrize(
    ("tag", "closest_"),
    [("zh-hans", "zh-Hans"), ("zh", "zh-Hans"), ("en-GB", "en"), ("de", "en"), ("", "en"), ("🙂", "en")],
)
def test_the_closest_available_language_is_chosen(tag: str, closest_: str) -> None:
    assert closest(tag) == closest_


def test_errors_are_translated() -> None:
    error = NotFound("there is no task {task}", task="<7>")
    assert error.message == "there is no task <7>"
    assert translator("zh-Hans").text(error.text) == "没有任务 <7>"
    assert translator("en").sentence(error.text) == "There is no task <7>"
    outer = CommandError("{reason}; try again later", reason=error.text)
    assert translator("zh-Hans").sentence(outer.text) == "没有任务 <7>；请稍后再试"  # noqa: RUF001
    assert translator("zh-Hans").text(NotFound("there is no planet").text) == "there is no planet"
