"""`python -m tests.acceptance.promises.hasty_worker …`: workers that soon fail tasks in
orphaned lanes."""

from __future__ import annotations

from saveany.cli import main
from workers import janitor

if __name__ == "__main__":
    janitor.ORPHAN_GRACE_SECONDS, janitor.ORPHANS_SECONDS = 0.5, 0.1
    main()
