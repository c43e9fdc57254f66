"""Uploads a folder of this machine to S3, compared with `rclone copy`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from statistics import median

import pytest

from bench.everything import everything
from bench.installation import STORAGE
from bench.process import run_timed
from bench.results import MB, MIB, Measurement, compared
from tests.fixtures import rclone, s3
from tests.fixtures.servers import program
from tests.fixtures.tables import table

#: As many files as `rclone copy` sends at the same time.
_FILES, _SIZE = 4, 128 * MIB
_ROUNDS = 3


async def upload_local_to_s3() -> list[Measurement]:
    """`saveany upload` through a running SaveAny, until everything is stored, and `rclone copy`."""
    with tempfile.TemporaryDirectory(prefix="saveany-bench-") as name:
        folder = Path(name)
        source = _filled(folder / "source")
        try:
            with s3.rclone(folder) as server:
                bucket = server.bucket()
                options = server.options(bucket, base_path="ours")
                login = {
                    "type": "s3",
                    "provider": "Other",
                    "endpoint": options.endpoint,
                    "access_key_id": s3.KEY,
                    "secret_access_key": s3.SECRET,
                }
                with rclone.remotes(folder, {"s3": login}) as remotes:
                    theirs: list[str | Path] = [program("rclone"), "--config", remotes.config]
                    theirs += ["copy", "--ignore-times", source]
                    async with everything(storage=table(options)) as running:
                        ours = [
                            sys.executable,
                            "-m",
                            "saveany",
                            "--config",
                            str(running.site.config),
                            "upload",
                        ]
                        ours += [f"{source}/", "--to"]
                        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
                        for number in range(_ROUNDS):
                            os.sync()
                            took, _ = await run_timed([*ours, f"{STORAGE}:{number}"])
                            seconds["ours"].append(took)
                            os.sync()
                            took, _ = await run_timed([*theirs, f"s3:{bucket}/theirs/{number}"])
                            seconds["theirs"].append(took)
        except (pytest.skip.Exception, pytest.fail.Exception) as missing:
            raise RuntimeError(str(missing)) from None
    speed = {who: _FILES * _SIZE / MB / median(took) for who, took in seconds.items()}
    return [compared("upload_local_to_s3", speed["ours"], "MB/s", speed["theirs"])]


def _filled(folder: Path) -> Path:
    """A folder with files that cannot be compressed."""
    folder.mkdir()
    for number in range(_FILES):
        with (folder / f"{number}.bin").open("wb") as out:
            for _ in range(_SIZE // MIB):
                out.write(os.urandom(MIB))
            os.fsync(out.fileno())
    return folder
