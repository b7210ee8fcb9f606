"""The rules against a naive model of servers that count: right where nothing is lost, healing where something was."""

import zlib
from collections import defaultdict
from typing import NamedTuple

import hypothesis.strategies as st
from hypothesis import note, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.domain.profile import Profile
from tests.support.strategies import Feed, Post

USERS = ("alice", "u-1-2", "用户")
AT_ONCE_SECONDS = 0.001
BEYOND_SECONDS = 3.0
"""Longer than the reorder window."""

clusters = st.sampled_from(
    [
        (Profile.V1, ("n1",)),
        (Profile.V2_1, ("n1",)),
        (Profile.V2_1, ("n1", "n2")),
        (Profile.V2_2, ("n1",)),
        (Profile.V2_2, ("n1", "n2")),
        (Profile.V3, ("n1",)),
        (Profile.V3, ("n1", "n2")),
    ]
)
users = st.sampled_from(USERS)
flags = st.sampled_from([0, 1])


class Connection(NamedTuple):
    """What a client really holds."""

    node: str
    flag: int
    conn_id: int


class Servers(RuleBasedStateMachine):
    """Servers, their clients, and what is on its way; how it is brought to the rules is for a subclass to say."""

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[str, list[Connection]] = defaultdict(list)
        self.next_conn_id: dict[str, int] = defaultdict(lambda: 1)
        self.pending: dict[str, list[str]] = defaultdict(list)

    @initialize(cluster=clusters)
    def begin(self, cluster: tuple[Profile, tuple[str, ...]]) -> None:
        self.profile, self.nodes = cluster
        self.feed = Feed(self.profile, nodes=self.nodes)

    @property
    def is_v3(self) -> bool:
        return self.profile is Profile.V3

    def accept(self, uid: str, flag: int, node: str) -> None:
        """A client connects, and the server says so."""
        before = self.counts(uid, flag, node)
        connection = Connection(node, flag, self.next_conn_id[node])
        self.next_conn_id[node] += 1
        self.open[uid].append(connection)
        after = self.counts(uid, flag, node)
        self.say(uid, connection, 1, before if self.profile is Profile.V2_1 else after)

    def leave(self, uid: str, connection: Connection) -> None:
        """A client goes, and the server says so; v3 says so of the last one alone."""
        self.open[uid].remove(connection)
        counts = self.counts(uid, connection.flag, connection.node)
        if not self.is_v3 or counts[1] == 0:
            self.say(uid, connection, 0, counts)

    def counts(self, uid: str, flag: int, node: str) -> tuple[int, int]:
        """(of the device, in total), in v3 of the node's own connections."""
        counted = [c for c in self.open[uid] if not self.is_v3 or c.node == node]
        return sum(c.flag == flag for c in counted), len(counted)

    def say(self, uid: str, connection: Connection, online: int, counts: tuple[int, int]) -> None:
        sender = connection.node if self.is_v3 else self.nodes[zlib.crc32(uid.encode()) % len(self.nodes)]
        item = f"{uid}-{connection.flag}-{online}-{connection.conn_id}-{counts[0]}-{counts[1]}"
        self.pending[sender].append(item)

    def bring(self, node: str, items: list[str], gap: float) -> None:
        note(f"after {gap} s {node} posts {items}")
        self.feed.post(Post(gap, "main", node, tuple(items)))

    @invariant()
    def status_is_that_of_the_sessions(self) -> None:
        if hasattr(self, "feed"):
            for uid, presence in self.feed.draft.presences.items():
                sessions = [session for device in presence.devices for session in device.sessions]
                assert (presence.status == "online") == bool(sessions), uid


