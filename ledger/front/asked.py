"""What a stream was asked for: whom it watches, from where on, whether it begins with them all."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs

import msgspec

from ledger.http.list_bodies import check_name
from ledger.http.problems import invalid
from ledger.http.questions import MAX_UIDS, uid_problem

MAX_QUERY_UIDS = 1_000
MAX_BODY_BYTES = 12 * 1_048_576
"""So much need ten thousand uids of a thousand bytes each."""

_PARAMETERS = frozenset({"uid", "list", "snapshot", "last_event_id", "token"})


class StreamRequest(NamedTuple):
    """Users by their uids, those on a list, or without either everybody; `last` is the cursor told last."""

    uids: frozenset[str] | None
    list: str | None
    last: str | None
    snapshot: bool | None
    """None: as it is by default."""

    def of(self, uids: frozenset[str] | None, name: str | None) -> "StreamRequest":
        """The same of others."""
        return self._replace(uids=uids, list=name)

    @property
    def begins_with_all(self) -> bool:
        """Whether everybody who is watched is told of first, where it is not known what was missed."""
        return self.snapshot if self.snapshot is not None else self.uids is not None or self.list is not None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    uids: list[str]


_decode = msgspec.json.Decoder(_Body).decode


def query_of(scope: Mapping[str, object]) -> dict[str, list[str]]:
    """The parameters of an address. Raises Problem, 422."""
    text = scope["query_string"]
    assert isinstance(text, bytes)
    try:
        return parse_qs(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=2_000)
    except ValueError as error:
        raise invalid("query", f"not an address's query, or of more than {MAX_QUERY_UIDS} users") from error


def read(query: Mapping[str, list[str]], headers: Mapping[bytes, bytes], body: bytes | None) -> StreamRequest:
    """What is asked for. Raises Problem, 422, which names the field."""
    if unknown := sorted(query.keys() - _PARAMETERS):
        raise invalid(unknown[0][:64], f"not a parameter of streams; there are {', '.join(sorted(_PARAMETERS))}")
    named = query.get("uid", [])
    if len(named) > MAX_QUERY_UIDS:
        raise invalid("uid", f"{len(named)} users; at most {MAX_QUERY_UIDS} in an address, {MAX_UIDS} by POST")
    if body is not None:
        named = [*named, *_uids_of(body)]
        if len(named) > MAX_UIDS:
            raise invalid("uids", f"{len(named)} users; at most {MAX_UIDS}")
    check(named, "uid" if body is None else "uids")
    uids = frozenset(named) if named or body is not None else None
    name = _one(query, "list")
    if name is not None:
        check_name("list", name)
        if uids is not None:
            raise invalid("list", "a stream is of a list, or of users who are named")
    last = headers.get(b"last-event-id", b"").decode("latin-1") or _one(query, "last_event_id")
    return StreamRequest(uids, name, last or None, _flag(query, "snapshot"))


def check(uids: list[str], field: str) -> None:
    """Raises Problem, 422, where one of them is nobody's uid."""
    for number, uid in enumerate(uids):
        if (problem := uid_problem(uid)) is not None:
            raise invalid(f"{field}.{number}", problem)


def _uids_of(body: bytes) -> list[str]:
    try:
        return _decode(body).uids
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid("body", 'not of the form {"uids": ["…"]}') from error


def _one(query: Mapping[str, list[str]], name: str) -> str | None:
    values = query.get(name, [])
    if len(values) > 1:
        raise invalid(name, "given more than once")
    return values[0] if values else None


def _flag(query: Mapping[str, list[str]], name: str) -> bool | None:
    value = _one(query, name)
    if value not in (None, "true", "false"):
        raise invalid(name, "must be true or false")
    return None if value is None else value == "true"
