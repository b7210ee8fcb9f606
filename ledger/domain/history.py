"""The kinds of events there are: of users, of sources."""

from typing import TypeAlias

from ledger.domain.events import (
    BodyRejected,
    Configured,
    DeliveryReceived,
    ItemRejected,
    ServiceStarted,
    ServiceStopped,
    WebhookObserved,
)
from ledger.domain.reconciled import SourceReconciled, UserReconciled

UserEvent: TypeAlias = WebhookObserved | UserReconciled
SourceEvent: TypeAlias = (
    DeliveryReceived | ItemRejected | BodyRejected | Configured | ServiceStarted | ServiceStopped | SourceReconciled
)
Event: TypeAlias = UserEvent | SourceEvent
