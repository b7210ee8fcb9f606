"""Between events and their stored form: kinds such as `webhook_observed.v2`, JSON payloads, upcasting.

A kind is a name that we own, never a class path, so that code can be renamed and history still be read. A newer version
of an event registers an upcaster from the one before; stored events are never rewritten.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, get_args

import msgspec
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent

from ledger.domain import (
    alert_events,
    archive_events,
    erasure_events,
    events,
    imported,
    override_events,
    reconciliation_events,
)
from ledger.domain.crowd import encode_crowd
from ledger.domain.event_types import Event, UserEvent
from ledger.errors import LedgerError

USER_PREFIX = "user:"
SOURCE_PREFIX = "source:"


def user_stream(uid: str) -> str:
    """The stream of a user's events."""
    return USER_PREFIX + uid


def source_stream(name: str) -> str:
    """The stream of a source's events."""
    return SOURCE_PREFIX + name


class UnreadableEvent(LedgerError):
    """A stored event cannot be decoded."""


class UnknownKind(UnreadableEvent):
    """A stored event is of a kind that this version does not know: it was written by a newer one."""


class Recorded(NamedTuple):
    """An event at its place in a stream. The names are those that `eventsourcing` gives to the place."""

    originator_id: str
    originator_version: int
    event: Event
    uid: str | None = None
    """The user whose event it is; None for a source's."""


Upcaster = Callable[[dict[str, Any]], Any]
"""From the payload of one version of an event to that of the next."""

_OBSERVED_DEFAULTS: Mapping[str, Any] = {
    field.name: field.default for field in msgspec.structs.fields(events.WebhookObserved)
}

CURRENT_KINDS: Mapping[str, type[Event]] = {
    "webhook_observed.v2": events.WebhookObserved,
    "delivery_received.v1": events.DeliveryReceived,
    "item_rejected.v1": events.ItemRejected,
    "body_rejected.v1": events.BodyRejected,
    "configured.v1": events.Configured,
    "service_started.v1": events.ServiceStarted,
    "service_stopped.v1": events.ServiceStopped,
    "corrected.v1": reconciliation_events.Corrected,
    "swept.v1": reconciliation_events.Swept,
    "tier_set.v1": reconciliation_events.TierSet,
    "override_set.v1": override_events.OverrideSet,
    "override_ended.v1": override_events.OverrideEnded,
    "poll_observed.v1": reconciliation_events.PollObserved,
    "run_started.v1": reconciliation_events.RunStarted,
    "run_ended.v1": reconciliation_events.RunEnded,
    "node_down.v1": reconciliation_events.NodeDown,
    "node_booted.v1": reconciliation_events.NodeBooted,
    "node_settled.v1": reconciliation_events.NodeSettled,
    "source_dark.v1": reconciliation_events.SourceDark,
    "source_lit.v1": reconciliation_events.SourceLit,
    "breaker_opened.v1": reconciliation_events.BreakerOpened,
    "breaker_closed.v1": reconciliation_events.BreakerClosed,
    "alert_began.v1": alert_events.AlertBegan,
    "alert_acknowledged.v1": alert_events.AlertAcknowledged,
    "alert_ended.v1": alert_events.AlertEnded,
    "user_erased.v1": erasure_events.UserErased,
    "events_archived.v1": archive_events.EventsArchived,
    "presence_imported.v1": imported.PresenceImported,
    "source_imported.v1": imported.SourceImported,
}

USER_KINDS = frozenset(kind for kind, cls in CURRENT_KINDS.items() if cls in get_args(UserEvent))
"""The kinds that stand in users' streams."""


def _observed_in_order(fields: dict[str, Any]) -> list[Any]:
    return [fields.get(name, default) for name, default in _OBSERVED_DEFAULTS.items()]


UPCASTERS: Mapping[str, tuple[str, Upcaster]] = {"webhook_observed.v1": ("webhook_observed.v2", _observed_in_order)}
"""For each kind that is no longer written: the kind that follows it, and how its payload gets there."""


