"""The feed's thread: takes the feed step by step as commits are told of and instants come, and questions in between.

Whatever a step or a question comes to is handed to the event loop in the order in which it was read, and the next step
waits until it has been taken, so whoever begins to watch misses nothing and is told nothing twice.
"""

import asyncio
import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

import structlog
from psycopg import Connection, Notify
from psycopg.rows import TupleRow

from ledger.changes.feed import ChangeFeed
from ledger.changes.step import Step, WentBackError
from ledger.domain.observation import SECOND, Instant
from ledger.errors import StoreUnavailable
from ledger.loops import call_soon
from ledger.store.commit import CHANNEL
from ledger.store.ledger import translated

log = structlog.get_logger()

T = TypeVar("T")

POLL_SECONDS = 1.0
"""Looked at as often even if no notification comes: one may be lost."""

GATHER_SECONDS = 0.05
"""Between two steps at least: under load commits follow one another within milliseconds, and are one step."""

QUESTION_SECONDS = 0.1
"""Questions are answered so long at a time; then comes a step, however many ask."""

INITIAL_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 2.0
REFUSE_SECONDS = 0.1
"""While there is no connection, whoever asks waits no longer for being told so."""

Ask = Callable[[ChangeFeed, Connection[TupleRow]], Any]


class Sink(NamedTuple):
    """What the event loop does with what is read, in order."""

    publish: Callable[[Step], Coroutine[Any, Any, None]]
    """Returns once there is room for the next step."""
    restart: Callable[[], None]
    """The ledger is another one, or an older state of it: whoever watches has to begin anew."""
    beside: "Callable[[ChangeFeed, Connection[TupleRow]], Callable[[], None] | None] | None" = None
    """What else is read with each step, as of its moment; what it gives is called before any answer is taken."""


class _Question(NamedTuple):
    ask: Ask
    then: Callable[[Any], None]
    fail: Callable[[BaseException], None]


