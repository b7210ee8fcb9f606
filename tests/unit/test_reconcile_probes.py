"""Probes of a node: refused, timed out, answering as before, booted; clocks that step, and instants that cannot be."""

import pytest
from msgspec.structs import replace

from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import NodeBooted, NodeDown, NodeSettled
from ledger.domain.source import SourceState, evolve_source
from ledger.reconcile.probes import FAILED_IN_A_ROW, NodeProbe, ProbeEvent
from ledger.sources.wukongim.answers import TOKEN_REFUSED, Boot, Unanswered

T = 1_800_000_000 * SECOND
REFUSED = Unanswered("ConnectError", refused=True)
TIMED_OUT = Unanswered("TimeoutError")
NOT_FOUND = Unanswered("404", answered=True)
LONG_AGO = Boot(T - 1000 * SECOND, T - 998 * SECOND, 1001)


class Probing:
    """A node that is probed, and what the ledger knows of it."""

    def __init__(self) -> None:
        self.at = T
        self.source = SourceState("main", node_profiles={"n1": Profile.V2_2})
        self.probe = NodeProbe("n1")
        self.last: list[ProbeEvent] = []

    @property
    def state(self) -> NodeState:
        return self.source.nodes.get("n1", NodeState())

    def answers(self, boot: Boot, *, after: float = 1.0, takes: float = 0.0, stepped: bool = False) -> "Probing":
        """A good answer, so long after the one before."""
        asked_at = self.at + round(after * SECOND)
        self.at = asked_at + round(takes * SECOND)
        return self._keep(self.probe.answered(boot, asked_at, self.at, self.state, "/varz", stepped=stepped))

    def fails(self, *unanswered: Unanswered, after: float = 1.0) -> "Probing":
        for each in unanswered:
            self.at += round(after * SECOND)
            self._keep(self.probe.failed(each, self.at, self.at, self.state))
        return self

    def hears(self, *, after: float = 0.5) -> "Probing":
        """A webhook of the node comes."""
        self.at += round(after * SECOND)
        nodes = {"n1": replace(self.state, last_webhook_at=self.at)}
        self.source = replace(self.source, nodes=nodes)
        return self

    def is_swept(self) -> "Probing":
        self.source = evolve_source(self.source, NodeSettled(node="n1", at=self.at, booted=True), 99)
        return self

    def another_instance(self) -> "Probing":
        """Another instance of the service goes on: it knows what the ledger knows."""
        self.probe = NodeProbe("n1")
        return self

    def _keep(self, events: list[ProbeEvent]) -> "Probing":
        self.last = events
        for event in events:
            self.source = evolve_source(self.source, event, self.source.version + 1)
        return self

    def then_nothing(self) -> "Probing":
        assert self.last == []
        return self

    def then_down(self, *, since: float, reason: str = "ConnectError") -> "Probing":
        """Down for so many seconds."""
        (event,) = self.last
        assert isinstance(event, NodeDown)
        assert ((self.at - event.since) / SECOND, event.reason, event.at) == (since, reason, self.at)
        return self

    def then_booted(self, *, earliest: float, latest: float, first: bool = False) -> "Probing":
        """Booted between so and so many seconds ago."""
        (event,) = self.last
        assert isinstance(event, NodeBooted)
        assert ((self.at - event.earliest) / SECOND, (self.at - event.latest) / SECOND) == (earliest, latest)
        assert (event.first, event.node, event.at) == (first, "n1", self.at)
        return self

    def then_settled(self) -> "Probing":
        (event,) = self.last
        assert isinstance(event, NodeSettled)
        assert not event.booted
        return self


def known() -> Probing:
    """A node that has been answering."""
    return Probing().answers(LONG_AGO).is_swept().answers(LONG_AGO).then_nothing()


def ago(earliest: float, latest: float, at: int) -> Boot:
    return Boot(at - round(earliest * SECOND), at - round(latest * SECOND))


def test_the_first_boot_that_we_learn_of_is_on_record() -> None:
    Probing().answers(LONG_AGO).then_booted(earliest=1001.0, latest=999.0, first=True)


def test_refused_once_is_nothing() -> None:
    known().fails(REFUSED).then_nothing().answers(LONG_AGO).then_nothing().fails(REFUSED).then_nothing()


def test_refused_at_two_probes_in_a_row_is_down_since_the_first() -> None:
    known().fails(REFUSED, REFUSED).then_down(since=1.0)


def test_timed_out_five_times_in_a_row_is_down_since_the_first() -> None:
    assert FAILED_IN_A_ROW == 5
    probing = known().fails(*[TIMED_OUT] * 4).then_nothing().fails(TIMED_OUT)
    probing.then_down(since=4.0, reason="TimeoutError")


def test_refusals_with_something_else_in_between_are_not_in_a_row() -> None:
    probing = known().fails(REFUSED, TIMED_OUT, REFUSED, TIMED_OUT).then_nothing()
    probing.fails(TIMED_OUT).then_down(since=4.0, reason="TimeoutError")


def test_a_node_that_is_down_is_so_once() -> None:
    known().fails(REFUSED, REFUSED).then_down(since=1.0).fails(REFUSED, REFUSED, TIMED_OUT).then_nothing()


def test_a_webhook_meanwhile_shows_that_the_node_lives() -> None:
    probing = known().fails(REFUSED).hears().fails(REFUSED).then_nothing()
    probing.fails(*[REFUSED] * 10).then_nothing()


def test_a_webhook_of_before_shows_nothing() -> None:
    known().hears().fails(REFUSED, REFUSED).then_down(since=1.0)


