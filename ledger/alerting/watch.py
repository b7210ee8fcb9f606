"""Evaluates the alerts every few seconds, on the instance that holds their lock, and while the store is away on the one
that held it when it went."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Protocol

import structlog

from ledger.alerting import gathering
from ledger.alerting.gathering import GatheredFacts
from ledger.alerting.instance_note import InstanceNote, OwnNotes
from ledger.alerting.journal import Journal
from ledger.alerting.loss_windows import LossWindows
from ledger.alerting.telling import Notifiers
from ledger.alerting.unrecorded import Unrecorded
from ledger.alerts.condition import Key
from ledger.alerts.definitions import BY_NAME
from ledger.alerts.facts import AlertFacts, StoreFacts
from ledger.alerts.rules import conditions
from ledger.alerts.tracking import Began, Step, Tracking
from ledger.domain.observation import Instant
from ledger.domain.source import SourceState
from ledger.errors import LedgerError, StoreUnavailable
from ledger.ingest.alert_record import EndedAlert
from ledger.settings import Settings
from ledger.store.ledger import Ledger
from ledger.working_state import alerts, instance_figures
from ledger.working_state.alerts import AlertRow

log = structlog.get_logger()

READ_SECONDS = 5.0
"""A store that takes longer to be read is away."""
STOP_SECONDS = 1.0

NO_ANSWER = f"PostgreSQL has not answered within {READ_SECONDS:g} s"


class Lead(Protocol):
    """Which instance evaluates; of one thread."""

    def take(self) -> bool:
        """Whether this one does now. Raises StoreUnavailable."""

    def still_holds(self) -> bool:
        """Whether it does still."""

    def give_up(self) -> None:
        """Let another one."""


class Sight(NamedTuple):
    """What an instance sees of itself and of others."""

    ledger: Ledger
    instance: str
    look: Callable[[], Awaitable[float]]
    """By how many seconds the database's clock is ahead. Raises StoreUnavailable where it takes no writes."""
    states: Callable[[], Mapping[str, SourceState]]
    leadership: Lead
    """Of alerts alone: reconciliation may be led by another instance, or by none."""
    own: OwnNotes
    journal: Journal
    now: Callable[[], Instant]
    waits: Callable[[], bool] = lambda: False
    """Whether what is to be put on record gives way to webhooks, which would have to be judged again behind it."""


