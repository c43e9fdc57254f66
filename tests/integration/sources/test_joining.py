"""Parts of a stream are joined: every frame once and in order, with sound and picture in sync."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from saveany.errors import Retryable
from tests.fixtures.servers import program
from tests.fixtures.streams import check_video, make_parts
from workers.sources.base import Tools
from workers.sources.joining import join

SECONDS = 30


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return make_parts(tmp_path_factory.mktemp("parts"), SECONDS)


def write(folder: Path, parts: list[bytes]) -> list[tuple[str, float]]:
    for number, part in enumerate(parts):
        (folder / f"{number}.mp4").write_bytes(part)
    return [(f"{number}.mp4", 1.0) for number in range(len(parts))]


@pytest.mark.parametrize("lost", [(), (3, 4, 17)])
async def test_parts_are_joined_in_sync(
    lost: tuple[int, ...], parts: list[bytes], tools: Tools, tmp_path: Path
) -> None:
    kept = [part for number, part in enumerate(parts) if number not in lost]
    pieces = write(tmp_path, kept)
    await join("ffmpeg", tmp_path, pieces, "out.mp4", tools.guard)
    out = tmp_path / "out.mp4"
    check_video(out, kept)
    whole = out.read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat")
    errors = subprocess.run(
        [program("ffmpeg"), "-v", "error", "-i", str(out), "-f", "null", "-"], capture_output=True, check=True
    )
    assert errors.stderr == b""
    assert not (tmp_path / "parts.txt").exists()


async def test_without_ffmpeg_the_reason_is_clear(tools: Tools, tmp_path: Path) -> None:
    with pytest.raises(Retryable, match=r"no-such-ffmpeg is not installed .* apt install ffmpeg"):
        await join("no-such-ffmpeg", tmp_path, [], "out.mp4", tools.guard)
