"""`python -m tests.integration.catalogue.halting_migration URL DATA_DIR`: migrate, but halt before the end.

It prints a line when all statements were sent, and waits until it is killed."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from sqlalchemy import Connection

from saveany.catalogue import schema
from saveany.catalogue.database import Database


def _halt(connection: Connection) -> None:
    _upgrade(connection)
    print("halted", flush=True)
    time.sleep(600)


_upgrade = schema._upgrade
schema._create = schema._upgrade = _halt

if __name__ == "__main__":
    asyncio.run(schema.migrate(Database(sys.argv[1], Path(sys.argv[2]))))
