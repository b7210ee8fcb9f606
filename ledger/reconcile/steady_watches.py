"""Whose watch no webhook changes for now: what the follower remembers so as not to ask PostgreSQL of it again.

`is_steady` says why a webhook changes nothing; decision 0060, why whatever else changes it is heard of here in time.
"""

from collections.abc import Iterable, Mapping
from itertools import islice

from ledger.domain.look import RECENT_SECONDS
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.store.mapper import user_stream
from ledger.working_state.followers import Following

MOST_USERS = 100_000
"""Remembered in a source, some 160 bytes each; those whose watch was asked for longest ago go first."""

STEADY = round(RECENT_SECONDS * SECOND)
"""Microseconds after the webhook by which a watch was found steady for which that is believed: an instance that does
not know yet that it leads no longer may have changed it."""


class SteadyWatches:
    """Users by the names of their streams. In one thread, that of everybody who changes watches while leading."""

    def __init__(self, names: Iterable[str]) -> None:
        self.since: dict[str, dict[str, Instant]] = {name: {} for name in names}
        """By source and stream: since when no webhook changes the watch."""
        self._judged_by: dict[str, tuple[Policy, Profile]] = {}
        self._heard: tuple[int, int] | None = None
        """The position up to which the agenda had heard the ledger, and the ledger's lineage."""

    def begin(self, following: Following, lineage: int, states: Mapping[str, SourceState]) -> None:
        """The agenda goes on from there, by these policies and profiles: forget what need not hold any longer."""
        if following.erasing or self._heard != (following.position, lineage):
            self.forget_everybody()
        for name, source in states.items():
            judged_by = source.policy, source.profile
            if self._judged_by.get(name) != judged_by:
                self._judged_by[name] = judged_by
                self.since.get(name, {}).clear()
        for uid in following.canaries:
            self.forget_user(user_stream(uid))

    def end(self, position: int, lineage: int, found: Mapping[str, Mapping[str, Instant]]) -> None:
        """The agenda has heard the ledger up to there, and these watches were found steady since these instants."""
        self._heard = position, lineage
        for name, streams in found.items():
            since = self.since[name]
            for stream, at in streams.items():
                since.pop(stream, None)
                since[stream] = at
            if (more := len(since) - MOST_USERS) > 0:
                # Some at once: to find the first one of a dictionary is to pass over all that were removed before it.
                self.since[name] = dict(islice(since.items(), more + MOST_USERS // 8, None))

    def forget(self, source: str, uids: Iterable[str]) -> None:
        """The watches of these users in a source are about to be changed."""
        since = self.since[source]
        for uid in uids:
            since.pop(user_stream(uid), None)

    def forget_user(self, stream: str) -> None:
        """Something but a webhook has happened to a user."""
        for since in self.since.values():
            since.pop(stream, None)

    def forget_everybody(self) -> None:
        """Begin anew."""
        for since in self.since.values():
            since.clear()
