"""Who is still to be told of which alerts."""

import asyncio
import threading
from collections.abc import Callable

from ledger.alerting.notices import What
from ledger.alerting.notifier import Notifier
from ledger.alerting.telling import Notifiers
from ledger.settings import NotifySettings
from ledger.working_state.alerts import AlertRow

T = 1_800_000_000_000_000


def test_a_notifier_forgets_nothing_before_it_is_known_that_it_was_told() -> None:
    calls: list[Callable[[str, What, int], None]] = []

    def make(entry: NotifySettings, told: Callable[[str, What, int], None], now: Callable[[], int]) -> Notifier:
        calls.append(told)
        return Notifier(entry.name, lambda _: None, told, now)

    async def story() -> None:
        telling = Notifiers([NotifySettings("oncall", "json://127.0.0.1:1")], make, lambda: T, lambda: None)
        row = AlertRow("a", 1, "node_down", "critical", "main", "n1", "", T, T, {})
        thread = threading.Thread(target=calls[0], args=("a", "began", T))
        thread.start()
        # The event loop is busy: it may be about to ask for what has just been told.
        thread.join(0.05)
        assert thread.is_alive()
        assert telling.unnoted([row]) == {}
        await asyncio.to_thread(thread.join)
        assert telling.unnoted([row]) == {"a": {"oncall": {"began": T}}}

    asyncio.run(story())
