"""Logging: structlog to standard error, lines for people or JSON; never a path, which may hold a secret."""

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict

from ledger.settings import LogFormat, LogLevel
from ledger.text import printable, visible


def configure_logging(level: LogLevel, form: LogFormat) -> None:
    """Everything of this level and above; `auto` is for people on a terminal and JSON elsewhere."""
    for_people = form == "console" or (form == "auto" and sys.stderr.isatty())
    # A traceback without the values of variables: among them are secrets.
    plain = structlog.dev.plain_traceback
    renderer: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=plain) if for_people else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _made_visible,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries say what concerns us through exceptions; their own lines may hold URLs.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Visible("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    for name in ("granian", "_granian", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _made_visible(_: object, __: str, event: EventDict) -> EventDict:
    """What others wrote steers no terminal, nor does it look like a line of ours; a traceback has several."""
    return {
        name: (visible if name == "exception" else printable)(value) if isinstance(value, str) else value
        for name, value in event.items()
    }


class _Visible(logging.Formatter):
    """The lines of libraries, with what could steer a terminal written out."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))
