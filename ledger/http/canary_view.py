"""A node's canary as the API shows it."""

from ledger.domain.instants import optional
from ledger.http import source_answers
from ledger.working_state.canaries import CanaryRow


def body(row: CanaryRow | None) -> source_answers.CanaryBody | None:
    """How its last visits went; None where the node has none."""
    if row is None:
        return None
    latency = None
    if row.webhook_seconds is not None and row.commit_seconds is not None:
        latency = source_answers.CanaryLatency(
            round(row.webhook_seconds, 6),
            round(row.commit_seconds, 6),
            None if row.stream_seconds is None else round(row.stream_seconds, 6),
        )
    return source_answers.CanaryBody(
        every_seconds=row.every_seconds,
        visits=row.visits,
        lost=row.lost,
        outcome=row.outcome,
        last_visit_at=optional(row.last_visit_at),
        last_success_at=optional(row.last_success_at),
        last_latency_seconds=latency,
        failing_since=optional(row.failing_since),
        last_error_at=optional(row.last_error_at),
        last_error=row.last_error,
    )
