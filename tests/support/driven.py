"""A perfect model of clients and servers with the ledger that hears of them, and what is on its way between the two."""

from collections.abc import Callable, Collection, Iterable
from typing import Literal

from ledger.domain.observation import SECOND
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.reconcile import plan
from ledger.sources.wukongim.answers import Unanswered
from tests.support.clients import Cluster
from tests.support.laws import Laws
from tests.support.reconciler import Question, Reconciler

Fate = Literal["heard", "on its way", "lost"]
"""What becomes of a webhook that a node has to send."""

Rows = dict[str, dict[int, int]]


class Driven:
    """Every answer is held against the laws as soon as it has been judged. `note` is told what happens."""

    def __init__(
        self,
        profile: Profile,
        nodes: tuple[str, ...],
        policy: Policy,
        users: Iterable[str],
        note: Callable[[str], None],
    ) -> None:
        self.ledger = Reconciler(profile, nodes, policy)
        self.cluster = Cluster(profile, nodes, self.ledger.at)
        self.cluster.now = lambda: self.ledger.at
        self._wants_scan = False
        self.laws = Laws(self.ledger, self.cluster, policy)
        self.users = tuple(users)
        self.in_flight: list[tuple[str, str]] = []
        self.delivered: list[tuple[str, str]] = []
        self.questions: list[tuple[Question, Rows | None]] = []
        """Each with what would have been its answer at once."""
        self._note = note
        for node in nodes:
            self.probe(node)

    @property
    def is_cluster_of_v3(self) -> bool:
        """Whether answers are not believed for the life of its routes, once a node was lost."""
        return self.cluster.is_v3 and len(self.cluster.nodes) > 1

    def send(self, fate: Fate) -> None:
        """What the nodes have to say is heard at once, on its way, or lost."""
        for node, items in self.cluster.unsent.items():
            if fate == "heard":
                for item in items:
                    self.hear(node, item)
            elif fate == "on its way":
                self.in_flight += [(node, item) for item in items]
            items.clear()

    def hear(self, node: str, item: str) -> None:
        """A webhook arrives."""
        self._note(f"{node} says {item}")
        self.delivered.append((node, item))
        self.ledger.hear(node, item)

    def ask_due(self) -> None:
        """The users who are due are asked about, as far as anything would be believed."""
        due = self.ledger.take_due()
        if not due:
            return
        route = plan.route_for(self.ledger.source, self.ledger.at)
        if isinstance(route, plan.Wait):
            self.ledger.put_all_back(due, route.until)
        elif route is plan.ROWS and not self._wants_scan:
            self._ask(due)
        else:
            self._wants_scan = False
            self.ask_nodes(due)

    def ask(self, uids: Iterable[str]) -> None:
        """Ask about users out of turn, if rows are to be believed."""
        if plan.route_for(self.ledger.source, self.ledger.at) is plan.ROWS:
            self._ask(sorted(uids))

    def _ask(self, uids: list[str]) -> None:
        question = self.ledger.ask(uids, min(plan.answering(self.ledger.source)))
        self.laws.asked(question)
        self.questions.append((question, self.cluster.rows(self.ledger.at)))

    def answer(self, number: int, *, early: bool = False) -> None:
        """A question is answered: by what was true at once, or by what is true now."""
        question, rows_then = self.questions.pop(number)
        rows = rows_then if early else self.cluster.rows(self.ledger.at)
        if rows is None or plan.route_for(self.ledger.source, self.ledger.at) is not plan.ROWS:
            self.fail(question)
            return
        found = {uid: rows[uid] for uid in question.watches if uid in rows}
        self._note(f"{question.poll} of {sorted(question.watches)}: {found}")
        self.laws.answered(question, found)
        judged = self.ledger.answer(question, found)
        self._wants_scan = self._wants_scan or any(look.waits for look in judged.values())
        self.laws.check_rows(judged, found)
        self.check_events()

    def answer_all(self) -> None:
        while self.questions:
            self.answer(0)

    def fail(self, question: Question) -> None:
        """A question brings no answer, which says nothing and changes nothing."""
        before = {uid: self.ledger.presence(uid) for uid in self.users}, len(self.ledger.kept)
        self.ledger.fail(question)
        assert ({uid: self.ledger.presence(uid) for uid in self.users}, len(self.ledger.kept)) == before

    def ask_nodes(self, uids: Iterable[str], *, takes: float = 0.0, without: str | None = None) -> None:
        """Ask all nodes but one for their connections, and judge what they say together."""
        question = self.ledger.ask_nodes(uids)
        self.laws.asked(question)
        found = {node: self.cluster.connections(node) for node in self.cluster.nodes if node != without}
        answered = {node: connections for node, connections in found.items() if connections is not None}
        self.ledger.pass_time(takes)
        named = {row.uid for node, each in answered.items() for row in each.own(self.cluster.node_id(node))}
        self._note(f"{question.poll} of all nodes, answered by {sorted(answered)}: {sorted(named)}")
        if not answered:
            self.fail(question)
            return
        self.laws.answered(question, {uid for uid in named if self._is_told(uid, answered)})
        before = {uid: self.ledger.presence(uid) for uid in self.users}
        self.laws.check_connections(before, self.ledger.answer_nodes(question, answered), answered)
        self.check_events()
        self.laws.check_told_by(answered)

    def _is_told(self, uid: str, answered: Collection[str]) -> bool:
        """Whether one of these nodes lists a connection of the user that can be taken for no other one."""
        held = [each for each in self.cluster.open[uid] if each.node in answered]
        return any(self.cluster.is_unmistakable(uid, each) for each in held)

    def probe(self, node: str, early: float = 0.5, late: float = 0.5) -> None:
        """A node is asked when it booted."""
        if node in self.cluster.down:
            self.ledger.probe(node, Unanswered("ConnectError", refused=True))
        else:
            self.ledger.probe(node, self.cluster.boot_of(node, self.ledger.at, early, late))

    def check_events(self) -> None:
        for told in self.laws.check_events():
            self._note(told)

    def calm_down(self, seconds: float, *, arrives: bool) -> None:
        """Faults and traffic stop, what is on its way arrives or is lost, and so many seconds go by.

        Then everybody must be shown as they are.
        """
        self._note("everything calms down")
        for node in sorted(self.cluster.down):
            self.cluster.boot(node, self.ledger.at, plan.ROUTE_LIFE_SECONDS - 5.0)
        self.cluster.denied.clear()
        while self.in_flight:
            node, item = self.in_flight.pop(0)
            if arrives:
                self.hear(node, item)
        self.answer_all()
        seconds += plan.ROUTE_LIFE_SECONDS if self.is_cluster_of_v3 else 0.0
        deadline = self.ledger.at + round(seconds * SECOND)
        while self.ledger.at < deadline:
            self._let_a_calm_second_pass()
        self.check_events()
        self.laws.check_calm()

    def _let_a_calm_second_pass(self) -> None:
        """Probes, then the users who are due, answered truly within the second."""
        for node in self.cluster.nodes:
            self.probe(node)
        if self._wants_scan or any(not state.swept for state in self.ledger.source.nodes.values()):
            self._wants_scan = False
            self.ask_nodes(self.users)
        self.ask_due()
        self.ledger.pass_time(0.1)
        self.answer_all()
        self.ledger.pass_time(0.9)
