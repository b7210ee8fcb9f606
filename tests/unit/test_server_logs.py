"""The service's log: what others wrote steers no terminal and looks like no other line; tracebacks show no values."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from ledger.server.logs import configure_logging
from ledger.settings import LogFormat

STEERING = "\x1b]0;x\x07 \x9b2J \u202e \u2028"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers = root.handlers[:]
    yield
    root.handlers[:] = handlers
    structlog.reset_defaults()


def fail(secret: str) -> None:
    raise ValueError(f"{STEERING} of {len(secret)}")


@pytest.mark.parametrize("form", ["console", "json"])
def test_what_others_wrote_steers_no_terminal(form: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", form)
    log = structlog.get_logger()
    log.info("node_failed", reason=f"400: {STEERING}\nlistening", names=[STEERING])
    try:
        fail("geheim")
    except ValueError:
        log.exception("failed")
    told = capsys.readouterr().err
    assert not {"\x07", "\x9b", "\u202e", "\u2028"} & set(told)
    assert "\x1b]" not in told
    assert not any(line.startswith("listening") for line in told.splitlines())
    assert "ValueError" in told
    # It was the value of a variable alone.
    assert "geheim" not in told.replace('fail("geheim")', "").replace('fail(\\"geheim\\")', "")


def test_lines_of_libraries_neither(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger().handlers.clear()
    configure_logging("info", "json")
    logging.getLogger("library").error("odd: %s", STEERING)
    assert capsys.readouterr().err.startswith("ERROR library odd: \\x1b]0;x\\x07 \\x9b2J \\u202e \\u2028")
