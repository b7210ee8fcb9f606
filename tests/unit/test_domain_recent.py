"""The bodies sent lately: found within their window, forgotten after it, and old versions left as they were."""

from ledger.domain.recent import NO_BODIES, Body, RecentBodies


def remembering(*bodies: tuple[str, int], keep_since: int = 0, since: RecentBodies = NO_BODIES) -> RecentBodies:
    recent = since
    for digest, at in bodies:
        recent = recent.remember("n1", digest, f"{digest}{at}", at, keep_since)
    return recent


def test_nothing_is_found_in_nothing() -> None:
    assert NO_BODIES.find("n1", "a", 0) is None
    assert len(NO_BODIES) == 0


def test_the_last_of_a_body_is_found() -> None:
    recent = remembering(("a", 1), ("b", 2), ("a", 3))
    assert recent.find("n1", "a", 0) == Body("n1", "a", "a3", 3)
    assert len(recent) == 3


def test_not_of_another_node_nor_before_the_instant() -> None:
    recent = remembering(("a", 5))
    assert recent.find("n2", "a", 0) is None
    assert recent.find("n1", "a", 6) is None
    assert recent.find("n1", "a", 5) is not None


def test_older_versions_do_not_see_newer_bodies() -> None:
    one = remembering(("a", 1))
    two = remembering(("a", 2), since=one)
    assert one.find("n1", "a", 0) == Body("n1", "a", "a1", 1)
    assert two.find("n1", "a", 0) == Body("n1", "a", "a2", 2)


def test_two_branches_of_one_version_do_not_see_each_other() -> None:
    one = remembering(("a", 1))
    left, right = remembering(("b", 2), since=one), remembering(("c", 2), since=one)
    assert left.find("n1", "c", 0) is None
    assert right.find("n1", "b", 0) is None
    assert [len(each) for each in (one, left, right)] == [1, 2, 2]


def test_the_empty_one_begins_a_sequence_of_its_own_each_time() -> None:
    remembering(("a", 1))
    assert remembering(("b", 1)).find("n1", "a", 0) is None


def test_bodies_before_the_bound_are_forgotten() -> None:
    recent = remembering(("a", 1), ("b", 2)).remember("n1", "c", "c3", 3, 2)
    assert recent.find("n1", "a", 0) is None
    assert recent.find("n1", "b", 0) is not None
    assert len(recent) == 2


def test_a_long_run_keeps_no_more_than_its_window() -> None:
    recent = NO_BODIES
    for at in range(5000):
        recent = recent.remember("n1", str(at), str(at), at, at - 10)
    assert len(recent) == 11
    assert recent.find("n1", "4989", 0) is not None
    assert recent.find("n1", "4988", 0) is None
    held = [len(bodies) for bodies in (recent._bodies, recent._index)]
    assert max(held) < 3000
