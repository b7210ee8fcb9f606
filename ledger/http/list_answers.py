"""What the routes of lists and tokens answer."""

from msgspec import Struct

from ledger.domain.instants import Timestamp, to_text
from ledger.working_state.watch_lists import WatchList


class ListCounts(Struct):
    """How many users are on a list, and how many are told when one of them changes."""

    uids: int
    watchers: int


class ListEntry(Struct):
    """A list: how many are on it, and when and by which API key it was changed last."""

    name: str
    counts: ListCounts
    created_at: Timestamp
    changed_at: Timestamp
    changed_by: str


class ListBody(ListEntry):
    """A list with a page of its users, in the order of their uids, and all of its watchers."""

    uids: list[str]
    watchers: list[str]
    next: str | None


class ListPage(Struct):
    """Lists in the order of their names."""

    items: list[ListEntry]
    next: str | None


class TokenBody(Struct):
    """A token, and until when it is valid."""

    token: str
    expires_at: Timestamp


def entry(found: WatchList) -> ListEntry:
    """A list as it is answered."""
    counts = ListCounts(found.members, found.watchers)
    return ListEntry(found.name, counts, to_text(found.created_at), to_text(found.changed_at), found.changed_by)
