"""The canaries of an instance: sent while it leads, and again after whatever went wrong."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from ledger.canary import service, visit
from ledger.canary.service import Canaries
from ledger.errors import StoreUnavailable
from ledger.ingest.clock import Clock
from ledger.settings import CanarySettings
from ledger.store.ledger import Ledger
from ledger.working_state import canaries
from ledger.working_state.canaries import CanaryRow
from tests.support.client_node import ClientNode, lets_in, serving

Life = Callable[["Instance"], Awaitable[None]]


class Instance:
    """One with a canary that no webhook ever tells of."""

    def __init__(self, ledger: Ledger, node: ClientNode) -> None:
        self.leads = True
        self.node = node
        self._ledger = ledger

    def row(self) -> CanaryRow | None:
        with self._ledger.connection() as connection:
            return next(iter(canaries.read(connection)), None)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while True:
                if await asyncio.to_thread(holds):
                    return
                await asyncio.sleep(0.01)

    def visits(self) -> int:
        row = self.row()
        return 0 if row is None else row.visits


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit, "STAY_SECONDS", 0.0)
    for name in ("LOOK_SECONDS", "RETRY_SECONDS", "DEFECT_SECONDS"):
        monkeypatch.setattr(service, name, 0.01)


def lived(ledger: Ledger, life: Life) -> None:
    """What happens in the life of an instance."""

    async def go() -> None:
        instance = Instance(ledger, ClientNode(lets_in))
        async with serving(instance.node) as address:
            canary = CanarySettings("n1", *address, "canary", 0, every_seconds=0.01, wait_seconds=0.01)
            sent = Canaries(ledger, {"main": [canary]}, Clock().now, lambda: instance.leads, None, CollectorRegistry())
            sent.start()
            try:
                await life(instance)
            finally:
                await sent.stop()

    asyncio.run(go())


def test_they_are_sent_while_the_instance_leads(ledger: Ledger) -> None:
    async def life(instance: Instance) -> None:
        await instance.until(lambda: instance.visits() >= 2)
        row = instance.row()
        assert row is not None
        assert (row.outcome, row.lost) == ("lost", 2 * row.visits)
        instance.leads = False
        await asyncio.sleep(0.2)
        heard = len(instance.node.heard)
        await asyncio.sleep(0.2)
        assert len(instance.node.heard) == heard
        instance.leads = True
        visits = instance.visits()
        await instance.until(lambda: instance.visits() > visits)

    lived(ledger, life)


@pytest.mark.parametrize("error", [StoreUnavailable("PostgreSQL is away"), ValueError("a defect")])
def test_they_go_on_after_whatever_went_wrong(
    ledger: Ledger, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([error])

    async def fails(*arguments: object) -> visit.Visit:
        for failure in failures:
            raise failure
        return await visit.visit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(service, "visit", fails)

    async def life(instance: Instance) -> None:
        await instance.until(lambda: instance.visits() >= 1)

    lived(ledger, life)
    assert next(failures, None) is None
