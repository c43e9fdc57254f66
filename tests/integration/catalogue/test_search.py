"""Search by substring, on both engines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.catalogue import HistoryFilter
from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.search import fold
from saveany.models import Status
from saveany.store import Store
from tests.integration.store.test_lifecycle import accept, claim

TITLES = {
    "chinese": "三体 第一季 01.mkv",
    "kana": "スパイファミリー.mp4",
    "korean": "기생충.mkv",
    "cyrillic": "Доклад за год.pdf",
    "german": "STRASSE 50%_off.txt",
    "nfd": "re\u0301sume\u0301.pdf",
    "quotes": 'it\'s "quoted" * AND -x.bin',
}
QUERIES = [
    ("三体", {"chinese"}),
    ("第一", {"chinese"}),
    ("体", {"chinese"}),
    ("一三", set()),
    ("ファミ", {"kana"}),
    ("생충", {"korean"}),
    ("доклад", {"cyrillic"}),
    ("ДОКЛАД", {"cyrillic"}),
    ("straße", {"german"}),
    ("0%_o", {"german"}),
    ("0%%_o", set()),
    ("RÉSUMÉ", {"nfd"}),
    ('"quoted" *', {"quotes"}),
    ("and -x", {"quotes"}),
    (".mkv", {"chinese", "korean"}),
    ("k", {"chinese", "korean"}),
    ("nothing", set()),
]


@pytest.mark.parametrize("scanned", [1, 1000], ids=["by index", "by scan"])
async def test_substrings_are_found(
    store: Store, any_catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, scanned: int
) -> None:
    monkeypatch.setattr("saveany.catalogue.listing._FIRST", scanned)
    names = {}
    for name in TITLES:
        task_id = await accept(store)
        await store.db.do("HSET", f"sa:task:{task_id}", "title", TITLES[name])
        await (await claim(store)).finish(Status.COMPLETED)
        names[task_id] = name
    for query, wanted in QUERIES:
        page = await any_catalogue.history.page(HistoryFilter(q=query))
        assert {names[task.id] for task in page.tasks} == wanted, query


async def test_a_task_is_found_by_its_present_text_only(store: Store, any_catalogue: Catalogue) -> None:
    async def found(query: str) -> int:
        return len((await any_catalogue.history.page(HistoryFilter(q=query))).tasks)

    await accept(store)
    claimed = await claim(store)
    await claimed.finish(Status.FAILED, "first reason")
    assert (await found("first reason"), await found("second")) == (1, 0)
    await store.db.do("HSET", f"sa:task:{claimed.task.id}", "error", "second reason")
    await store.db.do("XADD", "sa:record", "*", "task", claimed.task.id, "items", "*")
    assert (await found("first reason"), await found("second")) == (0, 1)
    await any_catalogue.history.remove(claimed.task.id)
    assert await found("second") == 0


@given(st.text(), st.text(min_size=1), st.text())
def test_a_folded_text_contains_the_folded_parts_of_wide_characters(
    before: str, part: str, after: str
) -> None:
    wide = "".join(chr(0x4E00 + ord(each) % 0x5000) for each in part)
    assert fold(wide) in fold(f"{before}\n{wide}\n{after}")
