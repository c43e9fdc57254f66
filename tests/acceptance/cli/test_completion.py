"""Completion in bash, zsh and fish."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from saveany.cli import COMMANDS


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """`saveany` on the PATH, an empty home, and a shell that is named instead of detected."""
    command = tmp_path / "bin" / "saveany"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m saveany "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}


def run(env: dict[str, str], *words: str, **more: str) -> str:
    return subprocess.run(
        words, env=env | more, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def press_tab(env: dict[str, str], *words: str) -> list[str]:
    """The words that bash offers for the last of `words`, with the printed completion script."""
    array = " ".join(f"'{word}'" for word in words)
    script = (
        'eval "$(saveany --show-completion bash)"\n'
        f"COMP_WORDS=({array}) COMP_CWORD={len(words) - 1}\n"
        "complete -p saveany | grep -q _saveany_completion && _saveany_completion saveany\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return run(env, "bash", "--norc", "-c", script).split()


def test_bash_completes_commands_and_options(env: dict[str, str]) -> None:
    assert set(press_tab(env, "saveany", "")) == set(COMMANDS)
    assert press_tab(env, "saveany", "che") == ["check"]
    assert press_tab(env, "saveany", "add", "--on-c") == ["--on-conflict"]
    assert press_tab(env, "saveany", "ls", "--status", "c") == ["completed", "canceled"]


def test_bash_completion_is_installed(env: dict[str, str]) -> None:
    run(env, "saveany", "--install-completion", "bash")
    script = "source ~/.bashrc; complete -p saveany"
    assert "_saveany_completion" in run(env, "bash", "--norc", "-c", script)


@pytest.mark.parametrize(
    ("shell", "protocol"),
    [
        ("zsh", {"_SAVEANY_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "saveany che"}),
        (
            "fish",
            {
                "_SAVEANY_COMPLETE": "complete_fish",
                "_TYPER_COMPLETE_FISH_ACTION": "get-args",
                "_TYPER_COMPLETE_ARGS": "saveany che",
            },
        ),
    ],
)
def test_zsh_and_fish_complete(env: dict[str, str], shell: str, protocol: dict[str, str]) -> None:
    """Their scripts use the protocol that the command understands."""
    script = run(env, "saveany", "--show-completion", shell)
    assert all(f"{name}=" in script for name in protocol)
    assert "check" in run(env, "saveany", **protocol)
    if shutil.which(shell):
        run(env, shell, "-n", "-c", script)