class NothingLost(Servers):
    """Senders that lose nothing, whose POSTs may come several times: once nothing waits, the truth is shown.

    This is promised of deliveries that come again:
    - of v1 to v2.2, whose nodes post one at a time: what comes again with nothing of the node in between is the same
      POST, and changes no status; after anything else of the node the same bytes are new, and heard in full;
    - of v3, whose nodes post with several senders: the same bytes within the window are the same POST, whatever came
      in between, and change no status;
    - after a boot that is known the same bytes are new, in any version. After one that is not they may be taken for the
      same POST: where a batch was told the wrong way round, what it says is then not believed.
    """

    told_wrongly = False

    @rule(uid=users, flag=flags, data=st.data())
    def connects(self, uid: str, flag: int, data: st.DataObject) -> None:
        if len(self.nodes) > 1 and not self.is_v3:
            # Where the holder is not the sender, numbers of two nodes meet; so near that they could be one is another
            # test's business.
            self.post_everything(gap=BEYOND_SECONDS)
            self.feed.at += 3_000_000
        self.accept(uid, flag, data.draw(st.sampled_from(self.nodes)))

    @rule(uid=users, data=st.data())
    def closes(self, uid: str, data: st.DataObject) -> None:
        if self.open[uid]:
            self.leave(uid, data.draw(st.sampled_from(self.open[uid])))

    @precondition(lambda self: not self.is_v3 and len(self.nodes) == 1)
    @rule(uid=users, flag=flags)
    def comes_and_goes_told_the_wrong_way_round(self, uid: str, flag: int) -> None:
        """Both in one internal batch of the server, which may handle them in either order."""
        self.accept(uid, flag, "n1")
        self.leave(uid, self.open[uid][-1])
        self.told_wrongly = True
        pending = self.pending["n1"]
        pending[-2:] = reversed(pending[-2:])

    @rule(gap=st.sampled_from([AT_ONCE_SECONDS, 1.0, BEYOND_SECONDS, 30.0]), times=st.sampled_from([1, 1, 2, 4]))
    def post_everything(self, gap: float, times: int = 1) -> None:
        for node in self.nodes:
            items, self.pending[node] = self.pending[node], []
            # v3 posts with many senders at once: what comes together could have come in any order.
            batches = [[item] for item in items] if self.is_v3 else [items] if items else []
            for batch in batches:
                self.bring(node, batch, BEYOND_SECONDS if self.is_v3 else gap)
                for _ in range(times - 1):
                    self.bring(node, batch, 1.0)
            for batch in batches if self.is_v3 and times > 1 else []:
                self.bring(node, batch, AT_ONCE_SECONDS)

    @rule(data=st.data(), is_known=st.booleans())
    def reboots_without_clients(self, data: st.DataObject, is_known: bool) -> None:
        node = data.draw(st.sampled_from(self.nodes))
        for uid in USERS:
            for connection in [c for c in self.open[uid] if c.node == node]:
                self.leave(uid, connection)
        self.post_everything(gap=AT_ONCE_SECONDS)
        self.feed.at += 61_000_000 if self.told_wrongly and not is_known else 3_000_000
        if is_known:
            self.feed.boots(node)
        self.next_conn_id[node] = 1

    @invariant()
    def what_is_shown_is_the_truth(self) -> None:
        if not hasattr(self, "feed") or any(self.pending.values()):
            return
        for uid, presence in self.feed.draft.presences.items():
            assert presence.status == ("online" if self.open[uid] else "offline"), uid


class AnythingGoes(Servers):
    """Senders that lose, repeat and reorder: nothing raises, and what comes last and plainly is believed."""

    @rule(uid=users, flag=flags, data=st.data())
    def connects(self, uid: str, flag: int, data: st.DataObject) -> None:
        self.accept(uid, flag, data.draw(st.sampled_from(self.nodes)))

    @rule(uid=users, data=st.data())
    def closes(self, uid: str, data: st.DataObject) -> None:
        if self.open[uid]:
            self.leave(uid, data.draw(st.sampled_from(self.open[uid])))

    @rule(data=st.data(), gap=st.sampled_from([AT_ONCE_SECONDS, 0.5, BEYOND_SECONDS]))
    def posts_some(self, data: st.DataObject, gap: float) -> None:
        node = data.draw(st.sampled_from(self.nodes))
        waiting = self.pending[node]
        if not waiting:
            return
        chosen = data.draw(st.lists(st.sampled_from(waiting), max_size=4))
        self.bring(node, chosen, gap)
        self.pending[node] = data.draw(st.permutations(waiting))[: len(waiting) // 2]

    @rule(data=st.data())
    def crashes(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(self.nodes))
        for uid in USERS:
            self.open[uid] = [connection for connection in self.open[uid] if connection.node != node]
        self.pending[node].clear()
        self.next_conn_id[node] = 1

    @rule(uid=users, flag=flags, data=st.data())
    def a_new_connection_is_believed(self, uid: str, flag: int, data: st.DataObject) -> None:
        self.feed.at += 61_000_000
        node = data.draw(st.sampled_from(self.nodes))
        self.accept(uid, flag, node)
        self.bring_the_last_word()
        assert self.feed.statuses()[uid] == "online"

    @precondition(lambda self: not self.is_v3)
    @rule(uid=users, flag=flags)
    def the_end_of_the_last_connection_is_believed(self, uid: str, flag: int) -> None:
        """A total of zero, whatever was lost before; v3 says it of one node alone."""
        self.feed.at += 61_000_000
        self.accept(uid, flag, self.nodes[0])
        for connection in list(self.open[uid]):
            self.leave(uid, connection)
        self.bring_the_last_word()
        assert self.feed.statuses()[uid] == "offline"

    def bring_the_last_word(self) -> None:
        """Of all that waits, only what was said last arrives, beyond every window."""
        said = {node: items[-1] for node, items in self.pending.items() if items}
        self.pending.clear()
        for node, item in said.items():
            self.bring(node, [item], BEYOND_SECONDS)


TestNothingLost = NothingLost.TestCase
TestNothingLost.settings = settings(max_examples=150, stateful_step_count=30)
TestAnythingGoes = AnythingGoes.TestCase
TestAnythingGoes.settings = settings(max_examples=100, stateful_step_count=30)
