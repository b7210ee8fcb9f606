"""Who is still to be told of which alerts: by what the alerts' rows say, so that it holds over restarts and instances.

An end is told to whom the beginning was to be told; where that could not be told before the end, the end alone.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from ledger.alerting.notices import What, notice, reaches
from ledger.alerting.notifier import Notifier
from ledger.alerts.facts import NotifyFacts
from ledger.domain.observation import Instant
from ledger.loops import call_soon
from ledger.settings import NotifySettings
from ledger.working_state.alerts import AlertRow, Notices

MakeNotifier = Callable[[NotifySettings, Callable[[str, What, Instant], None], Callable[[], Instant]], Notifier]

NOTED_SECONDS = 10.0
"""No event loop is busy for so long, but one that has ended."""


class Notifiers:
    """The notifiers of all entries; of one event loop, on which `told` is called whenever somebody has been told."""

    def __init__(
        self,
        entries: Sequence[NotifySettings],
        make: MakeNotifier,
        now: Callable[[], Instant],
        told: Callable[[], None],
    ) -> None:
        self._entries = entries
        self._loop = asyncio.get_running_loop()
        self._on_told = told
        self._told: dict[str, dict[str, dict[str, Instant | None]]] = {}
        """By alert and entry: what has been told, and may not be in the alert's row yet."""
        self._notifiers = {each.name: make(each, self._told_by(each.name), now) for each in entries}

    def start(self) -> None:
        """Let the notifiers tell."""
        for each in self._notifiers.values():
            each.start()

    async def stop(self, seconds: float) -> None:
        """End, once what is being told has been, but no later than so."""
        for each in self._notifiers.values():
            each.stop()
        deadline = time.monotonic() + seconds
        for each in self._notifiers.values():
            await asyncio.to_thread(each.join, max(0.0, deadline - time.monotonic()))
        # What was called meanwhile from their threads.
        await asyncio.sleep(0)

    def facts(self) -> list[NotifyFacts]:
        """How the notifiers fare."""
        return [
            NotifyFacts(each.name, each.failing_since, each.reason, each.waiting, each.has_told)
            for each in self._notifiers.values()
        ]

    def wanted(self, name: str, severity: str, subject: str) -> Notices:
        """Who is to be told of an alert: nobody of that they cannot be told."""
        return {
            each.name: {"began": None, "ended": None}
            for each in self._entries
            if reaches(severity, each.from_severity) and not (name == "notify_failing" and subject == each.name)
        }

    def tell(self, rows: Collection[AlertRow]) -> None:
        """Let people know what they are still to be told of these alerts, and no longer of others."""
        known = {row.id for row in rows}
        for notifier in self._notifiers.values():
            notifier.withdraw_others(known)
        for row in rows:
            wanted = self.wanted(row.name, row.severity, row.subject)
            for entry in self._entries:
                if entry.name in wanted:
                    self._tell(row, entry)

    def _tell(self, row: AlertRow, entry: NotifySettings) -> None:
        notifier, told = self._notifiers[entry.name], self._of(row, entry.name)
        if row.ended_at is None:
            if told is None or told.get("began") is None:
                notifier.put(notice(row, "began", entry.lang))
        elif told is not None:
            notifier.withdraw(row.id, "began")
            if told.get("ended") is None:
                notifier.put(notice(row, "ended", entry.lang))

    def _of(self, row: AlertRow, entry: str) -> Mapping[str, Instant | None] | None:
        """What an entry has been told of an alert; None where it was not there yet."""
        noted, told = row.notices.get(entry), self._told.get(row.id, {}).get(entry)
        return None if noted is None and told is None else {**(noted or {}), **(told or {})}

    def quiet(self) -> None:
        """Tell nothing more for now: another instance does."""
        for each in self._notifiers.values():
            each.withdraw_all()

    def unnoted(self, rows: Collection[AlertRow]) -> dict[str, Notices]:
        """What has been told and is not in these rows, by alert; of alerts that are not among them it is forgotten."""
        known = {row.id: row for row in rows}
        self._told = {alert: told for alert, told in self._told.items() if alert in known}
        return {
            alert: {entry: {**known[alert].notices.get(entry, {}), **each} for entry, each in told.items()}
            for alert, told in self._told.items()
            if any(_lacks(known[alert], entry, each) for entry, each in told.items())
        }

    def _told_by(self, entry: str) -> Callable[[str, What, Instant], None]:
        """What the entry's notifier calls, in a thread of its own."""

        def note(alert: str, what: What, at: Instant, noted: threading.Event) -> None:
            self._told.setdefault(alert, {}).setdefault(entry, {})[what] = at
            noted.set()
            self._on_told()

        def told(alert: str, what: What, at: Instant) -> None:
            noted = threading.Event()
            if call_soon(self._loop, note, alert, what, at, noted):
                # Until it is known here the notifier must not forget it, or it would be asked for again in between.
                noted.wait(NOTED_SECONDS)

        return told


def _lacks(row: AlertRow, entry: str, told: Mapping[str, Instant | None]) -> bool:
    """Whether a row does not have what an entry has been told."""
    noted = row.notices.get(entry, {})
    return any(noted.get(what) != at for what, at in told.items())
