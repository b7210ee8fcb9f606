"""Erasure of a user: which events of sources name them, and what is left of such an event. Pure.

A raw text names a user where the uid begins as a name does, after nothing that a name has in its middle, and ends there
or goes on with a dash, as in `u100-0-1-17-1-1`. What operators and servers wrote for people is masked likewise.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from msgspec.structs import replace

from ledger.domain.alert_events import AlertBegan, AlertEnded
from ledger.domain.event_types import SourceEvent
from ledger.domain.events import BodyRejected, ItemRejected
from ledger.domain.imported import SourceImported
from ledger.domain.reconciliation_events import NodeDown, PollObserved, RunEnded, RunStarted

ERASED = "[erased]"
"""Stands where a uid stood, or the raw text that named it."""

_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\(.)", re.DOTALL)

_CONTINUES = 0x80
"""Set in a byte of a number after which there is another one."""


def pack_positions(positions: Sequence[int]) -> str:
    """Ascending positions as text: their differences, seven bits a byte, base64."""
    packed = bytearray()
    for before, position in pairwise([0, *positions]):
        left = position - before
        while left >= _CONTINUES:
            packed.append(left % _CONTINUES | _CONTINUES)
            left //= _CONTINUES
        packed.append(left)
    return base64.b64encode(packed).decode()


def unpack_positions(text: str) -> Iterator[int]:
    """The positions that were packed. Raises ValueError where that is none of ours."""
    position = difference = shift = 0
    for byte in base64.b64decode(text, validate=True):
        difference |= (byte % _CONTINUES) << shift
        shift += 7
        if byte < _CONTINUES:
            position += difference
            yield position
            difference = shift = 0
    if shift:
        raise ValueError("ends in the middle of a number")


class Name:
    """A uid as it is looked for in texts."""

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self._found = re.compile(rf"(?<![0-9A-Za-z_-]){re.escape(uid)}(?![0-9A-Za-z_])")

    def is_in(self, text: str) -> bool:
        """Whether a text names the user, also where it is JSON that escapes characters."""
        return self._is_in(text) or ("\\" in text and self._is_in(_unescaped(text)))

    def _is_in(self, text: str) -> bool:
        # Of very many texts few have it at all.
        return self.uid in text and self._found.search(text) is not None

    def masked(self, text: str) -> str:
        """A text for people without the uid."""
        return self._found.sub(ERASED, text) if self.uid in text else text

    def raw(self, text: str) -> str:
        """A raw text, or what stands for one that names the user."""
        return ERASED if self.is_in(text) else text


def without_user(event: SourceEvent, name: Name) -> SourceEvent:
    """What is left of a source's event; the very same where it does not name the user."""
    match event:
        case PollObserved():
            return _poll(event, name.uid)
        case RunStarted() if name.uid in event.uids:
            uids = _others(event.uids, name.uid)
            # Without any uid it would be a run of everybody.
            return replace(event, uids=uids, users=len(event.uids) if event.users is None else event.users)
        case ItemRejected():
            return _item(event, name)
        case BodyRejected() if name.is_in(base64.b64decode(event.raw_base64).decode(errors="replace")):
            return replace(event, raw_base64="", digest="")
        case SourceImported():
            runs = {
                run: replace(opened, uids=_others(opened.uids, name.uid)) for run, opened in event.open_runs.items()
            }
            return event if runs == event.open_runs else replace(event, open_runs=runs)
        case NodeDown() if name.is_in(event.reason):
            return replace(event, reason=name.masked(event.reason))
        case RunEnded() if any(map(name.is_in, event.failures.values())):
            return replace(event, failures={node: name.masked(why) for node, why in event.failures.items()})
        case AlertBegan() | AlertEnded():
            figures = {key: name.masked(each) if isinstance(each, str) else each for key, each in event.figures.items()}
            return event if figures == event.figures else replace(event, figures=figures)
        case _:
            return event


def _poll(event: PollObserved, uid: str) -> PollObserved:
    findings = tuple(finding for finding in event.findings if finding.uid != uid)
    if len(findings) == len(event.findings) and uid not in event.rows:
        return event
    return replace(event, findings=findings, rows={each: row for each, row in event.rows.items() if each != uid})


def _item(event: ItemRejected, name: Name) -> ItemRejected:
    raw, following = name.raw(event.raw), tuple(map(name.raw, event.following))
    if (raw, following) == (event.raw, event.following):
        return event
    # The digest of a text that is gone would tell whoever guesses it.
    return replace(event, raw=raw, following=following, digest=event.digest if raw == event.raw else None)


def _others(uids: Iterable[str], uid: str) -> tuple[str, ...]:
    return tuple(each for each in uids if each != uid)


def _unescaped(text: str) -> str:
    """JSON's escapes as the characters that they stand for, also of surrogates that make one together."""
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
