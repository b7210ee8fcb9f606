"""A crowd: the sessions of a device that has many, as a persistent value of which a change copies a 256th.

A few are best kept as a tuple. One of 20,000 would be copied for each item, and searched for the one meant.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast, overload

if TYPE_CHECKING:
    from ledger.domain.presence import Session

FEW = 64
"""So many sessions at most are kept as a tuple."""

PARTS = 256

_Numbered = tuple[int, "Session"]
"""A session with its place in the order of arrival."""

_Part = dict[int, tuple[_Numbered, ...]]
"""Sessions by connId, of which two nodes of a cluster may use the same; one without stands alone, under `~place`."""


class Crowd(Sequence["Session"]):
    """Sessions in the order of their arrival. It never changes; an `Edit` makes another one."""

    __slots__ = ("_all", "length", "next_place", "oldest", "origin", "parts", "unnamed")

    def __init__(
        self, parts: tuple[_Part, ...], length: int, unnamed: int, next_place: int, oldest: int, origin: object
    ) -> None:
        self.parts = parts
        self.length = length
        self.unnamed = unnamed
        """How many of them have no connId."""
        self.next_place = next_place
        self.oldest = oldest
        """No session without a connId has a place before this one."""
        self.origin = origin
        """Where places began to be counted: in two of one origin the same place is the same session."""
        self._all: tuple[Session, ...] | None = None

    def of(self, conn_id: int) -> tuple["Session", ...]:
        """Those of that connId, the first that came first."""
        return tuple([session for _, session in self.parts[conn_id % PARTS].get(conn_id, ())])

    def everyone(self) -> tuple["Session", ...]:
        """All of them, in their order."""
        if self._all is None:
            numbered = sorted(each for part in self.parts for alike in part.values() for each in alike)
            self._all = tuple([session for _, session in numbered])
        return self._all

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator["Session"]:
        return iter(self.everyone())

    @overload
    def __getitem__(self, index: int) -> "Session": ...
    @overload
    def __getitem__(self, index: slice) -> Sequence["Session"]: ...
    def __getitem__(self, index: int | slice) -> "Session | Sequence[Session]":
        return self.everyone()[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Crowd):
            return self.length == other.length and self.everyone() == other.everyone()
        return self.everyone() == other

    def __hash__(self) -> int:
        return hash(self.everyone())

    def __repr__(self) -> str:
        return f"Crowd{self.everyone()!r}"


def changes(before: Crowd, after: Crowd) -> tuple[dict[int, "Session"], dict[int, "Session"]]:
    """-> (sessions removed, sessions added), by place, between two crowds of one origin."""
    was: dict[int, Session] = {}
    now: dict[int, Session] = {}
    for old, new in zip(before.parts, after.parts, strict=True):
        if old is not new:
            for key in old.keys() | new.keys():
                if old.get(key) is not new.get(key):
                    was.update(old.get(key, ()))
                    now.update(new.get(key, ()))
    same = [place for place, session in was.items() if now.get(place) is session]
    for place in same:
        del was[place], now[place]
    return was, now


class Edit:
    """Changes to a crowd, or to a tuple of sessions, that belong together."""

    def __init__(self, sessions: "Sequence[Session]") -> None:
        self._copied: set[int] = set()
        if isinstance(sessions, Crowd):
            self._parts = list(sessions.parts)
            self._length, self._unnamed = sessions.length, sessions.unnamed
            self._next, self._oldest = sessions.next_place, sessions.oldest
            self._origin = sessions.origin
        else:
            self._parts = [{} for _ in range(PARTS)]
            self._length = self._unnamed = self._next = self._oldest = 0
            self._origin = object()
            self._copied.update(range(PARTS))
            self.add(sessions)

    def add(self, sessions: "Iterable[Session]") -> None:
        """Add sessions, as the newest."""
        for session in sessions:
            key = ~self._next if session.conn_id is None else session.conn_id
            part = self._part(key)
            part[key] = (*part.get(key, ()), (self._next, session))
            self._unnamed += session.conn_id is None
            self._length += 1
            self._next += 1

    def remove(self, conn_id: int | None, number: int = 1) -> None:
        """Remove up to so many of that connId, or of those without one, the oldest first."""
        if conn_id is not None:
            found = self._parts[conn_id % PARTS].get(conn_id, ())
            self._keep(conn_id, found, found[number:])
            return
        gone = min(number, self._unnamed)
        while gone:
            key = ~self._oldest
            found = self._parts[key % PARTS].get(key, ())
            self._keep(key, found, ())
            gone -= len(found)
            self._oldest += 1

    def replace(self, before: "Session", *after: "Session") -> None:
        """Put others, or none, in the place of one session."""
        key, found = next(each for each in self._where(before.conn_id) if before in [held for _, held in each[1]])
        number = [held for _, held in found].index(before)
        new = [(found[number][0], each) for each in after]
        self._keep(key, found, (*found[:number], *new, *found[number + 1 :]))

    def _where(self, conn_id: int | None) -> Iterator[tuple[int, tuple[_Numbered, ...]]]:
        keys = range(~self._oldest, ~self._next, -1) if conn_id is None else (conn_id,)
        return ((key, self._parts[key % PARTS].get(key, ())) for key in keys)

    def _keep(self, key: int, found: tuple[_Numbered, ...], kept: tuple[_Numbered, ...]) -> None:
        if not found:
            return
        if kept:
            self._part(key)[key] = kept
        else:
            del self._part(key)[key]
        gone = len(found) - len(kept)
        self._length -= gone
        self._unnamed -= gone if key < 0 else 0

    def _part(self, key: int) -> _Part:
        """The part of a key, to be changed."""
        number = key % PARTS
        if number not in self._copied:
            self._copied.add(number)
            self._parts[number] = self._parts[number].copy()
        return self._parts[number]

    def done(self) -> "tuple[Session, ...]":
        """The result: a tuple of a few, or else a crowd, which stands for one wherever sessions are read."""
        parts = tuple(self._parts)
        crowd = Crowd(parts, self._length, self._unnamed, self._next, self._oldest, self._origin)
        return crowd.everyone() if self._length <= FEW else as_sessions(crowd)


def as_sessions(crowd: Crowd) -> "tuple[Session, ...]":
    """A crowd by the type that the fields of sessions have, since they are stored as an array of them."""
    return cast("tuple[Session, ...]", crowd)


def encode_crowd(value: object) -> "tuple[Session, ...]":
    """For msgspec's encoders: a crowd is stored as the array that a tuple would be."""
    if isinstance(value, Crowd):
        return value.everyone()
    raise NotImplementedError(f"cannot be stored: {type(value).__name__}")
