"""Transitions: which a webhook told, which it did not, and which it told after all."""

from collections import Counter
from typing import Any

import pytest

from ledger.domain.drift import is_silenced
from ledger.domain.events import SessionId, Status, WebhookObserved
from ledger.domain.observation import SECOND
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Attribution, Corrected, Swept, TierSet
from ledger.domain.untold import PROVEN, ToldTransition, Untold, UserTransitions

T = 1_800_000_000 * SECOND
UID = "u100"
SILENCED = "bob"


class Heard:
    """One user's events, a second apart."""

    def __init__(self, uid: str = UID) -> None:
        self.uid = uid
        self.transitions = UserTransitions(uid)
        self.position = 0

    @property
    def at(self) -> int:
        return T + self.position * SECOND

    def take(self, event: Any) -> "Heard":
        self.position += 1
        self.transitions.take(event, self.position)
        return self

    def item(self, raw: str, verdict: Any, before: Status, after: Status, **fields: Any) -> "Heard":
        """A webhook's item, `flag-online-connId-count-total`."""
        flag, online, conn_id, _, _ = raw.split("-")
        event = WebhookObserved(
            source="main", node="n1", delivery="d", item=0, raw=f"{self.uid}-{raw}", received_at=self.at,
            verdict=verdict, rule=fields.pop("rule", "rule"), status_before=before, status_after=after,
            device_flag=int(flag), online=online == "1", conn_id=int(conn_id), **fields,
        )  # fmt: skip
        return self.take(event)

    def corrected(self, before: Status, after: Status, why: Attribution | None = "gap", **fields: Any) -> "Heard":
        event = Corrected(
            source="main", node="n1", received_at=self.at, rule="poll", status_before=before, status_after=after,
            run="r", poll="p", asked_at=self.at, attributed_to=why, **{"drift": "ghost", **fields},
        )  # fmt: skip
        return self.take(event)

    def swept(self, before: Status = "online", after: Status = "offline", rule: Any = "restart") -> "Heard":
        event = Swept(
            source="main", node="n1", received_at=self.at, rule=rule, status_before=before, status_after=after,
            ended=(), run="r", evidence=1,
        )  # fmt: skip
        return self.take(event)

    @property
    def counts(self) -> dict[str, int]:
        """As they are counted in the end."""
        counted: Counter[str] = Counter(each.by for each in self.transitions.told)
        counted.update(each.learnt_by for each in self.transitions.changed.values() if each.state != "supposed")
        return dict(counted)


def online() -> Heard:
    """Told to be online."""
    return Heard().item("0-1-1-1-1", "opened", "unknown", "online")


def test_what_webhooks_tell_is_told() -> None:
    heard = online().item("0-0-1-0-0", "closed", "online", "offline").item("0-1-2-1-1", "opened", "offline", "online")
    assert heard.counts == {"webhook": 3}
    assert heard.transitions.told[0] == ToldTransition("main", "n1", "webhook", T)


def test_what_changes_no_status_is_no_transition() -> None:
    heard = online().item("1-1-2-1-2", "opened", "online", "online").item("1-0-2-0-1", "closed", "online", "online")
    heard.item("1-0-2-0-1", "late", "online", "online").item("0-1-1-1-1", "duplicate", "online", "online")
    heard.take(TierSet(received_at=T, tier="vip", by="key", status_before="online", status_after="online"))
    heard.corrected("online", "online", None, drift=None)
    assert heard.counts == {"webhook": 1}
    assert not heard.transitions.changed


@pytest.mark.parametrize("why", ["gap", "sender", "restart", "node", "upstream_defect"])
def test_what_a_look_corrects_went_untold_for_its_reason(why: Attribution) -> None:
    heard = online().corrected("online", "offline", why, agreed_at=T + 5, disagreed_at=T + 9)
    assert heard.counts == {"webhook": 1, why: 1}
    assert heard.transitions.changed[2, "offline"] == Untold("main", 2, "offline", "n1", "", why, T + 5, T + 9, "open")


