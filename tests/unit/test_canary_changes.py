"""The canaries of a running service: those of the settings come and go, and their figures with them."""

import asyncio
import re
from typing import cast

from prometheus_client import CollectorRegistry, generate_latest

from ledger.canary.service import Canaries
from ledger.settings import CanarySettings
from ledger.store.ledger import Ledger


def canary(node: str, every_seconds: float = 60.0) -> CanarySettings:
    return CanarySettings(node, "h", 1, f"canary-{node}", 0, every_seconds, 30.0)


def test_they_are_those_of_the_settings_from_then_on() -> None:
    registry = CollectorRegistry()

    def shown() -> list[str]:
        text = generate_latest(registry).decode()
        return sorted(
            re.findall(r'^presence_ledger_canary_visits_total{node="(\w+)",outcome="seen"', text, re.MULTILINE)
        )

    async def live() -> None:
        canaries = Canaries(cast(Ledger, None), {"main": []}, lambda: 0, lambda: False, None, registry)
        canaries.start()
        first = canaries._task
        await canaries.change({"main": ()})
        assert canaries._task is first
        assert shown() == []
        await canaries.change({"main": [canary("n1")]})
        assert canaries._task is not first
        assert shown() == ["n1"]
        await canaries.change({"main": [canary("n1", 5.0), canary("n2")]})
        assert shown() == ["n1", "n2"]
        assert [each.settings.every_seconds for each in canaries._canaries] == [5.0, 60.0]
        await canaries.stop()

    asyncio.run(live())
