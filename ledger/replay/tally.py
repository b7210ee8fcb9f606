"""What a user's event counts as: its verdict, and the sessions that it swept or implied beside it."""

from collections import Counter

from ledger.domain.events import WebhookObserved
from ledger.domain.history import UserEvent
from ledger.domain.reconciled import Swept


def verdicts_of(event: UserEvent) -> Counter[str]:
    """`swept` counts sessions, and so does `implied`."""
    if isinstance(event, Swept):
        return Counter(swept=len(event.ended))
    verdicts: Counter[str] = Counter({event.verdict: 1})
    if isinstance(event, WebhookObserved):
        implied = event.implied + event.implied_elsewhere
        verdicts.update({name: n for name, n in (("swept", len(event.swept)), ("implied", implied)) if n})
    return verdicts
