"""Logging for every process: one line per event on stderr, as text or JSON, without secrets.

All records pass through one handler, including those of uvicorn, arq, Telethon and httpx. Secrets are masked
in the finished line, so that none can bypass it. An event is a constant action word, and fields hold the
details.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from types import TracebackType
from typing import Literal, TextIO
from urllib.parse import quote

from saveany.imports import without
from saveany.log_tail import LogTail

with without("rich"):  # structlog would load it for tracebacks that show the values of variables
    import structlog
    from structlog.typing import Processor

MASK = "***"

#: Minimum length of a masked value: shorter ones would mask ordinary words.
_MIN_SECRET = 4
#: Loggers that report all traffic, at INFO or DEBUG: request lines with tokens, and what is in databases.
_QUIET = ("aiobotocore", "aiosqlite", "arq", "asyncssh", "botocore", "httpcore", "httpx", "telethon")
#: Loggers that install their own handlers, which are removed.
_OURS = ("uvicorn", "uvicorn.access", "uvicorn.error", "arq")

_secrets: set[str] = set()
_tail: LogTail | None = None
_pattern: re.Pattern[str] | None = None


def register_secret(value: str) -> None:
    """Mask `value` in all log lines from now on. Values of less than 4 characters are ignored."""
    global _pattern
    if len(value) < _MIN_SECRET:
        return
    # The value as it appears in a URL and in a repr, and each of these inside a JSON string.
    seen = {value, repr(value)[1:-1], quote(value), quote(value, safe="")}
    _secrets.update(seen, (json.dumps(text, ensure_ascii=False)[1:-1] for text in seen))
    longest_first = sorted(_secrets, key=len, reverse=True)
    _pattern = re.compile("|".join(map(re.escape, longest_first)))


def redact(text: str) -> str:
    """`text` with every registered secret masked."""
    return _pattern.sub(MASK, text) if _pattern else text


def keep_tail() -> None:
    """Keep the last lines of this process, and of those that it starts, for `tail`."""
    global _tail
    _tail = _tail or LogTail.open()


def tail() -> LogTail | None:
    """The last lines; None if they are not kept."""
    return _tail


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger: `log.info("action_word", key=value)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def setup(level: str = "info", fmt: Literal["text", "json"] = "text") -> None:
    """Log to stderr from now on, including uncaught exceptions. `level` is a name from the logging module."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Handler(sys.stderr)
    handler.setFormatter(_RedactingFormatter(processor=_renderer(fmt), foreign_pre_chain=shared))
    _install(handler, level.upper())
    sys.excepthook = _log_crash


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Masks secrets in the finished line."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to a stream, and to what keeps the last lines."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if _tail:
            _tail.write(line)
        return line


def _renderer(fmt: str) -> Processor:
    if fmt == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def _install(handler: logging.Handler, level: str) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _OURS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        get_logger("saveany").critical("crashed", exc_info=(kind, error, trace))
