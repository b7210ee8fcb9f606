"""Whether queries speak of other users than webhooks do: where `api_url` leads to another cluster, they find nobody.

A single user who is found proves that it is the right one. A boot, or the loss of a node, explains why nobody is.
"""

from ledger.domain.observation import Instant


class Strangers:
    """Users in a row whom a webhook named as online, and whom the first look at them did not find."""

    def __init__(self) -> None:
        self.users = 0
        self.tells = False
        """Whether any such user has been looked at."""
        self.since: Instant | None = None
        """When the first of them was not found."""

    def note(self, looked: int, absent: int, at: Instant) -> None:
        """An answer about so many such users, of whom so many were not found."""
        self.tells = self.tells or looked > 0
        if looked > absent:
            self.forget()
        elif absent:
            self.users += absent
            self.since = self.since or at

    def forget(self) -> None:
        """What was not found is explained otherwise."""
        self.users, self.since = 0, None
