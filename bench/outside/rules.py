"""The rules: counts, deliveries that come again, tiers, the grace period, and what one body costs others."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import psutil

from bench.outside._cases import Chapter, Trial
from bench.outside._product import until
from bench.outside._rules import VIP_SECONDS, Rules, new_uid, service

CHAPTER = Chapter()

MOST_UNNAMED = 64
JUNK_ELEMENTS = 1_048_576
"""Of four bytes each, with their commas."""


def online_since(rules: Rules, uid: str) -> Any:
    """Since when the user is shown online; None while not."""
    found = rules.presence(uid)
    return found["since"] if found["status"] == "online" else None


@CHAPTER.case("2a", "a million sessions claimed 3,000 times: 64 are believed, the rest is a fact on the event")
def a_count_is_believed_up_to_a_bound(_: Trial) -> str:
    rules, uid = service(), new_uid()
    items = [f"{uid}-0-1-1-1000000-1000000"] * 3000
    items += [f"{uid}-0-1-{number}-1000000-1000000" for number in range(2, 1000)]
    with ThreadPoolExecutor(2) as threads:
        large = threads.submit(rules.post, *items)
        threads.submit(rules.post, f"{new_uid()}-0-1-1-0-0", node="n2").result()
        large.result()
    sessions = sum(device["sessions"] for device in rules.presence(uid)["devices"])
    event = rules.events(uid)[-1]
    assert sessions == 999 + MOST_UNNAMED, f"{sessions:,} sessions"
    assert event["unbelieved"] == 1_000_000 + 1 - sessions, f"unbelieved: {event['unbelieved']:,}"
    return f"{sessions:,} sessions, {event['unbelieved']:,} more are not believed; another node was answered alongside"


@CHAPTER.case("2a", "20,000 connections of one user cost about n: four times 5,000, not sixteen times", in_short=False)
def many_connections_cost_about_n(_: Trial) -> str:
    rules = service()

    def seconds(number: int) -> float:
        """Of the processor, which others use as well."""
        uid, before = new_uid(), _processor_seconds(rules)
        opened = [f"{uid}-0-1-{each}-{each - 1}-{each - 1}" for each in range(1, number + 1)]
        closed = [f"{uid}-0-0-{each}-{number - each}-{number - each}" for each in range(1, number + 1)]
        rules.post(*opened)
        rules.post(*closed)
        return _processor_seconds(rules) - before

    seconds(1000)
    few, many = min(seconds(5_000) for _ in range(3)), min(seconds(20_000) for _ in range(3))
    assert many < 8 * few, f"20,000 take {many / few:.1f} times what 5,000 take"
    return f"20,000 take {many / few:.1f} times what 5,000 take"


def _processor_seconds(rules: Rules) -> float:
    used = psutil.Process(rules.pid).cpu_times()
    return used.user + used.system


@CHAPTER.case("2b", "the same bytes after others of their sender are heard: two connections gone, shown offline")
def the_same_bytes_again_are_heard(_: Trial) -> str:
    rules, uid = service(), new_uid()
    for pause, items in (
        (0.0, [f"{uid}-1-1-1-0-0"]),
        (0.0, [f"{uid}-1-0-1-0-0"]),
        (3.0, [f"{uid}-1-1-1-0-0"]),
        (0.0, [f"{uid}-1-1-1-1-1", f"{uid}-1-0-1-1-1"]),
        (0.0, [f"{uid}-1-0-1-0-0"]),
    ):
        time.sleep(pause)
        rules.post(*items, node="n2")
    last = rules.events(uid)[-1]
    found = (last["status_after"], last["repeated"], last["suspect"] is not None)
    assert found == ("offline", False, True), f"(status, repeated, suspect): {found}"
    return "offline, and looked at at once"


@CHAPTER.case("2b", "a POST that is sent again at once changes nothing, and is marked as repeated")
def a_post_sent_again_changes_nothing(_: Trial) -> str:
    rules, uid = service(), new_uid()
    batch = [f"{uid}-0-1-1-0-0", f"{uid}-0-0-1-0-0", f"{uid}-0-1-2-0-0"]
    for _try in range(4):
        rules.post(*batch)
    events = rules.events(uid)
    again = {(event["verdict"], event["repeated"], event["status_after"]) for event in events[3:]}
    assert again == {("duplicate", True, "online")}, f"{again}"
    return f"{len(events) - 3} items of three repetitions: duplicates, online all the time"


@CHAPTER.case("2c", "a vip set by API stays one, whatever webhooks say in the same page and later")
def a_tier_is_not_forgotten(_: Trial) -> str:
    rules, uid = service(), new_uid()
    rules.node.connect(uid)
    rules.post(f"{uid}-0-1-1-1-1", source="asked")
    rules.client.put(f"/v1/users/{uid}/tier", json={"tier": "vip"}).raise_for_status()
    rules.post(f"{uid}-0-1-1-1-1", source="asked")
    for number in range(2, 5):
        looks = rules.node.asked_about.count(uid) + 2
        until(partial(_was_asked, rules, uid, looks), "a vip is looked at twice")
        rules.post(f"{uid}-0-1-{number}-{number}-{number}", source="asked")
    return f"looked at {rules.node.asked_about.count(uid)} times, {VIP_SECONDS:g} s apart at most"


def _was_asked(rules: Rules, uid: str, times: int) -> bool:
    return rules.node.asked_about.count(uid) >= times


@CHAPTER.case("2d", "onlines in any order within a burst raise no suspicion of a restart")
def a_burst_is_no_restart(_: Trial) -> str:
    rules, uids = service(), [new_uid() for _ in range(20)]
    before = rules.head()
    for number, uid in reversed(list(enumerate(uids, 1))):
        rules.post(f"{uid}-0-1-{number}-0-0")
    said = {name for event in rules.ledger(before) for name in event if "restart" in name}
    told = [rules.get(f"/v1/users/{uid}/explain") for uid in uids]
    codes = {statement["code"] for each in told for statement in each["statements"]}
    assert not said, f"{said}"
    assert not {code for code in codes if "restart" in code}, f"{codes}"
    return f"{len(uids)} deliveries, and none is said to hint at a restart"


@CHAPTER.case("2e", "online again within the grace period keeps its since, by a webhook as by a look")
def grace_is_one_rule(_: Trial) -> str:
    rules, heard, found = service(), new_uid(), new_uid()
    rules.post(f"{heard}-0-1-1-1-1", f"{found}-0-1-2-1-1", source="asked")
    since = {uid: online_since(rules, uid) for uid in (heard, found)}
    rules.post(f"{heard}-0-0-1-0-0", f"{found}-0-0-2-0-0", source="asked")
    rules.node.connect(found)
    rules.post(f"{heard}-0-1-3-1-1", source="asked")
    rules.client.post("/v1/sources/asked/reconcile", json={"uids": [found]}).raise_for_status()
    until(lambda: rules.events(found)[-1]["kind"] == "corrected", "a look has found them")
    assert all(since.values()), "not online to begin with"
    for uid in (heard, found):
        assert online_since(rules, uid) == since[uid], f"online since {online_since(rules, uid)}, not {since[uid]}"
    return "both are online since they first came"


@CHAPTER.case("2f", "v2.1: the same online in another body takes no live connection away")
def the_same_online_withdraws_nobody(_: Trial) -> str:
    rules, uid = service(), new_uid()
    rules.post(f"{uid}-0-1-8-1-1")
    rules.post(f"{uid}-0-1-8-1-1", f"{new_uid()}-0-1-9-0-0")
    sessions = rules.presence(uid)["devices"][0]["sessions"]
    assert sessions == 2, f"{sessions} of 2 sessions are left"
    return "both of its sessions are left"


@CHAPTER.case("9e", "every byte of very many junk items is kept, and counted")
def junk_is_kept(trial: Trial) -> str:
    rules, number, before = service(), trial.pick(200_000, 5_000), service().head()
    rules.post(*(f"junk {each}" for each in range(number)), "and one of more than " + "a few " * 60)
    events = list(rules.ledger(before))
    (delivery,) = [event for event in events if event["kind"] == "delivery_received"]
    rejected = [event for event in events if event["kind"] == "item_rejected"]
    kept = [json.loads(raw) for event in rejected for raw in (event["raw"], *event["following"])]
    assert kept[:number] == [f"junk {each}" for each in range(number)], "not what was sent"
    assert (len(kept), delivery["rejected"]) == (number + 1, number + 1), f"{len(kept):,} kept"
    shown = list(_items_of(rules, delivery["delivery"]))
    assert [event["position"] for event in shown] == [event["position"] for event in rejected], "the delivery differs"
    return f"{number:,} elements in {len(rejected):,} events, which the delivery shows, too"


def _items_of(rules: Rules, delivery: str) -> Iterator[Any]:
    params: dict[str, str | int] = {"limit": 1000}
    while True:
        page = rules.get(f"/v1/deliveries/{delivery}", **params)
        yield from page["items"]
        if page["next"] is None:
            return
        params["after"] = page["next"]


@CHAPTER.case("9e", "between two large bodies of one node, another node's delivery has its turn")
def others_have_their_turn(trial: Trial) -> str:
    rules, before, uid = service(), service().head(), new_uid()
    items = trial.pick(60_000, 20_000)
    large = [_claims(items, f"turn{number}-") for number in range(3)]
    with ThreadPoolExecutor(4) as threads:
        posted = [threads.submit(rules.post_body, body) for body in large]
        until(lambda: rules.head() > before or any(each.done() for each in posted), "the first is under way")
        threads.submit(rules.post, f"{uid}-0-1-1-0-0", node="n2").result()
        for each in posted:
            each.result()
    events = [event for event in rules.ledger(before) if event["kind"] == "delivery_received"]
    nodes = [event["node"] for event in events]
    assert nodes.index("n2") < len(nodes) - 1, f"taken in this order: {nodes}"
    return f"taken in this order: {', '.join(nodes)}"


@CHAPTER.case("9e", "while a node posts 4 MiB of junk, again and again, each delivery of another is answered 200")
def junk_keeps_nobody_waiting(trial: Trial) -> str:
    rules, before, elements = service(), service().head(), trial.pick(JUNK_ELEMENTS, 65_536)
    bodies = [b'["%d",' % each + _junk(elements)[1:] for each in range(3)]
    waits = []
    with ThreadPoolExecutor(1) as threads:
        posted = threads.submit(lambda: [rules.post_body(body) for body in bodies])
        while not posted.done():
            # Raises where it is not answered 200.
            waits.append(rules.post(f"{new_uid()}-0-1-1-0-0", node="n2"))
        posted.result()
    nodes = [event["node"] for event in rules.ledger(before) if event["kind"] == "delivery_received"]
    assert (nodes.count("n1"), nodes.count("n2")) == (len(bodies), len(waits)), f"taken in this order: {nodes}"
    return (
        f"{len(bodies)} bodies of {elements:,} elements; another node posted {len(waits)} times and waited "
        f"{max(waits):.1f} s at most"
    )


@CHAPTER.case("9e", "a body of junk takes no longer than one of claims of its size", in_short=False)
def junk_costs_no_more_than_claims(_: Trial) -> str:
    rules = service()
    size = 4 * JUNK_ELEMENTS
    junk = _junk(JUNK_ELEMENTS)
    claims = _claims(size // 24, "c")
    rules.post_body(_claims(1000, "d"))
    began = _processor_seconds(rules)
    rules.post_body(claims)
    between = _processor_seconds(rules)
    by_claims = (between - began) * len(junk) / len(claims)
    with ThreadPoolExecutor(1) as threads:
        posted = threads.submit(rules.post_body, junk)
        waiting = rules.post(f"{new_uid()}-0-1-1-0-0", node="n2")
        posted.result()
    by_junk = _processor_seconds(rules) - between
    assert by_junk < by_claims, f"junk takes {by_junk / by_claims:.1f} times what claims take"
    return f"junk takes {by_junk / by_claims:.2f} times what claims take; another node waited {waiting:.1f} s meanwhile"


def _junk(elements: int) -> bytes:
    return b"[" + b",".join([b'"a"'] * elements) + b"]"


def _claims(number: int, prefix: str) -> bytes:
    return json.dumps([f"{prefix}{each}-0-1-{each}-0-0" for each in range(number)]).encode()
