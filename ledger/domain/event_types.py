"""The kinds of events there are: of users, of sources."""

from typing import TypeAlias

from ledger.domain.alert_events import AlertEvent
from ledger.domain.archive_events import EventsArchived
from ledger.domain.erasure_events import UserErased
from ledger.domain.events import (
    BodyRejected,
    Configured,
    DeliveryReceived,
    ItemRejected,
    ServiceStarted,
    ServiceStopped,
    WebhookObserved,
)
from ledger.domain.imported import PresenceImported, SourceImported
from ledger.domain.override_events import UserOverridden
from ledger.domain.reconciliation_events import SourceReconciled, UserReconciled

UserEvent: TypeAlias = WebhookObserved | UserReconciled | UserOverridden | PresenceImported
SourceEvent: TypeAlias = (
    DeliveryReceived
    | ItemRejected
    | BodyRejected
    | Configured
    | ServiceStarted
    | ServiceStopped
    | SourceReconciled
    | AlertEvent
    | UserErased
    | EventsArchived
    | SourceImported
)
Event: TypeAlias = UserEvent | SourceEvent
