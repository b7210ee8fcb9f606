"""What the looks of the last while found: users shown wrongly, folded by what caused it."""

from ledger.domain.events import Status
from ledger.domain.look import JudgedLook, Watch
from ledger.domain.nodes import NodeState
from ledger.domain.reconciliation_events import Attribution, Corrected, DriftKind
from ledger.domain.source import SourceState
from ledger.reconcile.judge import Verdicts
from ledger.reconcile.recent_looks import RecentLooks

BOOTED = SourceState(
    "main",
    nodes={
        "n1": NodeState(boot=(1, 2), boot_position=41),
        "n2": NodeState(boot=(3, 4), boot_position=97),
        "n3": NodeState(down_since=5),
    },
)


class Window:
    """Looks within sixty seconds, by a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.recent = RecentLooks(60.0, lambda: self.now)

    def judged(
        self,
        users: int,
        cause: Attribution | None,
        before: Status = "online",
        after: Status = "offline",
        drift: DriftKind | None = "ghost",
        source: SourceState = BOOTED,
    ) -> None:
        event = Corrected(
            source="main", node="n1", received_at=1, rule="poll_ghost", status_before=before, status_after=after,
            run="r", poll="p", asked_at=1, drift=drift, attributed_to=cause,
        )  # fmt: skip
        self.recent.judged(Verdicts([(f"u{n}", JudgedLook(Watch(0), None, event)) for n in range(users)]), source)


def test_corrections_that_no_webhook_told_are_one_incident() -> None:
    window = Window()
    window.judged(3, "gap")
    window.judged(2, "sender", "offline", "online", "missed")
    window.recent.judged(Verdicts([("u", JudgedLook(Watch(0)))]), BOOTED)
    drift = {"cause": "lost", "node": "", "boot": 0, "users": 5, "causes": {"gap": 3, "sender": 2}}
    assert window.recent.told() == {"seconds": 0.0, "looked": 6, "drifts": [drift]}


def test_what_is_no_wrong_status_is_looked_at_and_no_more() -> None:
    window = Window()
    window.judged(1, "gap", "online", "online", "devices")
    window.judged(1, "gap", "unknown", "online", "missed")
    window.judged(1, None, drift=None)
    assert window.recent.told() == {"seconds": 0.0, "looked": 3, "drifts": []}


def test_what_a_boot_did_is_folded_by_that_boot() -> None:
    window = Window()
    window.recent.swept("n2", 80_000, BOOTED)
    window.recent.swept("n2", 0, BOOTED)
    window.recent.swept("n9", 5, BOOTED)
    window.judged(4, "restart")
    [drift] = window.recent.told()["drifts"]
    assert drift == {"cause": "restart", "node": "n2", "boot": 97, "users": 80_004, "causes": {}}


def test_what_an_outage_did_is_that_nodes() -> None:
    window = Window()
    window.judged(4, "node")
    window.judged(1, "node", source=SourceState("main"))
    window.judged(1, None)
    assert [(each["cause"], each["node"], each["users"]) for each in window.recent.told()["drifts"]] == [
        ("node", "n3", 4),
        ("node", "", 1),
        ("lost", "", 1),
    ]


def test_what_is_older_than_the_window_is_forgotten() -> None:
    window = Window()
    for second in range(0, 100, 10):
        window.now = float(second)
        window.judged(1, "gap")
    assert window.recent.told()["looked"] == 7
    window.now = 200.0
    assert window.recent.told() == {"seconds": 200.0, "looked": 0, "drifts": []}
