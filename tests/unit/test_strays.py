"""When a task is given up because no worker knows its storage or kind."""

from __future__ import annotations

from saveany.store import WorkerInfo
from workers.strays import Strays

LANES = {"tgfiles/nas", "tgfiles/old", "transfer@old/nas", "transfer@nas/away", "new/nas"}


def worker(**storages: str) -> WorkerInfo:
    sources = {"tgfiles": "", "transfer": ""}
    return WorkerInfo(id="w", host="h", pid=1, started_at=1, storages=storages, sources=sources)


def test_only_what_is_missing_everywhere_for_long_is_given_up() -> None:
    now = [0.0]
    strays = Strays(300, lambda: now[0])
    here = [worker(nas=""), worker(away="its disk is not mounted")]
    assert strays.look(LANES, here) == []
    now[0] = 299
    assert strays.look(LANES, here) == []
    now[0] = 300
    assert strays.look(LANES, here) == ["new/nas", "tgfiles/old", "transfer@old/nas"]


def test_a_machine_that_was_away_for_a_while_is_waited_for_anew() -> None:
    now = [0.0]
    strays = Strays(300, lambda: now[0])
    strays.look(LANES, [worker(nas="")])
    now[0] = 200
    strays.look(LANES, [worker(nas="", old="", away="")])
    now[0] = 400
    assert strays.look({"tgfiles/old"}, [worker(nas="")]) == []
    now[0] = 700
    assert strays.look({"tgfiles/old"}, [worker(nas="")]) == ["tgfiles/old"]


def test_without_workers_nothing_is_known() -> None:
    now = [0.0]
    strays = Strays(300, lambda: now[0])
    strays.look(LANES, [])
    now[0] = 1000
    assert strays.look(LANES, []) == []