class Alerting:
    """The alerts of an instance, from `start` to `stop`. `seconds` is a clock that only goes forward."""

    def __init__(
        self,
        settings: Settings,
        sight: Sight,
        telling: Callable[[Callable[[], None]], Notifiers],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._sight = sight
        self._seconds = seconds
        self._wake = asyncio.Event()
        self._telling = telling(self._wake.set)
        self._tracking = Tracking(settings.alerts)
        self._loss = LossWindows(sight.ledger, settings, seconds)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="alerts")
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[GatheredFacts] | None = None
        self._own: InstanceNote | None = None
        self._away: StoreFacts | None = None
        self._is_mine = False
        self._leads = False
        """As of the last reading."""
        self._rows: dict[str, AlertRow] = {}
        """The alerts that are on, and those that ended lately, by id."""
        self._unrecorded = Unrecorded(sight.ledger, sight.journal, sight.waits)
        self._has_failed = False

    def start(self) -> None:
        """Begin to evaluate."""
        self._telling.start()
        self._task = asyncio.create_task(self._run(), name="alerts")

    def on(self) -> list[AlertRow] | None:
        """The alerts that are on, on record or not; None while another instance evaluates them."""
        return [row for row in list(self._rows.values()) if row.ended_at is None] if self._is_mine else None

    async def stop(self) -> None:
        """End; a notice that is under way is waited for a moment, so that nobody is told it twice."""
        self._stopping = True
        self._wake.set()
        await self._telling.stop(STOP_SECONDS)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._loss.stop()
        if self._unrecorded:
            await self._keep(self._sight.now())
        with contextlib.suppress(TimeoutError, LedgerError):
            async with asyncio.timeout(STOP_SECONDS):
                if self._away is None:
                    await self._in_thread(self._leave, self._telling.unnoted(list(self._rows.values())))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._in_thread(self._sight.leadership.give_up)
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                await self.evaluate()
            except LedgerError as error:
                log.debug("alerts_interrupted", reason=str(error))
            except Exception:  # a defect must be seen, once, and must not end alerts for good
                if not self._has_failed:
                    self._has_failed = True
                    log.exception("alerts_failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.alerts.evaluate_seconds):
                    await self._wake.wait()

    async def evaluate(self) -> None:
        """One look at everything."""
        reading = await self._look()
        now = self._sight.now()
        if reading is not None:
            await self._take_in(reading)
            self._is_mine = self._leads
        if self._is_mine and self._own is not None:
            await self._go_through(reading, self._own, now)
        else:
            self._telling.quiet()
            self._loss.forget()
        await self._keep(now)

    async def _go_through(self, reading: GatheredFacts | None, own: InstanceNote, now: Instant) -> None:
        """Let alerts begin and end by what is known, and people be told."""
        if reading is not None:
            self._loss.refresh(now)
            reading = reading._replace(loss=self._loss.counted)
        facts = gathering.facts(self._settings, reading, own, self._telling.facts(), self._away, now)
        changed = self._step(facts)
        if self._unrecorded:
            await self._keep(now)
        if reading is not None:
            costs = await self._in_thread(self._unrecorded.record, changed)
            for alert in costs.keys() & self._rows.keys():
                self._rows[alert] = self._rows[alert]._replace(figures=costs[alert])
        self._telling.tell(list(self._rows.values()))

    async def _keep(self, now: Instant) -> None:
        """See that what is not on record outlives this instance, and who has been told of it."""
        if self._unrecorded.began:
            self._unrecorded.note_told(self._telling.unnoted(list(self._rows.values())))
        # Not in our own thread, which may be waiting for the store.
        await asyncio.to_thread(self._unrecorded.keep, now)

    async def _look(self) -> GatheredFacts | None:
        """What is known; None where the store does not answer, or takes nothing."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        done, _ = await asyncio.wait({self._reading}, timeout=READ_SECONDS)
        if not done:
            await self._is_away(NO_ANSWER)
            return None
        reading, self._reading = self._reading, None
        try:
            found = reading.result()
        except StoreUnavailable as error:
            await self._is_away(str(error))
            return None
        self._away = None
        return found

    async def _is_away(self, reason: str) -> None:
        since = self._sight.now() if self._away is None else self._away.failing_since
        # Not in our own thread, which may be waiting for the store.
        self._own = await asyncio.to_thread(self._sight.own.take, None, self._seconds())
        self._away = StoreFacts(since, reason.splitlines()[0], self._own.spool_takes)

    async def _read(self) -> GatheredFacts:
        offset = await self._sight.look()
        found: GatheredFacts = await self._in_thread(self._read_all, offset)
        return found

    def _read_all(self, offset: float) -> GatheredFacts:
        sight = self._sight
        self._own = sight.own.take(offset, self._seconds())
        found = gathering.read(sight.ledger, sight.states, sight.instance, self._own, sight.now())
        self._leads = sight.leadership.still_holds() or sight.leadership.take()
        return found

    async def _take_in(self, reading: GatheredFacts) -> None:
        """What others have put on record, and what this instance, or one before it here, could not until now."""
        unrecorded = self._unrecorded
        await self._in_thread(unrecorded.take_over)
        self._rows = {row.id: row for row in reading.recent}
        if notices := self._telling.unnoted([*reading.recent, *unrecorded.began]):
            # Of alerts that are not on record there is no row yet; who leads next finds it there from the first.
            unrecorded.note_told(notices)
            await self._in_thread(unrecorded.note_notices, notices)
        for row in unrecorded.began:
            self._rows.setdefault(row.id, row)
        for _, over in unrecorded.ended:
            if (known := self._rows.get(over.id)) is not None:
                self._rows[over.id] = known._replace(ended_at=over.at, figures=over.figures)
        await self._in_thread(unrecorded.record)

    def _step(self, facts: AlertFacts) -> dict[str, dict[str, Any]]:
        """Let alerts begin and end -> the figures of those that go on, by id, as far as they have changed."""
        on = {_key(row): row for row in self._rows.values() if row.ended_at is None}
        if on.keys() != self._tracking.figures().keys():
            self._tracking.take_over((key, row.figures) for key, row in on.items())
        found = conditions(facts, self._settings.alerts)
        for step in self._tracking.step(found.conditions, found.unknown, facts.at, self._seconds()):
            self._note(step, on)
        figures = self._tracking.figures()
        changed = {row.id: figures[key] for key, row in on.items() if key in figures and figures[key] != row.figures}
        for alert, each in changed.items():
            self._rows[alert] = self._rows[alert]._replace(figures=each)
        return changed

    def _note(self, step: Step, on: Mapping[Key, AlertRow]) -> None:
        key = step.key
        if isinstance(step, Began):
            severity = BY_NAME[key.name].severity
            row = AlertRow(
                secrets.token_hex(8),
                0,
                *(key.name, severity, key.source, key.subject, key.incident),
                began_at=step.at,
                since=step.since,
                figures=step.figures,
                notices=self._telling.wanted(key.name, severity, key.subject),
            )
            self._rows[row.id] = row
            self._unrecorded.began.append(row)
            log.warning("alert_began", **_said(row))
        elif (known := on.get(key)) is not None:
            row = known._replace(ended_at=step.at, figures=step.figures)
            self._rows[row.id] = row
            self._unrecorded.ended.append((row.source, EndedAlert(row.id, step.at, step.since, step.figures)))
            log.info("alert_ended", **_said(row))

    def _leave(self, notices: Mapping[str, alerts.Notices]) -> None:
        self._unrecorded.note_notices(notices)
        with self._sight.ledger.connection() as connection:
            instance_figures.forget(connection, self._sight.instance, self._sight.now())

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(function, *args))


def _key(row: AlertRow) -> Key:
    return Key(row.name, row.source, row.subject, row.incident)


def _said(row: AlertRow) -> dict[str, Any]:
    """What the log says of an alert."""
    about = {"alert": row.id, "name": row.name, "severity": row.severity, "source": row.source, "subject": row.subject}
    return about | {"figures": row.figures}
