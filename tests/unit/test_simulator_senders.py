"""The webhook senders as state machines: rhythm, batches, retries and the failure count that is never reset."""

import json
from collections.abc import Iterable

from ledger.simulator.plan import TRAITS
from ledger.simulator.sender import PooledSender, Post, SerialSender, encode


def serial() -> SerialSender:
    return SerialSender(TRAITS["v2.2"])


def pooled() -> PooledSender:
    return PooledSender(TRAITS["v3"])


def one(posts: list[Post]) -> Post:
    (post,) = posts
    return post


def fail_or_deliver(sender: SerialSender, t: float, answers: Iterable[bool]) -> list[tuple[float, bytes]]:
    """Let the sender act whenever it wants to, with these answers 10 ms after each POST; returns the POSTs."""
    seen = []
    for delivered in answers:
        wake_at = sender.wake_at()
        assert wake_at is not None
        t = max(t, wake_at)
        post = one(sender.step(t))
        seen.append((round(t, 2), post.body))
        sender.answered(post, t + 0.01, delivered)
    return seen


def test_serial_sends_all_that_is_pending_in_one_body() -> None:
    sender = serial()
    for n in range(3):
        sender.push(0.5, f"u{n}-0-1-{n}-1-1")
    post = one(sender.step(0.5))
    assert json.loads(post.body) == ["u0-0-1-0-1-1", "u1-0-1-1-1-1", "u2-0-1-2-1-1"]
    assert post.attempt == 1


def test_serial_polls_every_two_seconds_when_idle_and_goes_back_to_back_when_busy() -> None:
    sender = serial()
    assert sender.step(0.0) == []
    sender.push(0.1, "a-0-1-1-1-1")
    assert (sender.wake_at(), sender.step(1.9)) == (2.0, [])
    post = one(sender.step(2.0))
    sender.push(2.005, "a-0-0-1-0-0")
    assert sender.step(2.006) == []
    sender.answered(post, 2.01, delivered=True)
    assert sender.wake_at() == 2.01
    assert one(sender.step(2.01)).items == ("a-0-0-1-0-0",)


def test_serial_sends_one_post_at_a_time() -> None:
    sender = serial()
    sender.push(0.0, "a-0-1-1-1-1")
    one(sender.step(0.0))
    sender.push(0.1, "b-0-1-2-1-1")
    assert sender.wake_at() is None
    assert sender.step(9.0) == []


def test_serial_repeats_the_same_bytes_after_a_second_and_drops_the_batch_at_the_fifth_failure() -> None:
    sender = serial()
    sender.push(0.0, "a-0-1-1-1-1")
    sender.push(0.0, "b-0-1-2-1-1")
    seen = fail_or_deliver(sender, 0.0, [False] * 5)
    assert [t for t, _ in seen] == [0.0, 1.01, 2.02, 3.03, 4.04]
    assert len({body for _, body in seen}) == 1
    assert (sender.dropped_batches, sender.dropped_items) == (1, 2)
    assert sender.step(99.0) == []


def test_a_success_does_not_reset_the_failure_count() -> None:
    """As recorded in `retries_then_delivered`: after four failures in all, the next one loses its batch at once."""
    sender = serial()
    for name in ("500", "reset"):
        sender.push(0.0, f"h-{name}-0-1-2-1-1")
        fail_or_deliver(sender, 0.0, [False, False, True])
    assert (sender.failures, sender.dropped_batches) == (4, 0)
    sender.push(10.0, "h-204-0-1-4-1-1")
    fail_or_deliver(sender, 10.0, [False])
    assert (sender.failures, sender.dropped_batches, sender.dropped_items) == (0, 1, 1)
    sender.push(20.0, "h-slow-0-1-5-1-1")
    fail_or_deliver(sender, 20.0, [False, True])
    assert sender.dropped_batches == 1


def test_serial_ignores_an_answer_that_comes_after_it_gave_up() -> None:
    sender = serial()
    sender.push(0.0, "a-0-1-1-1-1")
    post = one(sender.step(0.0))
    sender.answered(post, 10.0, delivered=False)
    again = one(sender.step(11.0))
    sender.answered(post, 11.1, delivered=True)
    assert sender.wake_at() is None
    assert again.body == post.body


def test_a_boot_loses_what_was_pending() -> None:
    sender = serial()
    sender.push(0.0, "a-0-1-1-1-1")
    sender.boot(1.0)
    assert sender.step(1.0) == []


def test_pooled_sends_two_at_once_and_lets_a_lone_item_wait() -> None:
    sender = pooled()
    sender.push(1.0, "a-0-1-1-1-1")
    assert (sender.wake_at(), sender.step(1.0)) == (3.0, [])
    assert one(sender.step(3.0)).items == ("a-0-1-1-1-1",)
    sender.push(4.0, "b-0-1-2-1-1")
    sender.push(4.5, "c-0-1-3-1-1")
    assert sender.wake_at() == 4.0
    assert one(sender.step(4.5)).items == ("b-0-1-2-1-1", "c-0-1-3-1-1")


def test_pooled_flushes_a_lone_item_at_a_stop() -> None:
    sender = pooled()
    sender.push(1.0, "a-0-1-1-1-1")
    sender.flush()
    assert len(sender.step(1.0)) == 1


def test_pooled_takes_512_items_a_post_and_16_posts_at_once() -> None:
    sender = pooled()
    for round_ in range(9):
        for n in range(1024):
            sender.push(float(round_), f"u{n}-0-1-{n}-1-1")
        posts = sender.step(float(round_))
        assert [len(post.items) for post in posts] == ([512, 512] if round_ < 8 else [])
    assert sender.wake_at() is None
    assert sender.dropped_items == 0


def test_pooled_drops_what_does_not_fit_the_queue() -> None:
    sender = pooled()
    for n in range(1100):
        sender.push(0.0, f"u{n}-0-1-{n}-1-1")
    assert sender.dropped_items == 1100 - 1024


def test_pooled_tries_three_times_without_a_pause_and_then_drops() -> None:
    sender = pooled()
    sender.push(0.0, "a-0-1-1-1-1")
    sender.push(0.0, "b-0-1-2-1-1")
    bodies = set()
    for attempt in (1, 2, 3):
        post = one(sender.step(1.0))
        bodies.add(post.body)
        assert post.attempt == attempt
        sender.answered(post, 1.0, delivered=False)
    assert bodies == {encode(["a-0-1-1-1-1", "b-0-1-2-1-1"])}
    assert (sender.step(99.0), sender.dropped_batches, sender.dropped_items) == ([], 1, 2)


def test_pooled_posts_may_be_answered_in_any_order() -> None:
    sender = pooled()
    for name in ("a", "b"):
        sender.push(0.0, f"{name}-0-1-1-1-1")
    first = one(sender.step(0.0))
    for name in ("c", "d"):
        sender.push(0.1, f"{name}-0-1-2-1-1")
    second = one(sender.step(0.1))
    sender.answered(second, 0.2, delivered=True)
    sender.answered(first, 0.3, delivered=True)
    sender.answered(first, 0.4, delivered=False)
    assert (sender.step(9.0), sender.dropped_items) == ([], 0)


def test_bodies_are_written_as_go_writes_them() -> None:
    assert encode(["用户-一-4-1-4-1-1"]) == '["用户-一-4-1-4-1-1"]'.encode()
