"""The canaries of an instance: sent while it leads, and again after whatever went wrong."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

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

    def row(self, uid: str = "canary") -> CanaryRow | None:
        with self._ledger.connection() as connection:
            return next((row for row in canaries.read(connection) if row.uid == uid), None)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while True:
                if await asyncio.to_thread(holds):
                    return
                await asyncio.sleep(0.01)

    def visits(self, uid: str = "canary") -> int:
        row = self.row(uid)
        return 0 if row is None else row.visits


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit, "STAY_SECONDS", 0.0)
    for name in ("LOOK_SECONDS", "RETRY_SECONDS", "DEFECT_SECONDS"):
        monkeypatch.setattr(service, name, 0.01)


def lived(ledger: Ledger, life: Life, uids: Sequence[str] = ("canary",)) -> None:
    """What happens in the life of an instance with these canaries."""

    async def go() -> None:
        instance = Instance(ledger, ClientNode(lets_in))
        async with serving(instance.node) as address:
            sent = Canaries(
                ledger,
                {
                    "main": [
                        CanarySettings("n1", *address, uid, 0, every_seconds=0.01, wait_seconds=0.01) for uid in uids
                    ]
                },
                *(Clock().now, lambda: instance.leads, None, CollectorRegistry()),
            )
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


def test_the_defect_of_one_is_its_own(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails_of_one(canary: CanarySettings, *arguments: object) -> visit.Visit:
        if canary.uid == "broken":
            raise ValueError(canary.uid)
        return await visit.visit(canary, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(service, "visit", fails_of_one)

    async def life(instance: Instance) -> None:
        await instance.until(lambda: instance.visits() >= 3 and instance.visits("broken") >= 3)
        row = instance.row("broken")
        assert row is not None
        assert (row.outcome, row.last_error) == ("broken", "the canary itself failed: ValueError")

    with capture_logs() as logs:
        lived(ledger, life, ["broken", "canary"])
    assert [each["event"] for each in logs if each["log_level"] == "error"] == ["canary_defect"]
