"""What the log says of nodes that do not answer: every reason once, whatever else happens, and the end of it."""

from structlog.testing import capture_logs

from ledger.reconcile.complaints import MOST_REASONS, Complaints
from ledger.sources.wukongim.answers import Unanswered

REFUSED = Unanswered("connection refused", refused=True)
TOKEN = Unanswered("401: the token is refused", answered=True)
PEER = Unanswered("400: peer down", answered=True)
OPEN = Unanswered("400: peer down (not asked until 2026-11-18T11:06:41.000000Z)", held_back=True)
ROWS, PROBE = "POST /user/onlinestatus", "probe"


class Complaining:
    def __init__(self) -> None:
        self.at = 1000.0
        self.complaints = Complaints("main", lambda: self.at)

    def hears(self, *heard: Unanswered | None, node: str = "n1", route: str = ROWS, every: float = 1.0) -> list[str]:
        """What is said of these answers (None: a good one), one after another."""
        with capture_logs() as logs:
            for each in heard:
                self.at += every
                if each is None:
                    self.complaints.answered(node, route)
                else:
                    self.complaints.failed(node, route, each)
        assert all((line["source"], line["node"], line["route"]) == ("main", node, route) for line in logs)
        return [line.get("reason", line["event"]) for line in logs]


def test_each_reason_is_said_once_while_the_trouble_lasts() -> None:
    heard = [REFUSED, REFUSED, TOKEN, REFUSED, TOKEN, PEER, OPEN, PEER, TOKEN] * 100
    assert Complaining().hears(*heard) == [REFUSED.reason, TOKEN.reason, PEER.reason]


def test_its_end_is_said_and_the_next_trouble() -> None:
    assert Complaining().hears(REFUSED, None, None, REFUSED, every=100) == [
        REFUSED.reason,
        "query_api_answers",
        REFUSED.reason,
    ]


def test_one_that_answers_from_the_start_is_no_news() -> None:
    assert Complaining().hears(None, None) == []


def test_trouble_that_comes_and_goes_is_said_once_a_minute() -> None:
    assert Complaining().hears(*[REFUSED, None] * 60).count(REFUSED.reason) == 2


def test_trouble_that_comes_back_at_once_and_stays_is_said_after_a_minute() -> None:
    complaining = Complaining()
    complaining.hears(REFUSED, None)
    assert complaining.hears(*[REFUSED] * 59) == [REFUSED.reason]


def test_a_node_of_many_reasons_does_not_fill_the_log() -> None:
    many = [Unanswered(f"400: trace {number}", answered=True) for number in range(500)]
    assert len(Complaining().hears(*many)) == MOST_REASONS
    flapping = [each for one in many for each in (one, None)]
    assert len([reason for reason in Complaining().hears(*flapping, every=0.05) if "trace" in reason]) == MOST_REASONS


def test_nodes_and_routes_have_their_own() -> None:
    complaining = Complaining()
    assert complaining.hears(REFUSED) == complaining.hears(REFUSED, route=PROBE) == [REFUSED.reason]
    assert complaining.hears(REFUSED, node="n2") == [REFUSED.reason]
