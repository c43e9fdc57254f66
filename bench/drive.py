"""Measures the drive: a folder with 100,000 files, and a file that is read as players do, beside a link to
the same file. The client is curl."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from statistics import median

from bench import files
from bench.installation import Installation, installation
from bench.process import run_timed
from bench.results import MB, MIB, Measurement, compared
from saveany.catalogue.database import FILE_NAME
from saveany.catalogue.search import fold

_FILES = 100_000
_LISTINGS, _READS = 5, 7
#: Size of a range: that of players' and rclone's buffers.
_RANGE = 4 * MIB


async def propfind_100k() -> list[Measurement]:
    """All properties of all files in the folder, and by how much the memory of the API grows meanwhile."""
    async with installation(dav={"enable": True}) as running:
        await _save(running, files.WARM_UP)
        _fill(running.folder / "data")
        base, login, list_ = _base(running), await _login(running), running.folder / "list"
        fixed = ("-sSf", "--noproxy", "*", "-u", login, "-X", "PROPFIND", "-H", "Depth: 1", "-o", list_)
        await run_timed(["curl", *fixed, f"{base}/dav/"])
        before, taken = running.api.peak_mb(), []
        for _ in range(_LISTINGS):
            seconds, _ = await run_timed(["curl", *fixed, f"{base}/dav/large"])
            taken.append(seconds)
        listing = list_.read_bytes()
        if (found := listing.count(b"<D:href>")) != _FILES + 1:
            raise RuntimeError(f"the listing has {found} entries")
        grown = running.api.peak_mb() - before
    note = f"{len(listing) / MB:.0f} MB of XML"
    return [
        Measurement("dav_propfind_100k_ms", median(taken) * 1000, "ms", note=note),
        Measurement("dav_propfind_100k_mb", grown, "MB grown"),
    ]


async def read() -> list[Measurement]:
    """A local file, over one connection in ranges that follow each other."""
    number = files.MIB_256
    async with installation(dav={"enable": True}) as running:
        file = await _save(running, number)
        body = {"file_id": file["file_id"], "user_id": running.user}
        reply = await running.http.post("/api/v1/links", json=body)
        reply.raise_for_status()
        login, ranges = await _login(running), running.folder / "ranges"
        drive, link = f"{_base(running)}/dav/{file['name']}", str(reply.json()["url"])
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(_READS):
            for url, user, taken in ((drive, login, ours), (link, "", theirs)):
                ranges.write_text(_ranges(url, user, files.size(number)))
                seconds, _ = await run_timed(["curl", "-K", ranges])
                taken.append(seconds)
    size = files.size(number) / MB
    return [compared("dav_read", size / median(ours), "MB/s", size / median(theirs))]


def _base(running: Installation) -> str:
    return str(running.http.base_url).rstrip("/")


async def _login(running: Installation) -> str:
    """The user name and the password of the drive."""
    body = {"name": "drive", "user_id": running.user, "scopes": ["read"]}
    reply = await running.http.post("/api/v1/keys", json=body)
    reply.raise_for_status()
    return f"x:{reply.json()['secret']}"


def _ranges(url: str, login: str, size: int) -> str:
    """The configuration with which curl reads a file in ranges."""
    options = ["silent", "show-error", "fail", 'noproxy = "*"', 'output = "/dev/null"', f'url = "{url}"']
    options += [f'user = "{login}"'] if login else []
    parts = [
        "\n".join([*options, f'range = "{at}-{min(at + _RANGE, size) - 1}"']) for at in range(0, size, _RANGE)
    ]
    return "\nnext\n".join(parts)


async def _save(running: Installation, number: int) -> dict[str, str]:
    """Save a file; returns it as the API shows it."""
    since = await running.store.events.last_id()
    task_id = await running.post(number)
    await running.ended(task_id, since)
    await running.completed(task_id, number)
    [file] = (await running.http.get("/api/v1/files")).json()["files"]
    return dict(file)


def _fill(folder: Path) -> None:
    """Put copies of the record of the only file into a new folder."""
    with closing(sqlite3.connect(folder / FILE_NAME)) as database:
        database.row_factory = sqlite3.Row
        row = dict(database.execute("SELECT * FROM files").fetchone())
        del row["number"]
        place = row["user_id"], 0, "large"
        insert = "INSERT INTO folders (user_id, parent_id, name) VALUES (?, ?, ?)"
        row["folder_id"] = database.execute(insert, place).lastrowid
        insert = f"INSERT INTO files ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})"
        database.executemany(insert, (row | _changes(n) for n in range(_FILES)))
        database.commit()


def _changes(n: int) -> dict[str, str | int]:
    name = f"Holiday video & more {n:06d} 第{n % 977}集.mp4"
    return {"id": f"{n:020d}", "item": n + 1, "name": name, "search": fold(name)}
