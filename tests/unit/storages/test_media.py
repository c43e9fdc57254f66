"""What is known of pictures, videos and music from their two ends."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from storages import media
from storages.media import Audio, MediaProbe, Photo, Video
from tests.fixtures.servers import program
from tests.fixtures.videos import make_audio, make_video

JPEG = b"\xff\xd8\xff"


async def look(name: str, data: bytes, folder: Path, step: int = 100_003) -> Video | None:
    peek = MediaProbe(name, len(data), folder)
    try:
        for offset in range(0, len(data), step):
            peek.add(offset, memoryview(data)[offset : offset + step])
        found = await peek.properties()
        assert found is None or isinstance(found, Video)
        return found
    finally:
        peek.close()
        assert list(folder.iterdir() if folder.exists() else []) == []


@pytest.mark.parametrize("suffix", ["mp4", "m4v", "mov", "mkv", "webm"])
async def test_every_format_is_recognized(tmp_path: Path, suffix: str) -> None:
    seen = await look(f"a.{suffix}".upper(), make_video(tmp_path / f"a.{suffix}"), tmp_path / "scratch")
    assert seen
    assert (round(seen.seconds), seen.width, seen.height, seen.picture[:3]) == (2, 320, 180, JPEG)


@pytest.mark.parametrize(
    "options", [(), ("-movflags", "+faststart")], ids=["index at the end", "at the start"]
)
async def test_only_the_two_ends_are_read(
    tmp_path: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_video(tmp_path / "a.mp4", *options, "-g", "5", "-crf", "0", seconds=20)
    monkeypatch.setattr(media, "_END", 100_000)
    assert len(data) > 300_000
    blank = data[:100_000] + bytes(len(data) - 200_000) + data[-100_000:]
    seen = await look("a.mp4", data, tmp_path / "scratch")
    assert seen == await look("a.mp4", blank, tmp_path / "scratch", step=len(data))
    assert seen
    assert (seen.seconds, seen.picture[:3]) == (20, JPEG)


async def test_a_rotated_video_has_the_displayed_size(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4")
    turned = tmp_path / "b.mp4"
    turn = ["-c", "copy", "-metadata:s:v:0", "rotate=90"]
    os.spawnv(
        os.P_WAIT,
        program("ffmpeg"),
        ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.mp4"), *turn, str(turned)],
    )
    seen = await look("b.mp4", turned.read_bytes(), tmp_path / "scratch")
    assert seen
    assert (seen.width, seen.height) == (180, 320)


async def test_the_preview_picture_is_small(tmp_path: Path) -> None:
    seen = await look("a.mp4", make_video(tmp_path / "a.mp4", size="1920x1080"), tmp_path / "scratch")
    assert seen
    assert 0 < len(seen.picture) < 200_000


async def test_a_file_too_large_for_the_scratch_disk_has_no_preview(tmp_path: Path) -> None:
    program("ffprobe")
    peek = MediaProbe("a.mp4", 1 << 62, tmp_path)
    assert await peek.properties() is None
    peek.close()


async def test_other_files_are_not_videos(tmp_path: Path) -> None:
    program("ffprobe")
    secret = tmp_path / "secret.mp4"
    film = make_video(secret)
    playlist = b"#EXTM3U\n#EXTINF:1,\nfile:%s\n#EXT-X-ENDLIST\n" % bytes(secret)
    concat = b"ffconcat version 1.0\nfile %s\n" % bytes(secret)
    for data in (playlist, concat, random.Random(1).randbytes(300_000), film[:1000], b"x"):
        for name in ("a.mp4", "a.mkv"):
            assert await look(name, data, tmp_path / "scratch") is None
    for name in ("a.txt", "a", "mp4", "a.m3u8"):
        assert await look(name, film, tmp_path / "scratch") is None


async def test_without_ffmpeg_there_is_no_preview(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_video(tmp_path / "a.mp4")
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert await look("a.mp4", data, tmp_path / "scratch") is None


async def look_at_media(name: str, data: bytes, folder: Path) -> media.MediaProperties | None:
    probe = MediaProbe(name, len(data), folder, videos_only=False)
    probe.add(0, memoryview(data))
    try:
        return await probe.properties()
    finally:
        probe.close()


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("a.jpg", "5000x5000", Photo(5000, 5000)),
        ("a.png", "400x20", Photo(400, 20)),
        ("a.JPEG", "5001x5000", None),
        ("a.png", "401x20", None),
        ("a.webp", "20x20", None),
    ],
)
async def test_a_photo_is_within_the_limits(
    tmp_path: Path, name: str, size: str, expected: Photo | None
) -> None:
    data = make_video(tmp_path / name, "-frames:v", "1", size=size)
    assert await look_at_media(name, data, tmp_path / "scratch") == expected
    assert await look_at_media(name, data + bytes(11 << 20), tmp_path / "scratch") is None


async def test_music_and_recordings_differ(tmp_path: Path) -> None:
    tags = ("-metadata", "title=Ode", "-metadata", "artist=LvB")
    for name, options, expected in (
        ("a.mp3", tags, Audio(1, "Ode", "LvB")),
        ("a.m4a", tags, Audio(1, "Ode", "LvB")),
        ("a.flac", (), Audio(1)),
        ("a.ogg", ("-c:a", "libopus"), Audio(1, voice=True)),
        ("b.ogg", ("-c:a", "libopus", *tags), Audio(1, "Ode", "LvB")),
        ("a.opus", (), Audio(1)),
    ):
        seen = await look_at_media(name, make_audio(tmp_path / name, *options), tmp_path / "scratch")
        assert isinstance(seen, Audio)
        assert replace(seen, seconds=round(seen.seconds)) == expected
        assert await look(name, b"x", tmp_path / "scratch") is None, "only videos were asked for"