def test_one_without_a_reason_is_a_gap_at_the_answer() -> None:
    heard = Heard().corrected("unknown", "online", None, drift="missed")
    [found] = heard.transitions.changed.values()
    assert (found.learnt_by, found.became, found.after, found.at) == ("gap", "online", None, T)


def test_an_offline_of_a_connection_that_nobody_knew_tells_of_a_lost_online() -> None:
    heard = online().item("0-0-1-0-0", "closed", "online", "offline").item("0-0-2-0-0", "late", "offline", "offline")
    assert heard.counts == {"webhook": 3, "late_offline": 1}


def test_unless_that_one_was_overtaken() -> None:
    heard = Heard().item("0-0-2-0-0", "late", "unknown", "offline")
    heard.item("0-1-2-1-1", "stale", "offline", "offline", rule="online_older_than_empty")
    assert heard.counts == {"webhook": 1, "late_offline": 1}
    heard.item("0-1-2-1-1", "stale", "offline", "offline", rule="online_overtaken_by_its_offline")
    assert heard.counts == {"webhook": 2}
    assert [each.key for each in heard.transitions.dropped.values()] == [(1, "online")]


@pytest.mark.parametrize("more", [{"implied": 1}, {"implied_elsewhere": 1}])
def test_a_count_of_more_tells_that_the_first_online_was_lost(more: dict[str, int]) -> None:
    heard = Heard().item("0-1-2-1-2", "opened", "offline", "online", **more)
    assert heard.counts == {"count": 1}
    heard.item("1-1-1-1-2", "opened", "online", "online", named=True)
    assert heard.counts == {"webhook": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"verdict": "opened", "named": True},
        {"verdict": "opened", "placed": True},
        {"verdict": "opened", "withdrawn_elsewhere": 1},
        {"verdict": "duplicate", "rule": "online_already_open"},
    ],
)
def test_an_online_that_was_on_its_way_when_a_look_found_the_user_was_not_lost(fields: dict[str, Any]) -> None:
    heard = Heard().corrected("unknown", "online", drift="missed")
    heard.item("0-1-1-1-1", before="online", after="online", **fields)
    assert heard.counts == {"webhook": 1}


def test_nor_was_an_offline() -> None:
    heard = online().corrected("online", "offline")
    heard.item("0-0-1-0-0", "duplicate", "offline", "offline", rule="offline_repeated")
    assert heard.counts == {"webhook": 1, "gap": 1}
    heard.item("0-0-1-0-0", "duplicate", "offline", "offline", rule="offline_already_closed")
    heard.item("0-0-1-0-0", "duplicate", "offline", "offline", rule="offline_already_closed")
    assert heard.counts == {"webhook": 2}


def test_once_the_user_has_come_again_what_was_lost_is_lost() -> None:
    heard = online().corrected("online", "offline").item("0-1-2-1-1", "opened", "offline", "online")
    assert heard.transitions.changed[2, "offline"].state == "final"
    heard.item("0-0-2-0-0", "closed", "online", "offline")
    heard.item("0-0-1-0-0", "duplicate", "offline", "offline", rule="offline_already_closed")
    assert heard.counts == {"webhook": 3, "gap": 1}


def came_back(uid: str = UID, raw: str = "0-1-2-1-1") -> Heard:
    """Online by one connection, and by another one whose counts say that it is alone."""
    return Heard(uid).item("0-1-1-1-1", "opened", "offline", "online").item(raw, "opened", "online", "online")


@pytest.mark.parametrize("raw", ["0-1-2-1-1", "0-1-2-0-0"])
def test_an_online_of_a_user_who_was_alone_may_tell_of_a_lost_offline(raw: str) -> None:
    heard = came_back(raw=raw)
    assert heard.counts == {"webhook": 1}
    gone = (SessionId("", 0, 1),)
    heard.corrected("online", "online", drift="devices", closed=gone)
    assert heard.counts == {"webhook": 1, "returned": 1}


