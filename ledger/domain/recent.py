"""The bodies that a source sent lately: a persistent value, cheap to extend, so that a repeated body is recognised."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from ledger.domain.observation import Instant

ANY = ""
"""In the place of a digest, in an index: whatever the body."""


class Body(NamedTuple):
    """One body with the first delivery that brought it."""

    node: str
    digest: str
    delivery: str
    received_at: Instant


class RecentBodies:
    """An immutable sequence of bodies in order of arrival.

    Versions share one list and one index: extending the newest version appends in place, which older versions do not
    see, since each knows its own length; extending an older one copies. So a window of any size costs O(1) a body.
    """

    __slots__ = ("_bodies", "_first", "_index", "_length")

    def __init__(self, bodies: list[Body], index: dict[tuple[str, str], list[int]], first: int, length: int) -> None:
        self._bodies = bodies
        self._index = index
        self._first = first
        self._length = length

    def __len__(self) -> int:
        return self._length - self._first

    def __iter__(self) -> Iterator[Body]:
        return islice(self._bodies, self._first, self._length)

    def find(self, node: str, digest: str, since: Instant) -> Body | None:
        """The last delivery of that body by that node, if it came at `since` or later."""
        for number in reversed(self._index.get((node, digest), ())):
            if number < self._length:
                body = self._bodies[number]
                return body if number >= self._first and body.received_at >= since else None
        return None

    def last_of(self, node: str) -> Body | None:
        """The last delivery of that node, whatever its body, if it is remembered."""
        return self.find(node, ANY, since=0)

    def remember(
        self, node: str, digest: str, delivery: str, received_at: Instant, keep_since: Instant
    ) -> "RecentBodies":
        """With one more body; those older than `keep_since` are forgotten."""
        first = self._first
        while first < self._length and self._bodies[first].received_at < keep_since:
            first += 1
        bodies, index = self._bodies, self._index
        if self._length != len(bodies) or (first > 1024 and first * 2 > self._length):
            bodies, index = bodies[first : self._length], {}
            for number, body in enumerate(bodies):
                _index(index, body.node, body.digest, number)
            first = 0
        _index(index, node, digest, len(bodies))
        bodies.append(Body(node, digest, delivery, received_at))
        return RecentBodies(bodies, index, first, len(bodies))


def _index(index: dict[tuple[str, str], list[int]], node: str, digest: str, number: int) -> None:
    index.setdefault((node, digest), []).append(number)
    index.setdefault((node, ANY), []).append(number)


class _NoBodies(RecentBodies):
    """The empty sequence; extending it begins a list of its own."""

    __slots__ = ()

    def remember(
        self, node: str, digest: str, delivery: str, received_at: Instant, keep_since: Instant
    ) -> RecentBodies:
        return RecentBodies([], {}, 0, 0).remember(node, digest, delivery, received_at, keep_since)


NO_BODIES: RecentBodies = _NoBodies([], {}, 0, 0)