class FeedRunner:
    """The thread, from `start` to `stop`; `connect` gives a connection in autocommit whose errors are ours."""

    def __init__(
        self, connect: Callable[[], Connection[TupleRow]], epoch: Callable[[Connection[TupleRow]], str],
        now: Callable[[], Instant], sink: Sink,
    ) -> None:  # fmt: skip
        self._connect = connect
        self._read_epoch = epoch
        self._now = now
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._feed = ChangeFeed(now)
        self._questions: deque[_Question] = deque()
        self._notes: deque[tuple[ChangeFeed, Callable[[ChangeFeed], None]]] = deque()
        self._woken, self._waker = socket.socketpair()
        # A wake-up that waits for room would hold up the event loop, which the thread may be waiting for itself.
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._ending = threading.Event()
        self._began = False
        self._failed = False
        """Whether a step failed by a fault of ours: nobody knows what it has told."""
        self._notified = False
        """Whether a commit has been told of since the step was begun: perhaps while it was being read."""
        self._backoff = INITIAL_BACKOFF_SECONDS
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
        self.epoch = ""
        """Of the ledger that the last step was read from."""

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    async def stop(self) -> None:
        """End the thread."""
        self._ending.set()
        self._wake()
        await asyncio.to_thread(self._thread.join, 2.0)
        if not self._thread.is_alive():
            self._woken.close()
            self._waker.close()

    async def ask(self, ask: Callable[[ChangeFeed, Connection[TupleRow]], T], then: Callable[[T], None]) -> T:
        """What the feed says to a question put between two steps; `then` is called with it before the next step is.

        Raises StoreUnavailable.
        """
        answered: asyncio.Future[T] = self._loop.create_future()

        def take(answer: T) -> None:
            then(answer)
            if not answered.done():
                answered.set_result(answer)

        def fail(error: BaseException) -> None:
            if not answered.done():
                answered.set_exception(error)

        self._questions.append(_Question(ask, take, fail))
        self._wake()
        return await answered

    def tell(self, feed: ChangeFeed, note: Callable[[ChangeFeed], None]) -> None:
        """Let a feed know something before its next step; one that is no longer followed need not."""
        self._notes.append((feed, note))

    def _wake(self) -> None:
        # Where there is no room, enough of them wait already.
        with contextlib.suppress(BlockingIOError, OSError):
            self._waker.send(b"\0")

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                with contextlib.closing(self._connect()) as connection:
                    self._follow(connection)
            except StoreUnavailable as error:
                if self._backoff == INITIAL_BACKOFF_SECONDS:
                    log.warning("changes_lost_connection", reason=str(error))
                self._pause(error)
            except Exception as error:  # whatever it is, streams must not fall silent for it
                if self._loop.is_closed():
                    return
                if self._backoff == INITIAL_BACKOFF_SECONDS:
                    log.exception("changes_failed")
                self._failed = True
                self._pause(StoreUnavailable(f"the changes cannot be read: {type(error).__name__}"))

    def _pause(self, error: StoreUnavailable) -> None:
        """After a failure; what is asked meanwhile is refused."""
        deadline = time.monotonic() + self._backoff
        self._backoff = min(self._backoff * 2, MAX_BACKOFF_SECONDS)
        while True:
            self._refuse(error)
            if self._ending.wait(min(REFUSE_SECONDS, max(0.0, deadline - time.monotonic()))):
                return
            if time.monotonic() >= deadline:
                return

    def _follow(self, connection: Connection[TupleRow]) -> None:
        with translated():
            connection.add_notify_handler(self._note)
            connection.execute(f"LISTEN {CHANNEL}".encode())
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._ending.is_set():
                with translated():
                    more = self._turn(connection)
                if self._backoff != INITIAL_BACKOFF_SECONDS:
                    self._backoff = INITIAL_BACKOFF_SECONDS
                    log.info("changes_connected")
                if not more:
                    self._wait(connection, selector)

    def _turn(self, connection: Connection[TupleRow]) -> bool:
        """A step that has been taken, and answers as of its moment -> whether there is more to be done at once."""
        while self._notes:
            feed, note = self._notes.popleft()
            if feed is self._feed:
                note(feed)
        epoch = self._read_epoch(connection)
        # Whatever is told of from here on may have been committed after what is read now.
        self._notified = False
        if not self._began or self._failed or epoch != self.epoch:
            self._begin(connection, epoch)
            return True
        try:
            with self._feed.at_one_moment(connection):
                step = self._feed.step(connection)
                asyncio.run_coroutine_threadsafe(self._sink.publish(step), self._loop).result()
                if not self._feed.is_behind:
                    self._look_beside(connection)
                    self._answer(connection)
        except WentBackError:
            self._begin(connection, epoch)
            return True
        return step.more or bool(self._questions)

    def _begin(self, connection: Connection[TupleRow], epoch: str) -> None:
        self._feed = ChangeFeed(self._now)
        self._feed.begin(connection)
        if self._began:
            if not self._failed:
                log.warning("changes_began_anew", reason="the ledger is another one, or an older state of it")
            call_soon(self._loop, self._sink.restart)
        self._began, self._failed, self.epoch = True, False, epoch

    def _look_beside(self, connection: Connection[TupleRow]) -> None:
        take = None if self._sink.beside is None else self._sink.beside(self._feed, connection)
        if take is not None:
            call_soon(self._loop, take)

    def _answer(self, connection: Connection[TupleRow]) -> None:
        deadline = time.monotonic() + QUESTION_SECONDS
        while self._questions and time.monotonic() < deadline:
            question = self._questions.popleft()
            try:
                with connection.transaction():  # a savepoint: what fails spoils nobody else's answer
                    answer = question.ask(self._feed, connection)
            except Exception as error:  # it is the one's who asked, and stops nobody else
                if isinstance(error, StoreUnavailable) or connection.closed or connection.broken:
                    self._questions.appendleft(question)
                    raise
                call_soon(self._loop, question.fail, error)
            else:
                call_soon(self._loop, question.then, answer)

    def _refuse(self, error: StoreUnavailable) -> None:
        while self._questions:
            call_soon(self._loop, self._questions.popleft().fail, error)

    def _wait(self, connection: Connection[TupleRow], selector: selectors.BaseSelector) -> None:
        """Until a commit is told of, somebody asks, or something changes by itself; not for ever."""
        rests_until = time.monotonic() + GATHER_SECONDS
        seconds = POLL_SECONDS
        if (at := self._feed.next_instant()) is not None:
            seconds = min(seconds, max(0.0, (at - self._now()) / SECOND))
        ready = [] if self._questions or self._notified else selector.select(seconds)
        for key, _ in ready:
            if key.fileobj is self._woken:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
            else:
                # A commit, or the end of the connection: the next query meets it.
                self._notified = True
        if self._notified:
            time.sleep(max(0.0, rests_until - time.monotonic()))

    def _note(self, _: Notify) -> None:
        self._notified = True
