"""SaveAny: take media out of Telegram, keep it in your own storages, never lose a task."""

__version__ = "0.1.0"
