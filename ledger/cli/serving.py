"""Runs the service until a signal ends it, on the embedded PostgreSQL unless a database URL is set."""

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import structlog
import uvloop

from ledger.errors import LedgerError
from ledger.server.http_server import bind
from ledger.server.logs import configure_logging
from ledger.server.neighbours import expect_ours
from ledger.server.terminal import Terminal
from ledger.service.instance import Wishes
from ledger.service.instance import serve as serve_http
from ledger.settings import Settings, mask_url
from ledger.settings.exposed import exposed_file
from ledger.settings.notices import expect_known
from ledger.store import two_ways
from ledger.store.data_folder import DataFolder
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.preflight import await_database

log = structlog.get_logger()

# Judging and committing run in threads next to the event loop: at the default, each switch would cost a read 5 ms.
SWITCH_SECONDS = 0.0005

WATCH_SECONDS = 0.25
WATCH_END_SECONDS = 5.0


def run(settings: Settings, read: Callable[[], Settings]) -> None:
    """Run an instance until SIGTERM or SIGINT. Raises LedgerError where it cannot start.

    On SIGHUP the settings are taken anew, as `read` gives them; where that says that the terminal is gone in which the
    service was started, it ends.
    """
    terminal = Terminal()
    expect_known(settings)
    configure_logging(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH_SECONDS)
    # Until there is an event loop to tell, an end in order is an exception.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    signal.signal(signal.SIGHUP, lambda *_: sys.exit() if terminal.is_gone() else None)
    ends = threading.Event()
    with ExitStack() as stack:
        # First what costs nothing: a port that is taken must not start a database.
        bound = stack.enter_context(bind(settings.listen))
        if settings.front_listen is not None:
            bind(settings.front_listen, "front_listen").close()
        folder = DataFolder(settings.data_dir)
        folder.claim()
        stack.callback(folder.release)
        for exposed in filter(None, (exposed_file(settings), *folder.exposed())):
            log.warning("others_can_reach", path=str(exposed.path), mode=exposed.mode, way_out=exposed.way_out)
        url = settings.sessions_url
        if not url:
            # No other instance serves the ledger of this folder.
            expect_ours(settings.listen, lambda _: False)
            postgres = EmbeddedPostgres(settings.data_dir)
            log.info("starting_postgresql", folder=str(settings.data_dir))
            try:
                url = postgres.start()
            except SystemExit:
                postgres.stop()
                raise
            stack.callback(postgres.stop)
            stack.enter_context(_watched(postgres, ends))
        # Before there is an event loop: SIGTERM ends the wait.
        if settings.database_session_url:
            log.info("database", url=mask_url(url), pooled=mask_url(settings.database_url))
            await_database(url, settings.database_wait_seconds, _waits)
            await_database(settings.database_url, settings.database_wait_seconds, _waits, attempt=two_ways.log_in)
        else:
            log.info("database", url=mask_url(url))
            await_database(url, settings.database_wait_seconds, _waits)
        _tune_gc()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_signal(terminal, ends, partial(serve_http, settings, folder, url, bound, read=read)))


def _waits(reason: str) -> None:
    log.warning("waiting_for_postgresql", reason=reason)


async def _until_signal(
    terminal: Terminal, ends: threading.Event, serve: Callable[[Wishes], Coroutine[Any, Any, None]]
) -> None:
    """Serve; `ends` is set as soon as a signal ends it."""
    wishes = Wishes(asyncio.Event(), asyncio.Event())
    loop = asyncio.get_running_loop()

    def stop() -> None:
        ends.set()
        wishes.stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, lambda: stop() if terminal.is_gone() else wishes.reload.set())
    await serve(wishes)


@contextmanager
def _watched(postgres: EmbeddedPostgres, ends: threading.Event) -> Iterator[None]:
    """Restart the embedded PostgreSQL whenever it ends; requests wait meanwhile, as for any database that is away.

    Not once the service `ends`, which whoever ended both has told it, too.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(WATCH_SECONDS):
            if postgres.is_running() or ends.wait(WATCH_SECONDS):
                continue
            log.error("postgresql_ended", way_out="it is being restarted; postgres.log in data_dir may say why")
            try:
                postgres.start()
            except LedgerError as error:
                log.error("postgresql_not_started", reason=str(error))  # noqa: TRY400  (an expected outcome)
            else:
                log.info("postgresql_started")

    watching = threading.Thread(target=watch, name="watch postgresql", daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join(WATCH_END_SECONDS)


def _tune_gc() -> None:
    """Events and states hold no cycles; a collection walks a whole group of them for nothing."""
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
