"""When a task fails because no worker knows its storage or task type."""

from __future__ import annotations

from saveany.store import WorkerInfo
from workers.orphans import OrphanedLanes

LANES = {"tgfiles/nas", "tgfiles/old", "transfer@old/nas", "transfer@nas/away", "new/nas"}


def worker(**storages: str) -> WorkerInfo:
    sources = {"tgfiles": "", "transfer": ""}
    return WorkerInfo(id="w", host="h", pid=1, started_at=1, storages=storages, sources=sources)


def test_a_lane_is_orphaned_after_all_workers_have_missed_it_for_long() -> None:
    now = [0.0]
    orphans = OrphanedLanes(300, lambda: now[0])
    here = [worker(nas=""), worker(away="its disk is not mounted")]
    assert orphans.update(LANES, here) == []
    now[0] = 299
    assert orphans.update(LANES, here) == []
    now[0] = 300
    assert orphans.update(LANES, here) == ["new/nas", "tgfiles/old", "transfer@old/nas"]


def test_the_wait_begins_anew_when_a_worker_knew_the_lane_meanwhile() -> None:
    now = [0.0]
    orphans = OrphanedLanes(300, lambda: now[0])
    orphans.update(LANES, [worker(nas="")])
    now[0] = 200
    orphans.update(LANES, [worker(nas="", old="", away="")])
    now[0] = 400
    assert orphans.update({"tgfiles/old"}, [worker(nas="")]) == []
    now[0] = 700
    assert orphans.update({"tgfiles/old"}, [worker(nas="")]) == ["tgfiles/old"]


def test_no_lane_is_orphaned_while_no_worker_runs() -> None:
    now = [0.0]
    orphans = OrphanedLanes(300, lambda: now[0])
    orphans.update(LANES, [])
    now[0] = 1000
    assert orphans.update(LANES, []) == []
