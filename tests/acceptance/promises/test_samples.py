"""Every sample link of the sandbox ends as it should."""

from __future__ import annotations

import re

from saveany.sandbox.samples import Sample
from tests.acceptance.promises.site import LONG, Site

# What the names of the samples become. What has no name gets one from its date, id and kind.
NAMES = {
    "hostile name: a path": r"x|\.?_?\.?.*x",
}


async def test_all_samples(site: Site) -> None:
    samples = [each for each in site.sandbox.samples if LONG or each.note != "2 GiB"]
    await site.start(2)
    tasks = {n: await site.post(sample.link, f"{n}") for n, sample in enumerate(samples)}
    for n, sample in enumerate(samples):
        task = await site.ended(tasks[n], 150)
        print(sample.note, [i["name"] for i in task["items"]], task["error"])
