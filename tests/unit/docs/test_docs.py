"""The documentation matches the code: names, tables, links."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from saveany import errors
from saveany.bot import commands as bot
from saveany.bot import reference as bot_reference
from saveany.cli import COMMANDS
from saveany.cli.reference import REFERENCE, reference, write
from saveany.compat.openload import docs as old_hosts
from saveany.config.schema import ApiConfig
from saveany.config.variables import OTHERS, VARIABLES
from saveany.errors import InvalidInput, RequestError, SaveAnyError
from saveany.models import TRANSITIONS, Status
from saveany.planning import rules, templates
from saveany.planning.filter_syntax import parse_filter
from saveany.telegram import links as telegram_links
from saveany.webhooks.schedule import DELAYS_S
from saveany.webhooks.send import TIMEOUT_S
from tests.unit.docs import pages
from tests.unit.docs.pages import ROOT

DOCS = ROOT / "docs"
EVERY_PAGE = pytest.mark.parametrize("page", pages.pages(), ids=pages.name)
TEXT = {page: page.read_text() for page in pages.pages()}
ALL = "\n".join(TEXT.values())


def section(page: str, heading: str) -> str:
    """The text under a heading, up to the next one."""
    return (DOCS / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def kinds_of_error() -> list[type[SaveAnyError]]:
    """The classes of `saveany.errors`."""
    found = vars(errors).values()
    return [kind for kind in found if isinstance(kind, type) and issubclass(kind, SaveAnyError)]


def test_the_page_about_old_hosts_is_made_from_the_tables(tmp_path: Path) -> None:
    assert (ROOT / old_hosts.REFERENCE).read_text() == old_hosts.reference(), "run: make docs"
    (tmp_path / old_hosts.REFERENCE).parent.mkdir(parents=True)
    old_hosts.write(tmp_path)
    assert (tmp_path / old_hosts.REFERENCE).read_text() == old_hosts.reference()


# --- every page


@EVERY_PAGE
def test_link_targets_exist(page: Path) -> None:
    for link in pages.links(page):
        if link.startswith("http"):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target.replace("\\", "")).resolve() if target else page
        assert file.exists(), link
        assert ROOT in file.parents, link
        assert not anchor or anchor in pages.anchors(file), link


def _defines(path: str, name: str) -> bool:
    """Whether a file has a class, function, constant or field of that name."""
    text = (ROOT / path).read_text() if (ROOT / path).is_file() else ""
    return all(
        re.search(rf"^ *(class |(async )?def )?{part}\b *[(:=]", text, re.M) for part in name.split(".")
    )


def test_the_architecture_page_names_what_exists() -> None:
    """Its files exist, and contain the names mentioned with them ("`save` in `workers/transfer.py`")."""
    text = TEXT[DOCS / "explanation/architecture.md"]
    paths = re.findall(r"`((?:saveany|workers|storages|tests)/[\w/.]+)`", text)
    assert [path for path in paths if "NAME" not in path and not (ROOT / path).exists()] == []
    named = re.findall(r"`([\w.]+)` (?:\(|in |of a row in )`([\w/]+/\w+\.py)`", text)
    assert len(named) > 15
    assert [(name, path) for name, path in named if not _defines(path, name)] == []


@EVERY_PAGE
def test_marked_examples_are_found(page: Path) -> None:
    assert len(pages.examples(page)) == TEXT[page].count("<!-- test")


@EVERY_PAGE
def test_commands_that_are_shown_exist(page: Path) -> None:
    code = pages.code(page)
    shown = re.findall(r"(?:^|[\s/])saveany (?:--config \S+ )?([a-z]+)\b", code)
    shown += re.findall(r"docker compose run --rm (?:-it )?worker ([a-z]+)", code)
    assert set(shown) <= set(COMMANDS)


@EVERY_PAGE
def test_make_targets_that_are_shown_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^    )make ([a-z]+)", TEXT[page], re.MULTILINE)) <= targets


@EVERY_PAGE
def test_variables_that_are_shown_exist(page: Path) -> None:
    assert set(re.findall(r"\bSAVEANY_[A-Z_]+[A-Z]\b", TEXT[page])) <= {*VARIABLES, *OTHERS}


@EVERY_PAGE
def test_test_files_that_are_named_exist(page: Path) -> None:
    for file in re.findall(r"`((?:tests|saveany|workers|storages)/[a-z_/.]+)`", TEXT[page]):
        assert (ROOT / file).exists(), file


def test_every_page_is_reached_from_the_index() -> None:
    reached, waiting = set(), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        files = [(page.parent / link.partition("#")[0]).resolve() for link in pages.links(page)]
        waiting += [file for file in files if file.suffix == ".md" and file not in reached]
    assert {page for page in pages.pages() if DOCS in page.parents} <= reached


# --- the code is in the documentation


def test_every_command_is_documented() -> None:
    generated = reference()
    for command in COMMANDS:
        assert f"## `saveany {command}`" in generated
        assert f"`{command}`" in TEXT[ROOT / "README.md"]
        assert f"`{command}`" in TEXT[ROOT / "CHANGELOG.md"]


def test_the_command_page_is_up_to_date(tmp_path: Path) -> None:
    assert (ROOT / REFERENCE).read_text() == reference(), "run: make docs"
    write(tmp_path)
    assert (tmp_path / REFERENCE).read_text() == reference()


def test_every_error_is_documented() -> None:
    text = (DOCS / "reference/errors.md").read_text()
    assert len(kinds_of_error()) > 15
    for kind in kinds_of_error():
        assert f"`{kind.__name__}`" in text, kind.__name__


def test_the_table_of_http_errors_matches_the_code() -> None:
    table = {row[3].strip("`"): row for row in rows(section("reference/errors.md", "Of the API")) if row[3]}
    kinds = {kind.__name__: kind for kind in kinds_of_error() if issubclass(kind, RequestError)}
    del kinds["RequestError"]  # their common base
    assert table.keys() == kinds.keys()
    for name, (status, error, *_) in table.items():
        assert (int(status), error) == (kinds[name].status, kinds[name].error)


def test_every_event_is_documented() -> None:
    sources = [
        *(ROOT / "saveany").rglob("*.py"),
        *(ROOT / "saveany").rglob("*.lua"),
        *ROOT.glob("workers/*.py"),
    ]
    code = "\n".join(file.read_text() for file in sources)
    events = set(re.findall(r"""["'](task\.[a-z]+|snapshot|reset|file_uploaded)["']""", code))
    events |= {f"task.{status}" for status in Status}
    assert {"task.progress", "task.updated", "snapshot", "reset", "file_uploaded"} <= events
    text = (DOCS / "reference/events-and-webhooks.md").read_text()
    assert {event for event in events if f"`{event}`" not in text} == set()


def test_the_table_of_webhook_events_matches_the_code() -> None:
    table = rows(section("reference/events-and-webhooks.md", "Webhooks"))
    words = {row[1].split("`")[1]: row for row in table}
    annotation = str(ApiConfig.model_fields["webhook_events"].annotation)
    assert set(re.findall(r"'(\w+)'", annotation)) == words.keys()
    assert {word for word, row in words.items() if "on by default" in row[1]} == set(
        ApiConfig().webhook_events
    )


def test_the_webhook_schedule_matches_the_code() -> None:
    text = " ".join((DOCS / "reference/events-and-webhooks.md").read_text().split())
    units = [(3600, "h"), (60, "min"), (1, "s")]
    spelled = [next(f"{delay // n} {unit}" for n, unit in units if delay >= n) for delay in DELAYS_S]
    assert f"after {', '.join(spelled)}," in text
    assert f"any 2xx within {TIMEOUT_S:.0f} s" in text
    limits = section("explanation/reliability.md", "Limits")
    assert f"| {len(DELAYS_S) + 1}, over about {timedelta(seconds=sum(DELAYS_S)).days} days |" in limits


def test_the_transition_table_matches_the_code() -> None:
    table = rows(
        (DOCS / "explanation/lifecycle.md").read_text().partition("| State")[2].join(["| State", ""])
    )
    told = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in table}
    assert told == {state.value: {after.value for after in next_} for state, next_ in TRANSITIONS.items()}


