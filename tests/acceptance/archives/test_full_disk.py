"""A full disk loses no file of an archive: reading goes on, and the rest is saved when there is space."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.archives.harness import ArchiveHarness
from tests.contract.disk import fill_up, mounted
from tests.fixtures.stack import Stack

_SIZE = 300 << 10


async def test_files_that_found_no_space_are_saved_when_there_is_some(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    folder.mkdir()
    with mounted(folder / "files"):  # 2 MiB
        async with Stack(folder, tables={"retry": 1}) as stack:
            harness = ArchiveHarness(stack)
            chat = harness.channel("Large")
            posts = [harness.post(chat, size=_SIZE) for _ in range(5)]
            harness.say(chat)
            reserve, filler = stack.storage_dir / "reserve", stack.storage_dir / "filler"
            reserve.write_bytes(bytes(2 * _SIZE + (64 << 10)))
            fill_up(filler)
            reserve.unlink()  # there is space for two files
            archive = await harness.archive(chat, dir_path="large")
            found = await harness.reaches(archive)
            assert (found["counts"]["telegram_total"], found["unaccounted"]) == (7, 0)
            saved, failed = found["counts"]["saved"], found["counts"]["failed"]
            assert (0 < saved <= 2, saved + failed) == (True, 5)
            reasons = {each["reason"] for each in await harness.messages(archive, "failed")}
            assert all("free" in each or "full" in each for each in reasons), reasons
            assert len(harness.files("large")) == saved  # nothing is left of the others
            filler.unlink()
            assert (await harness.act(archive, "retry"))["messages"] == failed
            found = await harness.reaches(archive)
            assert (found["counts"]["saved"], found["unaccounted"]) == (5, 0)
            contents = {chat.messages[each].files[0].content.read(0, _SIZE) for each in posts}
            large = stack.storage_dir / "large"
            assert {(large / each).read_bytes() for each in harness.files("large")} == contents
            assert (await stack.saveany("archive", "verify", archive)).code == 0
