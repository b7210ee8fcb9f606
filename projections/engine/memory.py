"""What a projection remembers of users from one batch to the next, so that it need not read it back; bounded."""

from collections.abc import Iterable, Mapping
from typing import Any

MAX_USERS = 50_000
"""Some hundred bytes each, or a kilobyte or two."""


class Memory:
    """States of users as of one place in the ledger: whoever made them has seen all events before it.

    It is a projection's own way to spare itself a query: of a user who is not in here the tables tell the same.
    """

    def __init__(self, max_users: int = MAX_USERS) -> None:
        self._max_users = max_users
        self._states: dict[str, Any] = {}
        """The one that was kept longest ago first."""
        self._as_of: object = None

    def take(self, uids: Iterable[str]) -> dict[str, Any]:
        """The states of those whom it knows; it forgets them, until they are kept again after what comes next."""
        states, taken = self._states, {}
        for uid in uids:
            state = states.pop(uid, None)
            if state is not None:
                taken[uid] = state
        return taken

    def keep(self, states: Mapping[str, Any]) -> None:
        """Remember users as they are after the events that were handled; of too many those who were here first go."""
        self._states.update(states)
        too_many = len(self._states) - self._max_users
        if too_many > 0:
            for uid in list(self._states)[:too_many]:
                del self._states[uid]

    def hold_to(self, as_of: object) -> None:
        """Forget everybody unless it is as of that very place. Until `moved_to` it is as of none."""
        if self._as_of != as_of:
            self._states.clear()
        self._as_of = None

    def moved_to(self, as_of: object) -> None:
        """What is in here is as of that place now."""
        self._as_of = as_of

    def forget(self) -> None:
        """Forget everybody."""
        self._states.clear()
