"""The audience: who watches whom, by their uids, on a list, or everybody; and how often the feed watches for it."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from ledger.changes.feed import ChangeFeed
from ledger.front.watcher import Watcher

Tell = Callable[[ChangeFeed, Callable[[ChangeFeed], None]], None]
"""`FeedRunner.tell`."""


class WatchedList:
    """A list that streams are open of: the feed watches its users once for all of them."""

    def __init__(self, name: str, feed: ChangeFeed) -> None:
        self.name = name
        self.feed = feed
        self.uids: set[str] = set()
        self.watchers: set[Watcher] = set()


class Audience:
    """All watchers of a process. A feed is told by `tell` whom it need no longer watch."""

    def __init__(self, tell: Tell) -> None:
        self.everybody: set[Watcher] = set()
        self.lists: dict[str, WatchedList] = {}
        self.on_watch: Callable[[Iterable[str]], None] = lambda uids: None
        """Told of users who begin to be watched by their uids."""
        self._tell = tell
        self._feeds: dict[Watcher, ChangeFeed] = {}
        """Of each watcher the feed that it began with: after a restart there is another one."""
        self._of_user: defaultdict[str, set[Watcher]] = defaultdict(set)
        self._lists_of_user: defaultdict[str, set[WatchedList]] = defaultdict(set)
        self._list_of: dict[Watcher, WatchedList] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    def __iter__(self) -> Iterator[Watcher]:
        return iter(list(self._feeds))

    @property
    def named(self) -> Collection[str]:
        """The users who are watched by their uids."""
        return self._of_user.keys()

    def of_user(self, uid: str) -> list[Watcher]:
        """Those who watch a user by their uid or on a list."""
        found = list(self._of_user.get(uid, ()))
        for watched in self._lists_of_user.get(uid, ()):
            found += watched.watchers
        return found

    def uids_of(self, watcher: Watcher) -> Collection[str] | None:
        """Whom a watcher watches; None: everybody."""
        if watcher in self._list_of:
            return self._list_of[watcher].uids
        return () if watcher.list is not None else watcher.uids

    def add_everybody(self, watcher: Watcher, feed: ChangeFeed) -> None:
        """The feed watches everybody once more for this watcher, which one that has ended does not need."""
        if watcher.closed:
            self._tell(feed, ChangeFeed.unwatch_everybody)
            return
        self._feeds[watcher] = feed
        self.everybody.add(watcher)

    def add_users(self, watcher: Watcher, uids: Sequence[str], feed: ChangeFeed) -> None:
        """The feed watches these users once more for it, which one that has ended, or has them, does not need."""
        assert watcher.uids is not None
        if not watcher.closed:
            self._feeds[watcher] = feed
        spare = [uid for uid in uids if watcher.closed or uid in watcher.uids]
        for uid in uids if not watcher.closed else ():
            watcher.uids.add(uid)
            self._of_user[uid].add(watcher)
        if not watcher.closed:
            self.on_watch(uids)
        self._unwatch(feed, spare)

    def remove_users(self, watcher: Watcher, uids: Iterable[str]) -> list[str]:
        """A watcher watches some users no more -> those of them whom it did."""
        assert watcher.uids is not None
        feed = self._feeds.get(watcher)
        if feed is None:  # one that is still being opened watches nobody
            return []
        removed = [uid for uid in uids if uid in watcher.uids]
        for uid in removed:
            watcher.uids.discard(uid)
            self._of_user[uid].discard(watcher)
            if not self._of_user[uid]:
                del self._of_user[uid]
        self._unwatch(feed, removed)
        return removed

    def join_list(self, watcher: Watcher, name: str, feed: ChangeFeed) -> None:
        """A watcher begins to watch a list, whose users are still to be added."""
        if watcher.closed:
            return
        watched = self.lists.setdefault(name, WatchedList(name, feed))
        watched.watchers.add(watcher)
        self._feeds[watcher], self._list_of[watcher] = feed, watched

    def add_to_list(self, watched: WatchedList | None, uids: Sequence[str], feed: ChangeFeed) -> None:
        """The feed watches these users once more for a list, which one that has ended, or has them, does not need."""
        if watched is None or not watched.watchers:
            self._unwatch(feed, uids)
            return
        new = [uid for uid in uids if uid not in watched.uids]
        self._unwatch(feed, [uid for uid in uids if uid in watched.uids])
        watched.uids.update(new)
        for uid in new:
            self._lists_of_user[uid].add(watched)

    def remove_from_list(self, watched: WatchedList, uids: Iterable[str]) -> None:
        """These users are on the list no more."""
        removed = [uid for uid in uids if uid in watched.uids]
        for uid in removed:
            watched.uids.discard(uid)
            self._lists_of_user[uid].discard(watched)
            if not self._lists_of_user[uid]:
                del self._lists_of_user[uid]
        self._unwatch(watched.feed, removed)

    def list_of(self, watcher: Watcher) -> WatchedList | None:
        """The list that a watcher watches, while its stream is open."""
        return self._list_of.get(watcher)

    def close(self, watcher: Watcher) -> None:
        """A stream has ended."""
        watcher.closed = True
        feed = self._feeds.get(watcher)
        if feed is None:
            return
        if watcher in self._list_of:
            self._leave_list(watcher)
        elif watcher.uids is None:
            self.everybody.discard(watcher)
            self._tell(feed, ChangeFeed.unwatch_everybody)
        else:
            self.remove_users(watcher, list(watcher.uids))
        del self._feeds[watcher]

    def _leave_list(self, watcher: Watcher) -> None:
        watched = self._list_of.pop(watcher)
        watched.watchers.discard(watcher)
        if not watched.watchers:
            self.remove_from_list(watched, list(watched.uids))
            if self.lists.get(watched.name) is watched:
                del self.lists[watched.name]

    def forget_lists(self) -> None:
        """There is another feed: streams that come from here on begin their lists anew."""
        self.lists.clear()

    def _unwatch(self, feed: ChangeFeed, uids: Sequence[str]) -> None:
        if uids:
            self._tell(feed, lambda told: told.unwatch(uids))
