"""SaveAny: take media out of Telegram, keep it in your own storages, never lose a task."""

from saveany import imports

__version__ = "0.1.0"

imports.install()