def test_an_address_at_which_nobody_ever_answered_is_not_down() -> None:
    Probing().fails(*[REFUSED] * 10).then_nothing()


def test_another_instance_knows_that_somebody_did() -> None:
    known().another_instance().fails(REFUSED, REFUSED).then_down(since=1.0)


@pytest.mark.parametrize("useless", [TOKEN_REFUSED, NOT_FOUND])
def test_an_answer_of_no_use_is_a_sign_of_life(useless: Unanswered) -> None:
    known().fails(REFUSED, useless, REFUSED).then_nothing()
    known().fails(*[useless] * 10).then_nothing()


@pytest.mark.parametrize("useless", [TOKEN_REFUSED, NOT_FOUND])
def test_a_node_that_gave_answers_of_no_use_alone_is_down_when_it_gives_none(useless: Unanswered) -> None:
    Probing().fails(useless, REFUSED, REFUSED).then_down(since=1.0)
    Probing().fails(useless, *[TIMED_OUT] * 5).then_down(since=4.0, reason="TimeoutError")


def test_a_node_that_is_back_is_settled_by_any_answer_but_the_refusal_of_our_token() -> None:
    """Nobody can look at who is still connected then, nor tell whether it has booted."""
    known().fails(REFUSED, REFUSED).then_down(since=1.0).fails(NOT_FOUND).then_settled()
    probing = known().fails(REFUSED, REFUSED).then_down(since=1.0).fails(*[TOKEN_REFUSED] * 10).then_nothing()
    probing.answers(LONG_AGO).then_settled()


def test_a_node_that_answers_as_before_is_settled() -> None:
    probing = known().fails(REFUSED, REFUSED).answers(LONG_AGO).then_settled()
    assert probing.state.down_since is None
    probing.answers(LONG_AGO).then_nothing()


def test_a_later_boot_is_proven() -> None:
    probing = known()
    probing.answers(ago(0.75, 0.25, probing.at + 2 * SECOND), after=2.0).then_booted(earliest=0.75, latest=0.25)
    assert probing.state.boot == (probing.at - 750_000, probing.at - 250_000)


def test_a_boot_lies_after_the_last_answer_of_the_process_before() -> None:
    """The interval of `/varz` is wider than the time between two probes."""
    probing = known()
    probing.answers(ago(2.5, 0.0, probing.at + SECOND)).then_booted(earliest=1.0, latest=0.0)


def test_a_boot_lies_after_the_last_refusal() -> None:
    probing = known().fails(REFUSED)
    probing.answers(ago(2.5, 0.0, probing.at + SECOND)).then_booted(earliest=1.0, latest=0.0)


def test_a_refusal_that_the_boots_interval_does_not_hold_bounds_nothing() -> None:
    probing = known().fails(REFUSED)
    probing.answers(ago(4.0, 3.0, probing.at + 10 * SECOND), after=10.0).then_booted(earliest=4.0, latest=3.0)


def test_one_boot_said_again_within_what_clocks_make_of_it_is_one() -> None:
    probing = known()
    for second in range(1, 6):
        said = Boot(LONG_AGO.earliest + second * SECOND // 10, LONG_AGO.latest + second * SECOND // 10)
        probing.answers(said).then_nothing()


def test_another_instance_takes_two_statements_of_one_boot_for_one() -> None:
    shifted = Boot(LONG_AGO.latest + SECOND, LONG_AGO.latest + 3 * SECOND)
    known().another_instance().answers(shifted).then_nothing()


def test_another_instance_sees_a_boot_that_happened_meanwhile() -> None:
    probing = known().another_instance()
    probing.answers(ago(20.0, 18.0, probing.at + 60 * SECOND), after=60.0).then_booted(earliest=20.0, latest=18.0)


def test_a_boot_of_before_the_last_answer_cannot_be() -> None:
    """`/metrics` tells its start by the node's clock, which has stepped."""
    probing = known().answers(LONG_AGO, after=60.0)
    probing.answers(ago(30.0, 29.0, probing.at + SECOND)).then_nothing()


def test_a_boot_in_the_future_cannot_be() -> None:
    probing = known()
    probing.answers(ago(-3600.0, -3601.0, probing.at)).then_nothing().answers(LONG_AGO).then_nothing()


def test_a_boot_a_little_in_the_future_is_now() -> None:
    probing = known()
    probing.answers(ago(-0.5, -1.5, probing.at + SECOND)).then_booted(earliest=0.0, latest=0.0)


def test_while_our_clock_steps_instants_do_not_compare() -> None:
    probing = known()
    an_hour_on = Boot(LONG_AGO.earliest + 3600 * SECOND, LONG_AGO.latest + 3600 * SECOND)
    probing.answers(an_hour_on, after=3601.0, stepped=True).then_nothing()
    probing.answers(an_hour_on).then_nothing()
    back = Boot(LONG_AGO.earliest, LONG_AGO.latest)
    probing.answers(back, after=-3600.0, stepped=True).then_nothing().answers(back).then_nothing()


def test_a_boot_is_not_settled_by_its_own_answers() -> None:
    """What it ended is swept first."""
    probing = known().fails(REFUSED, REFUSED)
    boot = ago(0.75, 0.5, probing.at + SECOND)
    probing.answers(boot).then_booted(earliest=0.75, latest=0.5)
    assert probing.state.down_since is not None
    probing.answers(boot).then_nothing().is_swept()
    assert probing.state.down_since is None


@pytest.mark.parametrize("times", [1, 4])
def test_failures_before_an_answer_do_not_count_after_it(times: int) -> None:
    known().fails(*[TIMED_OUT] * times).answers(LONG_AGO).fails(*[TIMED_OUT] * 4).then_nothing()
