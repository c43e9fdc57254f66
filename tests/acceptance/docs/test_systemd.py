"""The systemd unit of the documentation: systemd accepts it, and the service behaves as documented."""

from __future__ import annotations

import configparser
import os
import signal
import subprocess
import sys
from asyncio import create_subprocess_exec, wait_for
from asyncio.subprocess import DEVNULL
from pathlib import Path

import httpx

from tests.fixtures.servers import program
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until
from tests.unit.docs import pages

(UNIT,) = [one.code for one in pages.examples(pages.ROOT / "docs/howto/operate.md") if one.name == "systemd"]


def unit() -> configparser.SectionProxy:
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd knows capitals from small letters
    parser.read_string(UNIT)
    return parser["Service"]


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """Another folder replaces that of the unit, which does not exist here."""
    folder = tmp_path / "saveany"
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/saveany").symlink_to(Path(sys.executable).with_name("saveany"))
    file = tmp_path / "saveany.service"
    file.write_text(UNIT.replace("/opt/saveany", str(folder)))
    command = [program("systemd-analyze"), "verify", "--man=no", str(file)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    about_it = [line for line in found.stderr.splitlines() if "saveany" in line]
    assert (found.returncode, about_it) == (0, [])
    file.write_text(file.read_text().replace("NoNewPrivileges", "NoNewPrivilege"))
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "NoNewPrivilege" in found.stderr, "it would have said what it does not know"


async def test_the_service_runs_and_stops_in_time(tmp_path: Path) -> None:
    service = unit()
    command = service["ExecStart"].removeprefix(f"{service['WorkingDirectory']}/.venv/bin/saveany").split()
    async with Stack(tmp_path, roles=False) as stack:
        process = await create_subprocess_exec(
            Path(sys.executable).with_name("saveany"), *command, cwd=tmp_path, stdout=DEVNULL, stderr=DEVNULL
        )

        async def is_ready() -> bool:
            try:
                return (await stack.client.get("/readyz")).is_success
            except httpx.TransportError:
                return False

        await until(is_ready, within=60)
        process.send_signal(signal.SIGTERM)
        assert await wait_for(process.wait(), float(service["TimeoutStopSec"])) == 0


async def test_a_wrong_configuration_is_not_restarted(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("wrokers = 1\n")
    service = unit()
    process = await create_subprocess_exec(
        Path(sys.executable).with_name("saveany"),
        "run",
        cwd=tmp_path,
        stdout=DEVNULL,
        stderr=DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )
    assert await wait_for(process.wait(), 60) == int(service["RestartPreventExitStatus"])
