"""What `/metrics` says of the memory that is answered from while PostgreSQL is away."""

from prometheus_client import CollectorRegistry, Gauge

from ledger.domain.observation import SECOND
from ledger.last_known.answering import Answering
from ledger.last_known.memory import LastKnown


def watch_memory(registry: CollectorRegistry, known: LastKnown | None, answering: Answering) -> None:
    """Show whether presences are answered from it, of how many users it is, and of when; zeros where there is none."""
    answering_from = Gauge(
        "presence_ledger_answering_from_memory", "1 while presences are answered from memory", registry=registry
    )
    answering_from.set_function(lambda: answering.is_away)
    users = Gauge(
        "presence_ledger_remembered_users", "Users whose presences are answered from memory then", registry=registry
    )
    right_at = Gauge(
        "presence_ledger_remembered_timestamp_seconds",
        "Up to when nothing is missing in it; 0: nothing is remembered",
        registry=registry,
    )
    if known is not None:
        users.set_function(lambda: known.users)
        right_at.set_function(lambda: (known.right_at or 0) / SECOND)