@pytest.mark.parametrize("raw", ["1-1-2-0-1", "0-1-2-1-2", "0-1-2-2-2"])
def test_one_of_a_user_with_other_connections_tells_of_none(raw: str) -> None:
    assert not came_back(raw=raw).transitions.changed


def test_one_whose_bytes_came_before_tells_of_none() -> None:
    heard = online().item("0-1-2-1-1", "opened", "online", "online", repeated=True)
    heard.item("0-1-2-1-1", "duplicate", "online", "online", rule="online_already_open", repeated=True)
    assert not heard.transitions.changed


def test_the_offline_of_the_other_may_still_come() -> None:
    heard = came_back().item("0-0-1-0-1", "closed", "online", "online")
    heard.item("0-0-2-0-0", "closed", "online", "offline")
    assert heard.counts == {"webhook": 2}


def test_if_all_ends_without_it_it_was_lost() -> None:
    heard = came_back().item("0-0-2-0-0", "closed", "online", "offline", swept=(SessionId("", 0, 1),))
    assert heard.counts == {"webhook": 2, "returned": 1}
    assert came_back().corrected("online", "offline").counts == {"webhook": 1, "returned": 1, "gap": 1}


def test_if_a_boot_ended_it_it_was_not() -> None:
    assert came_back().swept("online", "online").counts == {"webhook": 1}
    corrected = came_back().corrected("online", "online", "restart", drift="devices", closed=(SessionId("", 0, 1),))
    assert corrected.counts == {"webhook": 1, "restart": 1}


def test_a_session_that_ended_elsewhere_says_nothing_of_it() -> None:
    heard = came_back().corrected("online", "online", drift="devices", closed=(SessionId("n2", 0, 1),))
    assert heard.counts == {"webhook": 1}


def test_a_version_that_never_tells_it_did_not_lose_it() -> None:
    assert is_silenced(SILENCED, Profile.V2_2)
    heard = came_back(SILENCED).item("0-0-2-0-0", "closed", "online", "offline", swept=(SessionId("", 0, 1),))
    assert heard.counts == {"webhook": 2, "upstream_defect": 1}


def test_an_end_of_all_by_one_that_nobody_knew_tells_of_two() -> None:
    """They went, and came again by the connection that ends here."""
    swept = (SessionId("", 0, 1),)
    heard = online().item("0-0-2-0-0", "late", "online", "offline", swept=swept)
    assert heard.counts == {"webhook": 2, "returned": 1, "late_offline": 1}
    other = online().item("1-0-2-0-0", "late", "online", "offline", swept=swept)
    assert other.counts == {"webhook": 2}


@pytest.mark.parametrize(("rule", "by"), [("restart", "restart"), ("node_retired", "retired")])
def test_a_sweep_explains_itself(rule: str, by: str) -> None:
    assert online().swept(rule=rule).counts == {"webhook": 1, by: 1}


def test_what_was_left_pending_is_taken_up_again() -> None:
    pending = came_back().transitions.changed.values()
    again = UserTransitions(UID, pending)
    assert not again.changed
    heard = Heard()
    heard.transitions = again
    heard.item("0-0-2-0-0", "closed", "online", "offline")
    assert heard.counts == {"webhook": 1, "returned": 1}


def test_another_source_has_its_own() -> None:
    heard = online().corrected("online", "offline")
    [found] = heard.transitions.changed.values()
    elsewhere = UserTransitions(UID, [found._replace(source="other")])
    heard.transitions = elsewhere
    heard.item("0-1-7-1-1", "duplicate", "online", "online", rule="online_already_open")
    heard.item("0-0-1-0-0", "duplicate", "offline", "offline", rule="offline_already_closed")
    assert not elsewhere.dropped


def test_proven_causes_are_those_of_looks() -> None:
    assert {"restart", "node", "upstream_defect"} == PROVEN
