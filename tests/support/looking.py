"""Scenarios of looks at one user: given webhooks, when an answer says this, then that is found and done, no more."""

from collections.abc import Mapping
from typing import Any

from ledger.domain.drift import Connection
from ledger.domain.look import JudgedLook
from ledger.domain.observation import SECOND
from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Corrected, Finding, PollObserved
from ledger.sources.wukongim.answers import Boot, NodeConnections, Unanswered
from ledger.sources.wukongim.answers import NodeConnection as Row
from tests.support.reconciler import Question, Reconciler
from tests.support.scenario import Step, session, step

NODE_IDS = {"n1": 1001, "n2": 1002, "n3": 1003}
CHANGES: dict[str, Any] = {"opened": (), "closed": (), "located": ()}
"""What a correction has of changes, as it is where there is none."""


class Looking:
    """A user `u` in a ledger, while webhooks come and answers are judged."""

    def __init__(self, profile: Profile, nodes: tuple[str, ...], policy: Policy) -> None:
        self.world = Reconciler(profile, nodes, policy)
        self.judged: JudgedLook | None = None

    def hears(self, *items: Step | str) -> "Looking":
        """Webhooks come one by one."""
        for item in map(step, items):
            self.world.pass_time(item.after)
            self.world.hear(item.node, item.item)
        return self

    def looks(self, rows: Mapping[int, int], *, after: float = 10.0, takes: float = 0.1, node: str = "n1") -> "Looking":
        """A question is sent so much later, and answered by so many connections of each device flag."""
        return self.answers(self.asks(after=after, node=node), rows, after=takes)

    def asks(self, *, after: float = 10.0, node: str = "n1") -> Question:
        """A question is sent, and not answered yet."""
        self.world.pass_time(after)
        return self.world.ask(["u"], node)

    def answers(self, question: Question, rows: Mapping[int, int], *, after: float = 0.1) -> "Looking":
        """The answer to a question that was sent."""
        self.world.pass_time(after)
        self.judged = self.world.answer(question, {"u": rows} if rows else {})["u"]
        return self

    def looks_at_nodes(self, after: float = 10.0, takes: float = 0.1, **found: list[Row] | None) -> "Looking":
        """All nodes are asked; None of a node: it does not answer."""
        self.world.pass_time(after)
        question = self.world.ask_nodes(["u"])
        self.world.pass_time(takes)
        answered = {node: NodeConnections(rows, len(rows)) for node, rows in found.items() if rows is not None}
        self.judged = self.world.answer_nodes(question, answered).get("u")
        return self

    def boots(self, node: str = "n1", *, ago: float = 0.5, long_held: float = 0.0, after: float = 10.0) -> "Looking":
        """A probe proves that the node booted so long ago, at some instant of so long an interval."""
        self.world.pass_time(after)
        latest = self.world.at - round(ago * SECOND)
        self.world.probe(node, Boot(latest - round(long_held * SECOND), latest, NODE_IDS[node]))
        return self

    def is_refused(self, node: str = "n1", *, times: int = 2, after: float = 1.0) -> "Looking":
        """Probes of the node find nobody listening."""
        for _ in range(times):
            self.world.pass_time(after)
            self.world.probe(node, Unanswered("ConnectError", refused=True))
        return self

    def then(self, outcome: str | None, drift: str | None, status: str, **expected: Any) -> "Looking":
        """The last look was judged so, left this status, and did this and nothing else. `rule` names the correction."""
        judged = self.judged
        assert judged is not None, "nothing was judged"
        finding = judged.finding
        assert (None if finding is None else (finding.outcome, finding.drift)) == (outcome and (outcome, drift)), (
            finding
        )
        assert self.world.presence("u").status == status
        rule = expected.pop("rule", None)
        event = judged.event
        assert (None if event is None else event.rule) == rule
        if event is not None:
            assert event.status_after == status
            assert {name: getattr(event, name) for name in CHANGES} == CHANGES | expected
        else:
            assert not expected
        return self

    def left(self, *sessions: Any) -> "Looking":
        """Exactly these sessions are open now."""
        found = [
            session(s.conn_id, d.device_flag, d.scope) for d in self.world.presence("u").devices for s in d.sessions
        ]
        assert sorted(found, key=str) == sorted(sessions, key=str)
        return self

    @property
    def finding(self) -> Finding:
        assert self.judged is not None
        assert self.judged.finding is not None
        return self.judged.finding

    @property
    def correction(self) -> Corrected:
        assert self.judged is not None
        assert self.judged.event is not None
        return self.judged.event

    @property
    def due_in(self) -> float:
        """Seconds until the next look."""
        return (self.world.agenda.get("u").due_at - self.world.at) / SECOND

    def polls(self) -> list[PollObserved]:
        """The polls on record."""
        return [kept.event for kept in self.world.kept if isinstance(kept.event, PollObserved)]


def given(
    *history: Step | str,
    profile: Profile = Profile.V2_2,
    nodes: tuple[str, ...] = ("n1",),
    policy: Policy = DEFAULT_POLICY,
) -> Looking:
    """A user after these webhooks."""
    return Looking(profile, nodes, policy).hears(*history)


def row(conn_id: int, flag: int | None = 0, node: str | None = "n1") -> Row:
    """A row of `/connz` about `u`; `node` is the one that the row names as its holder, None for v1."""
    return Row("u", conn_id, flag, None if node is None else NODE_IDS[node])


def socket(conn_id: int, flag: int | None = 0, node: str = "n1") -> Connection:
    """A connection that a node says is its own."""
    return Connection(node, conn_id, flag)
