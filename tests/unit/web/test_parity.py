"""The page about the web UI says for each command of the command line and of the bot where it is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "howto/web-ui.md").read_text()


def named(column: str) -> set[str]:
    """The commands that a table of the page names in its first column, which has this title."""
    table = PAGE.partition(f"\n| {column} | in the web UI |\n")[2].partition("\n\n")[0]
    cells = [line.split(" | ")[0] for line in table.splitlines()[1:]]
    return {command for cell in cells for command in re.findall(r"`([^`]+)`", cell)}


def commands_of_the_terminal() -> set[str]:
    """The commands that can be run; a group such as `saveany archive` is none."""
    page = (DOCS / "reference/cli.md").read_text()
    sections = re.findall(r"^## `(saveany [^`]+)`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return {name for name, text in sections if "```text" in text}


#: Options of commands that have another form in the web UI, or none, as the page says; and those of the API.
EVERYWHERE = frozenset({"--json", "--limit", "--yes", "--url", "--token"})
API_NAMES = {
    "--user-speed": "bytes_per_second_per_user",
    "--user-tasks": "tasks_per_user",
    "--user-archives": "archives_per_user",
}


def options_of_the_terminal() -> dict[str, list[str]]:
    """The options of each command that the web UI has, too."""
    page = (DOCS / "reference/cli.md").read_text()
    table = PAGE.partition("\n| command | in the web UI |\n")[2].partition("\n\n")[0]
    found = {}
    for line in table.splitlines()[1:]:
        commands, place = line.split(" | ", 1)
        for command in re.findall(r"`(saveany [^`]+)`", commands):
            text = page.partition(f"\n## `{command}`\n")[2].partition("\n## ")[0]
            options = re.findall(r"^\| `(?:-\w, )?(--[\w-]+)", text, re.MULTILINE)
            if not place.startswith(("no: ", "the first run")):
                found[command] = [each for each in options if each not in EVERYWHERE and each not in place]
    return found


def commands_of_the_bot() -> set[str]:
    return set(re.findall(r"^\| `(/\w+)` \|", (DOCS / "reference/bot.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    ("column", "commands"),
    [("bot", commands_of_the_bot()), ("command", commands_of_the_terminal())],
    ids=["bot", "command line"],
)
def test_every_command_is_named(column: str, commands: set[str]) -> None:
    assert len(commands) > 20
    assert sorted(commands - named(column)) == []
    assert sorted(named(column) - commands) == []


def test_every_option_is_in_the_web_ui_or_named() -> None:
    """It is named in the row of its command, or the code of the web UI contains its name in the API."""
    modules = (DOCS.parent / "saveany/web").rglob("*.js")
    code = "\n".join(each.read_text() for each in modules if each.parent.name != "vendor")
    words, options = set(re.findall(r"\w+", code)), options_of_the_terminal()
    assert sum(map(len, options.values())) > 70
    unknown = [
        f"{command} {option}"
        for command, each in options.items()
        for option in each
        if API_NAMES.get(option, option.removeprefix("--").replace("-", "_")) not in words
    ]
    assert unknown == []


def test_what_is_named_in_quotes_is_a_text_of_the_web_ui() -> None:
    texts = (DOCS.parent / "saveany/web/texts/zh-Hans.json").read_text()
    tables = PAGE.partition("## What is where, compared")[2]
    quoted = [re.sub(r"…", "{n}", each) for each in re.findall(r'"([^"\n]+)"', tables)]
    assert [each for each in quoted if f'"{each}' not in texts] == []
