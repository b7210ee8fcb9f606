"""What a user's event counts as: its verdict, and the sessions that it swept or implied beside it."""

from collections import Counter

from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from ledger.domain.reconciliation_events import Swept


def count_verdicts(event: UserEvent) -> Counter[str]:
    """`swept` counts sessions, and so does `implied`."""
    if isinstance(event, Swept):
        return Counter(swept=len(event.ended))
    verdicts: Counter[str] = Counter({event.verdict: 1})
    if isinstance(event, WebhookObserved):
        implied = event.implied + event.implied_elsewhere
        verdicts.update({name: n for name, n in (("swept", len(event.swept)), ("implied", implied)) if n})
    return verdicts
