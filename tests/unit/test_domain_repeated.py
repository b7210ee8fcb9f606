"""Deliveries that come again: what is taken for the same POST, what for another one, and whom that makes a suspect."""

from collections.abc import Sequence

import pytest

from ledger.domain.events import WebhookObserved
from ledger.domain.profile import Profile
from tests.support.strategies import Feed, Post

V2_1, V2_2, V3 = Profile.V2_1, Profile.V2_2, Profile.V3

Posted = tuple[float, str, Sequence[str]]
"""Seconds since the one before, node, items."""


def fed(profile: Profile, *posted: Posted, nodes: Sequence[str] = ("n1", "n2")) -> Feed:
    feed = Feed(profile, nodes=nodes)
    return feed.post_all(Post(gap, "main", node, tuple(items)) for gap, node, items in posted)


def last(feed: Feed) -> WebhookObserved:
    return feed.user_events["u"][-1][1]


def test_the_same_bytes_of_a_cluster_that_are_another_connections() -> None:
    """Connection 1 of one node came and went, then that of both: one sender tells of all in the same words."""
    feed = fed(
        V2_1,
        (1.0, "n2", ["u-1-1-1-0-0"]),
        (1.0, "n2", ["u-1-0-1-0-0"]),
        (3.0, "n2", ["u-1-1-1-0-0"]),
        (1.0, "n2", ["u-1-1-1-1-1", "u-1-0-1-1-1"]),
        (1.0, "n2", ["u-1-0-1-0-0"]),
    )
    assert feed.statuses() == {"u": "offline"}
    assert (last(feed).repeated, last(feed).suspect) == (False, "sweep_of_recent")


def test_whom_the_same_bytes_change_is_looked_at() -> None:
    feed = fed(V2_2, (1.0, "n1", ["u-0-1-1-1-1"]), (1.0, "n1", ["u-0-0-1-0-0"]), (9.0, "n1", ["u-0-1-1-1-1"]))
    assert (last(feed).verdict, last(feed).repeated, last(feed).suspect) == ("opened", False, "said_again")


@pytest.mark.parametrize("profile", [Profile.V1, V2_2])
def test_sent_again_at_once_nothing_is_heard_twice(profile: Profile) -> None:
    batch = ["u-0-1-1-1-1", "u-0-0-1-0-0", "u-0-1-2-1-1"]
    feed = fed(profile, (1.0, "n1", batch), *[(1.0, "n1", batch)] * 4)
    assert feed.statuses() == {"u": "online"}
    again = [event for _, event in feed.user_events["u"][3:]]
    assert {(event.verdict, event.repeated, event.suspect) for event in again} == {("duplicate", True, None)}


def test_a_count_of_zero_that_is_sent_again_ends_nothing_that_came_since_and_makes_a_suspect() -> None:
    """Another sender has told of a connection since: nobody can tell whether this is the older POST."""
    feed = fed(V2_2, (1.0, "n1", ["u-0-0-1-0-0"]), (3.0, "n2", ["u-0-1-2-1-1"]), (1.0, "n1", ["u-0-0-1-0-0"]))
    assert feed.statuses() == {"u": "online"}
    assert (last(feed).repeated, last(feed).suspect) == (True, "repeated_empty")


def test_v3_has_other_senders_that_may_be_quicker() -> None:
    feed = fed(V3, (1.0, "n1", ["u-0-1-1-1-1"]), (0.0, "n1", ["v-0-1-2-1-1"]), (0.0, "n1", ["u-0-0-1-0-0"]))
    feed.post(Post(0.5, "main", "n1", ("u-0-1-1-1-1",)))
    assert (feed.statuses()["u"], last(feed).rule, last(feed).repeated) == ("offline", "online_repeated", True)


@pytest.mark.parametrize(("is_known", "status"), [(True, "online"), (False, "offline")])
def test_after_a_boot_that_is_known_the_same_bytes_are_another_connection(is_known: bool, status: str) -> None:
    feed = fed(V3, (1.0, "n1", ["u-0-1-1-1-1"]), (0.0, "n1", ["u-0-0-1-0-0"]))
    feed.at += 3_000_000
    if is_known:
        feed.boots("n1")
    feed.post(Post(3.0, "main", "n1", ("u-0-1-1-1-1",)))
    assert feed.statuses() == {"u": status}