def _tails(cls: type[msgspec.Struct]) -> list[bytes]:
    """How the stored form of an event ends that is an array, the more of its defaults first: they are left out."""
    defaults = [field.default for field in msgspec.structs.fields(cls) if field.default is not msgspec.NODEFAULT]
    return [b"," + msgspec.json.encode(defaults[number:])[1:] for number in range(len(defaults))]


class EventMapper(Mapper[str]):
    """The library's mapper, for events that are msgspec structs without an id of their own."""

    def __init__(
        self,
        kinds: Mapping[str, type[Any]] = CURRENT_KINDS,
        upcasters: Mapping[str, tuple[str, Upcaster]] = UPCASTERS,
    ) -> None:
        super().__init__(JSONTranscoder())
        self._kind_of = {cls: kind for kind, cls in kinds.items()}
        self._decoders = {kind: msgspec.json.Decoder(cls) for kind, cls in kinds.items()}
        self._classes = dict(kinds)
        self._upcasters = dict(upcasters)
        self._encode = msgspec.json.Encoder(enc_hook=encode_crowd).encode
        self._tails = {kind: _tails(cls) for kind, cls in kinds.items() if cls.__struct_config__.array_like}

    def kind_and_payload(self, event: Event) -> tuple[str, bytes]:
        """The stored form of an event."""
        kind, payload = self._kind_of[type(event)], self._encode(event)
        for tail in self._tails.get(kind, ()):
            if payload.endswith(tail):
                return kind, payload[: -len(tail)] + b"]"
        return kind, payload

    @property
    def known_kinds(self) -> frozenset[str]:
        """The kinds of events that this version can read."""
        return frozenset(self._classes.keys() | self._upcasters.keys())

    def stored_kinds(self, kinds: Iterable[str]) -> frozenset[str]:
        """These kinds, and the older ones that are read as them."""
        found = set(kinds)
        for _ in self._upcasters:
            found |= {older for older, (newer, _) in self._upcasters.items() if newer in found}
        return frozenset(found)

    def decoder(self, kind: str) -> Callable[[bytes], Any]:
        """The decoder of a kind that is written now, for callers that read very many."""
        return self._decoders[kind].decode

    def event_at(self, position: int, kind: str, payload: bytes) -> Event:
        """The event at a position. Raises UnreadableEvent, which names the position."""
        try:
            return self.event(kind, payload)
        except UnreadableEvent as error:
            raise type(error)(
                f"At position {position} {error}.\n`presence-ledger verify` tells whether it was altered."
            ) from error

    def event(self, kind: str, payload: bytes) -> Event:
        """The event of a stored form, of an older version too. Raises UnreadableEvent."""
        try:
            return self._event(kind, payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            why = "nested too deeply" if isinstance(error, RecursionError) else error
            raise UnreadableEvent(f"the ledger holds an event of kind {kind!r} that cannot be read ({why})") from error

    def _event(self, kind: str, payload: bytes) -> Event:
        decoder = self._decoders.get(kind)
        if decoder is not None:
            event: Event = decoder.decode(payload)
            return event
        fields: Any = msgspec.json.decode(payload, type=dict[str, Any]) if kind in self._upcasters else {}
        while kind in self._upcasters:
            kind, upcast = self._upcasters[kind]
            fields = upcast(fields)
        if kind not in self._classes:
            raise UnknownKind(
                f"the ledger holds an event of kind {kind!r}, which this version does not know; "
                "run the newer one that wrote it"
            )
        upcasted: Event = msgspec.convert(fields, self._classes[kind])
        return upcasted

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        """The library's name for storing: a `Recorded` becomes its `StoredEvent`."""
        kind, payload = self.kind_and_payload(domain_event.event)
        return StoredEvent(domain_event.originator_id, domain_event.originator_version, kind, payload)

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """The library's name for reading: a `StoredEvent` becomes its `Recorded`. Raises UnreadableEvent."""
        event = self.event(stored_event.topic, stored_event.state)
        return Recorded(str(stored_event.originator_id), stored_event.originator_version, event)
