"""What this instance alone knows of itself and of those who post to it, for whichever instance evaluates alerts."""

import shutil
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from ledger.alerting.node_addresses import NodeAddresses, Start, in_a_thread
from ledger.alerts.facts import InstanceFacts
from ledger.alerts.servers import posts_as_other
from ledger.http.archive import ArchiveRun
from ledger.http.refusals import Refusals
from ledger.http.senders import Senders
from ledger.settings import Settings
from ledger.spool.spool import Spool


class InstanceNote(InstanceFacts, frozen=True, kw_only=True):
    """As it is written down for others."""

    counting_seconds: float = 0.0
    """For how long it has counted what it refuses."""
    spool_takes: bool = False
    """Whether a webhook would be spooled now."""
    forbidden: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    """By source and node: webhooks refused within the window, for their secret or an unknown name."""
    posts_as_other: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    """By source and node: whose address its webhooks come from."""
    posted: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """By source: the nodes that have posted; none while it is not known where they should from."""


class OwnNotes:
    """Makes the notes of this instance; of one thread. `seconds` is a clock that only goes forward."""

    def __init__(
        self,
        settings: Settings,
        refusals: Refusals,
        senders: Senders,
        start: Start = in_a_thread,
        spool: Spool | None = None,
        archive: Callable[[], ArchiveRun] = ArchiveRun,
    ) -> None:
        self._settings = settings
        self._archive = archive
        self._spool = spool
        self._refusals = refusals
        self._senders = senders
        self._host = socket.gethostname()
        self._began: float | None = None
        self._addresses = {source.name: NodeAddresses(source, start) for source in settings.sources}

    def take(self, clock_offset_seconds: float | None, seconds: float) -> InstanceNote:
        """As of now; `clock_offset_seconds`: the database's, None where it does not answer."""
        window = self._settings.alerts.of("webhook_secret_unknown", "window_seconds")
        folder = self._settings.data_dir
        try:
            usage = shutil.disk_usage(folder)
        except OSError:
            free, size = None, 0
        else:
            free, size = usage.free, usage.total
        self._began = seconds if self._began is None else self._began
        addresses = {name: known for name, each in self._addresses.items() if (known := each.at(seconds)) is not None}
        spool = None if self._spool is None else self._spool.state
        archive = self._archive()
        return InstanceNote(
            archive_failing_since=archive.failing_since,
            archive_reason=archive.failed or "",
            archive_waits=archive.waits,
            spool_bytes=0 if spool is None else spool.contents.size,
            spool_max_bytes=0 if spool is None else spool.max_bytes,
            spooled=0 if spool is None else spool.contents.deliveries,
            spool_takes=self._spool is not None and self._spool.takes,
            host=self._host,
            counting_seconds=seconds - self._began,
            folder=str(folder),
            free_bytes=free,
            size_bytes=size,
            clock_offset_seconds=clock_offset_seconds,
            forbidden=self._refusals.recent(window),
            posted={name: sorted(self._senders.of_source(name)) for name in addresses},
            posts_as_other={
                name: posts_as_other(self._senders.of_source(name), known) for name, known in addresses.items()
            },
        )


class PostedCounts(NamedTuple):
    """What all instances say of those who post."""

    forbidden: dict[tuple[str, str], int]
    posts_as_other: dict[tuple[str, str], str]
    posted: frozenset[tuple[str, str]] = frozenset()


def counted(notes: Sequence[InstanceNote]) -> PostedCounts:
    """By source and node."""
    forbidden: dict[tuple[str, str], int] = {}
    others: dict[tuple[str, str], str] = {}
    for note in notes:
        for source, nodes in note.forbidden.items():
            for node, number in nodes.items():
                forbidden[source, node] = forbidden.get((source, node), 0) + number
        others |= {(source, node): its for source, nodes in note.posts_as_other.items() for node, its in nodes.items()}
    posted = frozenset((source, node) for note in notes for source, nodes in note.posted.items() for node in nodes)
    return PostedCounts(forbidden, others, posted)
