"""Parts of a stream are joined: every frame once and in order, with sound and picture in sync."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from saveany.errors import Retryable
from tests.fixtures.servers import program
from tests.fixtures.streams import RATE, make_parts
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


def probe(path: Path) -> dict[str, Any]:
    """Each kind of stream with its packets' times, in order."""
    command = [program("ffprobe"), "-v", "error", "-show_packets", "-show_streams", "-of", "json", str(path)]
    found = json.loads(subprocess.check_output(command))
    kinds = {each["index"]: each["codec_type"] for each in found["streams"]}
    times: dict[str, list[float]] = {kind: [] for kind in kinds.values()}
    for packet in found["packets"]:
        times[kinds[packet["stream_index"]]].append(float(packet["pts_time"]))
    return times


def frames(path: Path) -> list[bytes]:
    """A hash of each picture."""
    command = [program("ffmpeg"), "-v", "error", "-i", str(path), "-map", "0:v", "-f", "framemd5", "-"]
    lines = subprocess.check_output(command).splitlines()
    return [line.rpartition(b",")[2].strip() for line in lines if not line.startswith(b"#")]


@pytest.mark.parametrize("lost", [(), (3, 4, 17)])
async def test_parts_are_joined_in_sync(
    lost: tuple[int, ...], parts: list[bytes], tools: Tools, tmp_path: Path
) -> None:
    kept = [part for number, part in enumerate(parts) if number not in lost]
    pieces = write(tmp_path, kept)
    await join("ffmpeg", tmp_path, pieces, "out.mp4", tools.guard)
    out = tmp_path / "out.mp4"
    expected = [frame for name, _ in pieces for frame in frames(tmp_path / name)]
    assert frames(out) == expected
    assert len(set(expected)) == len(expected) == len(kept) * RATE
    times = probe(out)
    assert times["video"] == pytest.approx([n / RATE for n in range(len(expected))], abs=0.03)
    starts = [times["audio"][0], *(b for a, b in zip(times["audio"], times["audio"][1:], strict=False))]
    assert starts == sorted(starts)
    assert times["audio"][-1] == pytest.approx(len(kept), abs=0.05)
    assert times["audio"][-1] == pytest.approx(times["video"][-1] + 1 / RATE, abs=0.05)
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
