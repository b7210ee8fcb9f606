"""The Python client's cache: only what is later is applied, and what may be out of date is marked."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ledger.client.cache import Cache
from ledger.client.values import AsOf, Disconnected, Gone, Heartbeat, Presence, Ready, Resumed, Said, Status

START = datetime(2026, 11, 23, tzinfo=UTC)


def as_of(position: int, seconds: float = 0, epoch: str | None = "first") -> AsOf:
    return AsOf(position, START + timedelta(seconds=seconds), epoch)


def presence(uid: str, status: Status, position: int, seconds: float = 0, epoch: str | None = "first") -> Presence:
    return Presence(uid=uid, status=status, as_of=as_of(position, seconds, epoch))


def resumed(epoch: str = "first", *, recovered: bool = False) -> Resumed:
    return Resumed(recovered, None if recovered else "fresh", as_of(0, epoch=epoch))


def live(*presences: Presence) -> Cache:
    cache = Cache()
    told: list[Said] = [resumed(), *presences, Ready(as_of(10))]
    for said in told:
        cache.apply(said)
    return cache


def status(cache: Cache, uid: str) -> tuple[str, bool] | None:
    known = cache.get(uid)
    return None if known is None else (known.status, known.stale)


def test_what_is_known_is_right_once_all_is_told() -> None:
    cache = Cache()
    cache.apply(resumed())
    assert cache.apply(presence("ann", "online", 4))
    assert (status(cache, "ann"), cache.is_right("ann")) == (("online", True), False)
    cache.apply(Ready(as_of(4)))
    assert (status(cache, "ann"), cache.is_right("ann")) == (("online", False), True)
    assert (cache.get("ben"), cache.is_right("ben")) == (None, False)


def test_only_what_is_later_is_applied() -> None:
    cache = live(presence("ann", "online", 7, seconds=2))
    for position, seconds in [(6, 9), (7, 1), (7, 2)]:
        assert not cache.apply(presence("ann", "offline", position, seconds))
    # The same position at a later instant: a grace period has ended.
    assert cache.apply(presence("ann", "offline", 7, seconds=3))
    assert status(cache, "ann") == ("offline", False)


def test_another_epoch_takes_the_place_of_what_was_later() -> None:
    cache = live(presence("ann", "online", 700), presence("ben", "online", 3))
    cache.apply(Disconnected(None, 1.0))
    assert [each.stale for each in cache.presences] == [True, True]
    cache.apply(resumed("second"))
    assert cache.apply(presence("ann", "offline", 5, epoch="second"))
    assert status(cache, "ben") == ("online", True)
    cache.apply(Ready(as_of(5, epoch="second")))
    # Of the other one nothing was told: the list that is followed has them no more.
    assert [each.uid for each in cache.presences] == ["ann"]


def test_what_was_recovered_is_applied_over_what_is_known() -> None:
    cache = live(presence("ann", "online", 7), presence("ben", "online", 7))
    cache.apply(Disconnected(None, 1.0))
    cache.apply(resumed(recovered=True))
    cache.apply(presence("ann", "offline", 9))
    cache.apply(Ready(as_of(9)))
    assert [status(cache, uid) for uid in ("ann", "ben")] == [("offline", False), ("online", False)]


def test_an_answer_fills_what_is_missing_and_nothing_else() -> None:
    cache = live(presence("ann", "online", 7))
    answers = [presence("ann", "offline", 9, epoch=None), presence("ben", "online", 9, epoch=None)]
    assert [each.uid for each in cache.fill(answers)] == ["ben"]
    assert status(cache, "ann") == ("online", False)
    # The stream that goes on from before the answer tells of older things, too.
    assert not cache.apply(presence("ben", "offline", 8))
    assert cache.apply(presence("ben", "offline", 10))


def test_who_is_gone_is_forgotten() -> None:
    cache = live(presence("ann", "online", 7), presence("ben", "online", 7))
    assert cache.apply(Gone("ann"))
    assert not cache.apply(Gone("ann"))
    cache.forget(["ben", "nobody"])
    assert (cache.presences, cache.unknown_of(["ann", "ben"])) == ([], ["ann", "ben"])
    assert not cache.apply(Heartbeat(as_of(11)))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 20)), max_size=40))
def test_whatever_comes_again_the_latest_stays(told: list[tuple[str, int]]) -> None:
    cache = live(*[presence(uid, "online", position) for uid, position in told])
    for uid in "abc":
        positions = [position for each, position in told if each == uid]
        known = cache.get(uid)
        assert (known.as_of.position if known else None) == (max(positions) if positions else None)
