"""The API's routes as calls: how each is asked for, and what its answer is read as. No I/O."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from ledger.client.errors import ClientError, FieldFault, Invalid, NotPresenceLedger
from ledger.client.values import Presence

T = TypeVar("T")

MAX_UIDS = 10_000
"""Users that one question or one stream may name."""
PAGE = 10_000

ANSWERED = frozenset({200, 201, 202, 204})


class Call(NamedTuple, Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[bytes], T]
    params: Mapping[str, str | int | Sequence[str]] = {}
    json: object = None


class _Items(msgspec.Struct):
    items: list[Presence]
    next: str | None = None


def _reader(kind: type[T]) -> Callable[[bytes], T]:
    decode = msgspec.json.Decoder(kind).decode

    def read(body: bytes) -> T:
        try:
            return decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise NotPresenceLedger("an answer that is none of presence ledger's") from error

    return read


read_presence = _reader(Presence)
read_page = _reader(_Items)
read_any: Callable[[bytes], Any] = _reader(object)


def _read_items(body: bytes) -> list[Presence]:
    return read_page(body).items


def get(uid: str, at: str | None = None) -> Call[Presence]:
    """One user's presence, now or at an instant (RFC 3339)."""
    return Call("GET", f"/v1/users/{segment(uid)}/presence", read_presence, {} if at is None else {"at": at})


def query(uids: Sequence[str], fields: Sequence[str] | None = None) -> Call[list[Presence]]:
    """Many users' presences, in the order asked."""
    params = {} if fields is None else {"fields": ",".join(fields)}
    return Call("POST", "/v1/presence/query", _read_items, params, {"uids": list(uids)})


def list_page(name: str, after: str | None) -> Call[_Items]:
    """A page of a list's presences."""
    params: dict[str, str | int] = {"limit": PAGE} | ({} if after is None else {"after": after})
    return Call("GET", f"/v1/lists/{segment(name)}/presence", read_page, params)


def stream(uids: Sequence[str] | None, name: str | None, snapshot: bool | None) -> Call[None]:
    """A stream of these users, of a list, or of everybody."""
    check_number(uids or ())
    params: dict[str, str] = {} if name is None else {"list": name}
    if snapshot is not None:
        params["snapshot"] = "true" if snapshot else "false"
    method, json = ("GET", None) if uids is None else ("POST", {"uids": sorted(set(uids))})
    return Call(method, "/v1/stream", lambda _: None, params, json)


def check_number(uids: Collection[str]) -> None:
    """Raises Invalid where a stream cannot name so many users."""
    if len(uids) > MAX_UIDS:
        fault = FieldFault("uids", f"{len(uids)} users; at most {MAX_UIDS}: make a list of them")
        raise Invalid(422, "Invalid request", f"uids: {fault.detail}", (fault,))


def anything(method: str, path: str, params: Mapping[str, Any] | None = None, json: object = None) -> Call[Any]:
    """Any other route; its answer is JSON."""
    return Call(method, path, read_any, params or {}, json)


class NotUtf8(ClientError):
    """A name that no path can carry."""


def segment(name: str) -> str:
    """A name as one segment of a path. Raises NotUtf8."""
    try:
        quoted = quote(name, safe="")
    except UnicodeEncodeError as error:
        raise NotUtf8(f"{name!r} is not UTF-8") from error
    # These two alone would be taken for steps in the path.
    return quoted.replace(".", "%2E") if quoted in {".", ".."} else quoted
