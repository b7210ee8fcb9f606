"""Which commands WuKongIM's clients are sent: as Android, iOS and web read them, they show what GET answers."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.sinks.kind import ToldChange
from ledger.sinks.online_status import Message, messages
from tests.support.told_changes import told
from tests.support.wukongim_clients import Android, Ios, Web


def sent(change: ToldChange, before: bytes | None = None) -> tuple[list[tuple[str, dict[str, Any]]], bytes | None]:
    found, remembered = messages(change, before)
    return [(each.to, param(each)) for each in found], remembered


def param(message: Message) -> dict[str, Any]:
    read = json.loads(message.payload)
    assert (read["cmd"], read["type"]) == ("onlineStatus", 99)
    found: dict[str, Any] = read["param"]
    return {name: value for name, value in found.items() if name in Known}


Known = {"uid", "online", "device_flag", "main_device_flag", "all_offline"}


def test_watchers_are_told_whether_the_user_is_online_and_own_devices_whether_the_device_is() -> None:
    _, before = messages(told("alice", {0: "online"}, 1), None)
    found, _ = sent(told("alice", {0: "online", 1: "online"}, 2, since={0: 1}, status_since=1), before)
    assert found == [("own", {"uid": "alice", "online": 1, "device_flag": 1, "main_device_flag": 0})]

    _, before = messages(told("alice", {0: "online", 1: "online"}, 2, since={0: 1}, status_since=1), before)
    found, before = sent(told("alice", {0: "offline", 1: "online"}, 3, since={1: 2}, status_since=1), before)
    assert found == [
        ("watchers", {"uid": "alice", "online": 1, "device_flag": 0, "main_device_flag": 1}),
        ("own", {"uid": "alice", "online": 0, "device_flag": 0, "main_device_flag": 1}),
    ]
    found, _ = sent(told("alice", {0: "offline", 1: "offline"}, 4, since={0: 3}), before)
    assert found == [
        ("watchers", {"uid": "alice", "online": 0, "device_flag": 1, "main_device_flag": 1, "all_offline": 1})
    ]


def test_a_command_says_as_of_when_it_is() -> None:
    [message], _ = messages(told("alice", {0: "online"}, 7), None)
    more = json.loads(message.payload)["param"]
    assert more["position"] == 7
    assert more["version"] == 7
    assert more["at"].endswith("Z")
    assert more["epoch"] == told("alice", {}, 7).order.epoch


def test_nothing_is_told_while_a_user_is_unknown_then_what_differs() -> None:
    _, online = messages(told("alice", {0: "online"}, 1), None)
    found, before = sent(told("alice", {0: "unknown"}, 2, previous="online"), online)
    assert (found, before) == ([], online)
    found, before = sent(told("alice", {0: "online"}, 3, previous="unknown", since={0: 1}, status_since=1), before)
    assert (found, before) == ([], online)
    found, before = sent(told("alice", {0: "unknown"}, 4, previous="online"), before)
    found, _ = sent(told("alice", {0: "offline"}, 5, previous="unknown"), before)
    assert [each for each, _ in found] == ["watchers"]


def test_who_flickered_is_told_of_once_more() -> None:
    """An app that asked in the middle of it would be left with what it was answered."""
    _, before = messages(told("alice", {0: "online", 1: "online"}, 1), None)
    found, before = sent(told("alice", {0: "online", 1: "online"}, 4, since={0: 1, 1: 3}, status_since=1), before)
    assert [each for each, _ in found] == ["own"]
    found, before = sent(told("alice", {0: "online", 1: "online"}, 7, since={0: 6, 1: 6}, status_since=6), before)
    assert [each for each, _ in found] == ["watchers", "own", "own"]
    _, before = messages(told("alice", {0: "offline", 1: "offline"}, 8), before)
    found, before = sent(told("alice", {0: "offline", 1: "offline"}, 10, since={1: 8}), before)
    assert [each for each, _ in found] == ["watchers"]


def test_of_a_device_that_is_unknown_nothing_is_told_to_the_own_ones() -> None:
    _, before = messages(told("alice", {0: "online", 1: "online"}, 1), None)
    change = told("alice", {0: "online", 1: "unknown"}, 2, since={0: 1}, status_since=1)
    assert sent(change, before) == ([], before)


@pytest.mark.parametrize(
    ("devices", "previous", "recipients"),
    [
        ({0: "online"}, "offline", ["watchers"]),
        ({0: "online"}, None, ["watchers"]),
        ({0: "offline"}, None, ["watchers"]),
        ({0: "offline"}, "offline", ["watchers"]),
        ({0: "offline"}, "unknown", ["watchers"]),
        ({0: "online", 1: "offline"}, "online", ["watchers", "own"]),
        ({None: "online"}, "offline", ["watchers"]),
        ({}, "unknown", ["watchers"]),
    ],
)
def test_of_whom_nothing_is_remembered_more_is_told_rather_than_less(
    devices: dict[int | None, str], previous: str | None, recipients: list[str]
) -> None:
    status = None if devices else "offline"
    found, _ = sent(told("alice", devices, 9, previous=previous, status=status, since={0: 8}))
    assert [each for each, _ in found] == recipients


def test_of_whom_nothing_has_changed_nothing_is_told() -> None:
    change = told("alice", {0: "offline"}, 9, previous="offline", previous_since=5, status_since=5)
    assert sent(change)[0] == []


def test_whoever_was_told_of_by_one_who_was_killed_is_told_of_again() -> None:
    """Of what was sent nothing is remembered; at the checkpoint the user was offline, and is so again."""
    change = told("alice", {0: "online", 1: "offline"}, 9, previous="online", previous_since=5, status_since=5)
    assert [to for to, _ in sent(change)[0]] == ["watchers", "own"]
    change = told("alice", {0: "offline"}, 9, previous="offline", previous_since=5, status_since=8)
    assert [to for to, _ in sent(change)[0]] == ["watchers"]


FLAGS = (0, 1, 2, 5)
States = st.fixed_dictionaries({flag: st.sampled_from(["online", "offline", "unknown"]) for flag in FLAGS})


@given(st.lists(States, min_size=1, max_size=12))
def test_three_readers_show_what_get_answers(history: Sequence[dict[int | None, str]]) -> None:
    android, ios, web = Android("bob"), Ios("bob"), Web("bob")
    before: bytes | None = None
    since: dict[int | None, int] = {}
    shown, last = None, dict[int | None, str]()
    for position, devices in enumerate(history, start=1):
        since |= {flag: position for flag, status in devices.items() if last.get(flag) != status}
        change = told("alice", {**devices}, position, previous="offline" if position == 1 else None, since=since)
        found, before = messages(change, before)
        last = devices
        for message in found:
            if message.to == "watchers":
                for reader in (android, ios, web):
                    reader.read(json.loads(message.payload))
        if change.presence.status == "unknown":
            assert not found
        else:
            shown = change.presence.status == "online"
        if shown is not None and (shown or "alice" in web.online):
            assert android.online["alice"] == ios.online["alice"] == web.online["alice"] == shown
            if shown and "unknown" not in devices.values():
                best = next(flag for flag in (0, 2, 1, 5) if devices[flag] == "online")
                assert android.main["alice"] == ios.main["alice"] == best


@given(st.lists(States, min_size=1, max_size=12))
def test_a_phone_shows_which_other_devices_of_its_user_are_logged_in(history: Sequence[dict[int | None, str]]) -> None:
    android, ios = Android("alice"), Ios("alice")
    before: bytes | None = None
    shown = dict.fromkeys(FLAGS[1:], False)
    since: dict[int | None, int] = {}
    last = dict[int | None, str]()
    alone: dict[int | None, str] = dict.fromkeys(FLAGS[1:], "offline")
    for position, states in enumerate([alone, *history], start=1):
        devices: dict[int | None, str] = states | {0: "online"}
        since |= {flag: position for flag, status in devices.items() if last.get(flag) != status}
        found, before = messages(told("alice", {**devices}, position, since=since), before)
        last = devices
        for message in found:
            if message.to == "own":
                android.read(json.loads(message.payload))
                ios.read(json.loads(message.payload))
        shown |= {flag: devices[flag] == "online" for flag in shown if devices[flag] != "unknown"}
        assert {flag: android.own.get(flag, False) for flag in shown} == shown
        assert ios.own == android.own
