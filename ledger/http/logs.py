"""Logging: structlog to standard error, lines for people or JSON; never a path, which may hold a secret."""

import logging
import sys
from typing import Any

import structlog

from ledger.settings import LogFormat, LogLevel


def configure_logging(level: LogLevel, form: LogFormat) -> None:
    """Everything of this level and above; `auto` is for people on a terminal and JSON elsewhere."""
    for_people = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if for_people else structlog.processors.JSONRenderer()
    exceptions: list[Any] = [] if for_people else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *exceptions,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries say what concerns us through exceptions; their own lines may hold URLs.
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    for name in ("granian", "_granian", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.ERROR)