@pytest.mark.parametrize("row", rows((DOCS / "reference/links.md").read_text().partition("What is saved")[0]))
def test_documented_links_are_parsed(row: list[str]) -> None:
    telegram_links.parse(row[0].strip("`"))


@pytest.mark.parametrize("row", rows((DOCS / "reference/links.md").read_text().partition("Refused")[2]))
def test_links_documented_as_refused_are_refused(row: list[str]) -> None:
    with pytest.raises(InvalidInput):
        telegram_links.parse(row[0].strip("`"))


def test_the_page_of_the_bot_is_up_to_date() -> None:
    assert (ROOT / bot_reference.REFERENCE).read_text() == bot_reference.reference(), "run: make docs"


def test_commands_of_the_bot_that_are_shown_exist() -> None:
    shown = re.findall(r"(?:^    |`)/([a-z0-9]+)", (DOCS / "howto/bot.md").read_text(), re.MULTILINE)
    assert len(set(shown)) > 20
    assert set(shown) - {"newbot", "setprivacy"} <= bot.COMMANDS.keys()  # these two are @BotFather's


def test_documented_rules_are_valid() -> None:
    lines = re.findall(r"^    /rule add (.+)$", (DOCS / "howto/bot.md").read_text(), re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        rules.validate_rule(rules.parse_rule(line), {"nas", "archive"})


def test_documented_filters_are_valid() -> None:
    text = (DOCS / "howto/bot.md").read_text()
    lines = re.findall(r"/(?:save @\w+ \d+-\d+|watch @\w+) (\w+=[^`\n]+)", text)
    assert len(lines) > 1
    assert all(parse_filter(line.partition(" ->")[0]) for line in lines)


def test_documented_templates_have_the_documented_results() -> None:
    table = re.findall(r"^\| `(.*\{.*)` \| `(.*)` \|$", section("howto/bot.md", "Names"), re.MULTILINE)
    assert len(table) > 5
    for template, path in table:
        assert templates.preview(template.replace(r"\|", "|")) == path


def test_every_path_of_the_api_is_described() -> None:
    api = json.loads((DOCS / "reference/openapi.json").read_text())
    shown = re.findall(r"`(?:GET|POST|DELETE) (/[\w/{}-]+)", ALL)
    assert len(shown) > 5
    assert set(shown) <= api["paths"].keys()


def test_the_reliability_page_names_tests_for_every_promise() -> None:
    table = rows((DOCS / "explanation/reliability.md").read_text().partition("## What")[0])
    assert len(table) > 10
    assert all("`tests/" in row[1] for row in table)


def test_the_diagram_is_well_formed_and_has_a_text_alternative() -> None:
    root = ElementTree.parse(DOCS / "architecture.svg").getroot()
    text = (DOCS / "architecture.svg").read_text()
    assert root.attrib["role"] == "img"
    assert {each.tag.rpartition("}")[2] for each in root} >= {"title", "desc"}
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"<script|href=|url\(http", text)


def test_the_readme_lists_every_make_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = {shlex.split(line)[1] for line in shown.stdout.splitlines() if line.startswith("  make ")}
    assert {target for target in targets if f"`make {target}`" not in TEXT[ROOT / "README.md"]} == set()
