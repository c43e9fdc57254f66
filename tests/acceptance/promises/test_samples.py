"""Every sample link of the sandbox has the expected result: the right files, or the right error."""

from __future__ import annotations

import asyncio

import pytest

from tests.acceptance.promises.site import Site, sha256

ERRORS = {
    "a message with text only": "The message has no file",
    "no such message": "Message 199 does not exist",
}


@pytest.mark.timeout(300)
async def test_every_sample_link_has_the_expected_result(site: Site) -> None:
    samples = site.sandbox.samples
    assert {sample.note for sample in samples if not sample.files} == set(ERRORS)
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
        assert [item["name"] for item in task["items"]] == [file.name for file in sample.files]
        for item, file in zip(task["items"], sample.files, strict=True):
            assert item["path"] == f"{n:02}/{item['name']}"
            assert (item["size"], item["sha256"]) == (file.size, file.sha256), sample
            assert sha256(site.storage_dir / item["path"]) == file.sha256, sample
            expected.append(item["path"])
    assert site.files() == sorted(expected)
