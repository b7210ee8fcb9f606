"""What is known of users who are followed, kept right by a stream: only what is later is applied."""

from collections.abc import Iterable

from ledger.client.values import Disconnected, Gone, Heartbeat, Presence, Ready, Resumed, Said

STALE = True


class Cache:
    """Presences by uid. `live`: what it holds is what the service would answer; else it is stale.

    Order is that of (epoch, position, instant). Epochs have no order of their own: a stream is of one, and what follows
    a `resumed` that has not recovered takes the place of all that was known.
    """

    def __init__(self) -> None:
        self.live = False
        self._known: dict[str, Presence] = {}
        self._doubted: set[str] = set()
        """Of these something from before is held that the stream's snapshot has still to confirm or to replace."""
        self._epoch: str | None = None

    def get(self, uid: str) -> Presence | None:
        """What is known of a user, marked where it is stale; None where nothing is."""
        found = self._known.get(uid)
        return None if found is None else found.as_stale(not self.live or uid in self._doubted)

    def is_right(self, uid: str) -> bool:
        """Whether the service would answer what is known of this user."""
        return self.live and uid in self._known and uid not in self._doubted

    def unknown_of(self, uids: Iterable[str]) -> list[str]:
        """Those of whom nothing is known."""
        return [uid for uid in uids if uid not in self._known]

    @property
    def presences(self) -> list[Presence]:
        """All that is known."""
        return [found.as_stale(not self.live or uid in self._doubted) for uid, found in self._known.items()]

    def fill(self, presences: Iterable[Presence]) -> list[Presence]:
        """Take what was asked for: answers name no epoch, so they give way to whatever a stream has told.

        Returns those that are news.
        """
        news = [each for each in presences if each.uid not in self._known]
        self._known |= {each.uid: each for each in news}
        return news

    def forget(self, uids: Iterable[str]) -> None:
        """These are not followed any more."""
        for uid in uids:
            self._known.pop(uid, None)
            self._doubted.discard(uid)

    def apply(self, said: Said) -> bool:
        """Take what a stream said; returns whether it is news of a user."""
        match said:
            case Presence():
                return self._take(said)
            case Gone(uid=uid):
                self._doubted.discard(uid)
                return self._known.pop(uid, None) is not None
            case Resumed(recovered=recovered, as_of=as_of):
                self._epoch = as_of.epoch
                if not recovered:
                    self._doubted = set(self._known)
            case Ready() | Heartbeat():
                # Whoever was not in the snapshot is not on the list any more.
                self.forget(list(self._doubted))
                self.live = True
            case Disconnected():
                self.live = False
        return False

    def _take(self, presence: Presence) -> bool:
        known = self._known.get(presence.uid)
        if known is not None and presence.uid not in self._doubted:
            # An answer's epoch is that of the stream that its user was added to.
            same = (known.as_of.epoch or self._epoch) == presence.as_of.epoch
            if same and presence.as_of.order <= known.as_of.order:
                return False
        self._doubted.discard(presence.uid)
        self._known[presence.uid] = presence
        return True
