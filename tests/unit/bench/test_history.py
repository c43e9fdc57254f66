"""The catalogues that `make bench` fills have records that can be read."""

from __future__ import annotations

from bench.filled import filled
from bench.history import tasks_and_records
from bench.saved_files import folders_and_files
from saveany.catalogue import FileFilter, HistoryFilter


async def test_the_filled_history_has_the_records_of_a_real_task() -> None:
    async with filled("sqlite", 20, tasks_and_records) as made:
        page = await made.catalogue.history.page(HistoryFilter(), 50)
        assert len(page.tasks) == 21
        assert {task.spec.type for task in page.tasks} == {"tgfiles"}


async def test_the_filled_list_of_files_has_a_large_folder() -> None:
    async with filled("sqlite", 20, folders_and_files) as made:
        page = await made.catalogue.files.page(FileFilter(folder_id=1), 50)
        assert len(page.files) == 2
