"""What a sink is to be told next: changes, each with the checkpoint that holds once it has been told."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from ledger.changes.step import Previous
from ledger.domain.instants import optional, to_text
from ledger.domain.observation import Instant
from ledger.domain.visible import Visible
from ledger.sinks.kind import ChangeOrder, ToldChange
from ledger.working_state.sinks import SinkCheckpoint
from projections.models.shown import AnswerPoint

_encode = msgspec.json.Encoder().encode


class ToTell(NamedTuple):
    """A change, what is visible of the user by it, and up to where the sink has been told after it."""

    told: ToldChange
    visible: Visible
    checkpoint: SinkCheckpoint


class ChangePage(NamedTuple):
    """Changes in the order in which they are to be told, as of one moment."""

    changes: Sequence[ToTell]
    checkpoint: SinkCheckpoint
    """Once all of them have been told."""
    made: AnswerPoint
    more: bool
    """Whether there is more to be read at once."""
    next_at: Instant | None = None
    """When something will change by time alone."""


def told(
    uid: str, body: bytes, made: AnswerPoint, epoch: str, previous: Previous | None, *, erased: bool = False
) -> ToldChange:
    """A change as it is told; `body` is the answer but for its `as_of`."""
    before = b"" if previous is None else b',"previous":' + _encode({
        "status": previous.status, "since": optional(previous.since)
    })  # fmt: skip
    as_of = _encode({"at": to_text(made.at), "position": made.position, "epoch": epoch})
    return ToldChange(
        uid, b"".join((body, before, b',"as_of":', as_of, b"}")), ChangeOrder(epoch, made.position, made.at), erased
    )


def batches(page: ChangePage, size: int) -> Iterator[Sequence[ToTell]]:
    """The changes of a page in parts of so many."""
    for start in range(0, len(page.changes), size):
        yield page.changes[start : start + size]
