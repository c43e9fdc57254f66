"""Every sample link of the sandbox ends as it should: right bytes under right names, or the right error."""

from __future__ import annotations

import asyncio

import pytest

from tests.acceptance.promises.site import Site, sha256

LONG_NAME = "long-" + "x" * 231 + ".bin"

#: What each sample is saved as. What has no name of its own is named by its caption, else date and id.
NAMES: dict[str, list[str]] = {
    "a PDF": ["file.pdf"],
    "1 byte": ["one-byte.bin"],
    "exactly 1 MiB": ["1MiB.bin"],
    "1 MiB and 1 byte": ["1MiB-and-1.bin"],
    "64 MiB": ["64MiB.bin"],
    "slow: the same 64 MiB, served at 8 MB/s in all": ["slow-64MiB.bin"],
    "2 GiB": ["2GiB.bin"],
    "a photo": ["Sunset over the harbour.jpg"],
    "an album of 4": [
        "Four views of the harbour.jpg",
        "photo_2024-01-02_05-16-05_132.jpg",
        "photo_2024-01-02_05-17-05_133.jpg",
        "video_2024-01-02_05-18-05_134.mp4",
    ],
    "a file on the second data centre": ["second-dc.bin"],
    "hostile name: a path": ["_.._x"],
    "hostile name: 300 characters": [LONG_NAME],
    "hostile name: right-to-left override": ["reportfdp.exe"],
    "hostile name: emoji": ["\U0001f389 party \U0001f469\u200d\U0001f4bb.bin"],
    "hostile name: a trailing dot": ["dot"],
    "a voice message, no file name": ["voice_2024-01-02_05-25-05_141.ogg"],
    "a video, no file name": ["video_2024-01-02_05-26-05_142.mp4"],
    "a sticker, no file name": ["sticker_2024-01-02_05-27-05_143.webp"],
    "a comment": ["comment.bin"],
    "a private channel": ["private.bin"],
    "a topic of a public forum": ["topic.bin"],
    "a topic of a forum, by its id": ["topic-2.bin"],
    "a protected chat": ["protected.bin"],
}
ERRORS = {
    "a message with text only": "The message has no file",
    "no such message": "Message 199 does not exist",
}


@pytest.mark.timeout(300)
async def test_all_samples(site: Site) -> None:
    samples = site.sandbox.samples
    assert {sample.note for sample in samples} == {*NAMES, *ERRORS}
    await site.start(2)
    posted = [await site.post(sample.link, f"{n:02}") for n, sample in enumerate(samples)]
    tasks = await asyncio.gather(*(site.ended(task_id, 240) for task_id in posted))
    expected = []
    for n, (sample, task) in enumerate(zip(samples, tasks, strict=True)):
        if not sample.files:
            assert task["status"] == "failed", sample
            assert ERRORS[sample.note] in task["error"]
            continue
        assert (task["status"], task["error"]) == ("completed", ""), sample
        assert [item["name"] for item in task["items"]] == NAMES[sample.note]
        for item, file in zip(task["items"], sample.files, strict=True):
            assert item["path"] == f"{n:02}/{item['name']}"
            assert (item["size"], item["sha256"]) == (file.size, file.sha256), sample
            assert sha256(site.storage / item["path"]) == file.sha256, sample
            expected.append(item["path"])
    assert site.files() == sorted(expected)
