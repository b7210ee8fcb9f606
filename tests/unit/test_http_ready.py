"""What readiness says where it does not come to an end in time: which of its two questions was not answered."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import Request

from ledger.errors import StoreUnavailable
from ledger.http import operations, progress


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        ((10.0, 0.0), r"^PostgreSQL did not answer within 0\.4 s$"),
        ((0.0, 0.5), r"^the sources' streams were not read to their ends within 0\.4 s$"),
    ],
)
def test_it_says_what_it_waited_for(monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], says: str) -> None:
    until_answered, until_read = seconds

    async def read(_: Any) -> list[Any]:
        await asyncio.sleep(until_answered)
        return []

    monkeypatch.setattr(operations, "READY_SECONDS", 0.4)
    monkeypatch.setattr(progress, "read", read)

    async def look() -> float:
        return 0.0

    services = SimpleNamespace(
        database=SimpleNamespace(look=look),
        writer=SimpleNamespace(is_alive=lambda: True),
        spool=None,
        streams=SimpleNamespace(check=lambda: time.sleep(until_read)),
    )
    request = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(services=services)))
    with pytest.raises(StoreUnavailable, match=says):
        asyncio.run(operations.get_readiness(cast(Request, request)))
