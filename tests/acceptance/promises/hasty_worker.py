"""`python -m tests.acceptance.promises.hasty_worker …`: its workers soon give up what nobody knows."""

from __future__ import annotations

from saveany.cli import main
from workers import main as worker

if __name__ == "__main__":
    worker._STRAYS_PATIENCE, worker._STRAYS_SECONDS = 0.5, 0.1
    main()
