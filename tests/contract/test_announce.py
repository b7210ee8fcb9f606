"""What a service announces when it starts: its configuration where that, or the rules, are not those on record."""

import pytest

from ledger.domain.events import Configured, ServiceStarted
from ledger.domain.policy import RULES_VERSION, Policy
from ledger.domain.profile import Profile
from ledger.ingest import announce
from ledger.ingest.announce import Configuration, announce_start
from ledger.store.ledger import Ledger
from tests.support.ledgers import SOURCE, all_rows, configure, opened


def configurations(ledger: Ledger) -> list[int]:
    """The versions of the rules that were announced, in their order."""
    events = [ledger.event(row) for row in all_rows(ledger)]
    return [event.rules_version for event in events if isinstance(event, Configured)]


def test_newer_rules_are_announced_once(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(database_url) as ledger:
        configure(ledger)
        configure(ledger, "j")
        assert configurations(ledger) == [RULES_VERSION]
        monkeypatch.setattr(announce, "RULES_VERSION", RULES_VERSION + 1)
        configure(ledger, "k")
        configure(ledger, "l")
        assert configurations(ledger) == [RULES_VERSION, RULES_VERSION + 1]


def test_a_start_that_is_told_late_is_of_the_instant_it_was_at(database_url: str) -> None:
    with opened(database_url) as ledger:
        announce_start(ledger, "i", "1", {SOURCE: Configuration(Policy(), Profile.V3, {})}, at=20, started_at=10)
        events = [ledger.event(row) for row in all_rows(ledger)]
    assert [(type(event), event.at) for event in events if isinstance(event, ServiceStarted | Configured)] == [
        (ServiceStarted, 10),
        (Configured, 20),
    ]
