"""Changes of the configuration file reach processes that run."""

from __future__ import annotations

from pathlib import Path

from saveany.config.follow import ConfigFollower
from saveany.config.loader import load


async def test_a_change_while_a_process_starts_is_applied(tmp_path: Path) -> None:
    """It has read the file already, and does not follow it yet."""
    file = tmp_path / "config.toml"
    text = '[api]\ntoken = "token-of-the-tests-0123456789"\n'
    file.write_text(text)
    config = load(file, {})
    file.write_text(f"{text}[[users]]\nid = 7\n")
    await ConfigFollower(config).check()
    assert [user.id for user in config.users] == [7]
