"""How reconciliation waits where a source's stream cannot be read: ever longer, and without a word more than needed."""

from typing import cast

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from ledger.reconcile.service import Reconciliation
from ledger.store.ledger import Ledger


def test_what_it_met_before_it_waits_for_the_spool_is_no_trouble_meanwhile() -> None:
    reconciliation = Reconciliation(cast(Ledger, None), "", "i", lambda: 0, {}, CollectorRegistry())
    reconciliation._leadership.trouble = "PostgreSQL is away"
    assert reconciliation.trouble == "PostgreSQL is away"
    reconciliation.waits = lambda: True
    assert reconciliation.trouble is None


def test_it_waits_ever_longer_and_says_once_why() -> None:
    reconciliation = Reconciliation(cast(Ledger, None), "", "i", lambda: 0, {}, CollectorRegistry())
    with capture_logs() as logs:
        pauses = [reconciliation._back_off(f"position {position}") for position in (3, 3, 3, 3, 4, 4, 4)]
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert [(line["event"], line["reason"]) for line in logs] == [
        ("reconciliation_waits", "position 3"),
        ("reconciliation_waits", "position 4"),
    ]
