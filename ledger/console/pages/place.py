"""The place of an instant in the ledger, for lists that go by position."""

from ledger.console.service import api_path
from ledger.console.visit import PageRequest

NOBODY = "-"
"""Any uid will do: what is asked is where the ledger was."""


async def position_at(visit: PageRequest, at: str) -> int | None:
    """The ledger's last position at an instant; None where the service does not say."""
    then = await visit.ask(api_path("users", NOBODY, "presence"), at=at, known_at=at)
    found: int | None = then.get("as_of", {}).get("position")
    return found
