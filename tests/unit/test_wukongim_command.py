"""The command `onlineStatus`: its payload, the request that sends it, and which answers say that it was not taken."""

import base64
import json

import pytest

from ledger.domain.profile import Profile
from ledger.sources.wukongim.command import (
    MAX_SUBSCRIBERS,
    Command,
    CommandRefused,
    chunks,
    main_device,
    payload,
    refusal,
    request,
)


def test_a_user_who_is_online_has_no_all_offline() -> None:
    message = json.loads(payload(Command("alice", True, 1, 0, False), {"position": 7}))
    assert message == {
        "cmd": "onlineStatus",
        "type": 99,
        "param": {"uid": "alice", "online": 1, "device_flag": 1, "main_device_flag": 0, "position": 7},
    }


def test_of_a_user_who_is_offline_both_kinds_of_client_are_told() -> None:
    text = payload(Command("alice", False, 1, 1, True), {})
    assert json.loads(text)["param"] == {
        "uid": "alice",
        "online": 0,
        "device_flag": 1,
        "main_device_flag": 1,
        "all_offline": 1,
    }
    assert b"true" not in text
    assert b"false" not in text


@pytest.mark.parametrize(
    ("flags", "main"),
    [((1, 0, 2), 0), ((1, 2), 2), ((1,), 1), ((5, 1), 1), ((99, 5, 4), 4), ((), None)],
)
def test_the_best_device_is_the_app_then_the_desktop_then_the_web(flags: tuple[int, ...], main: int | None) -> None:
    assert main_device(flags) == main


@pytest.mark.parametrize(
    ("profile", "given", "sent"),
    [
        (Profile.V1, "", ""),
        (Profile.V2_2, "", ""),
        (Profile.V3, "", "____system"),
        (Profile.V3, "robot", "robot"),
        (Profile.V2_1, "robot", "robot"),
    ],
)
def test_v3_is_told_who_sends(profile: Profile, given: str, sent: str) -> None:
    assert json.loads(request(b"{}", ["bob"], given, profile)) == {
        "header": {"no_persist": 1, "red_dot": 0, "sync_once": 1},
        "from_uid": sent,
        "channel_id": "",
        "channel_type": 0,
        "subscribers": ["bob"],
        "payload": base64.b64encode(b"{}").decode(),
    }


def test_a_command_has_so_many_subscribers_at_most() -> None:
    uids = [f"u{number:04}" for number in range(2 * MAX_SUBSCRIBERS + 1)]
    parts = list(chunks(reversed(uids)))
    assert [len(part) for part in parts] == [MAX_SUBSCRIBERS, MAX_SUBSCRIBERS, 1]
    assert [uid for part in parts for uid in part] == uids
    assert list(chunks([])) == []


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (200, b'{"status":200}', None),
        (200, b'{"data":{"message_id":7,"message_seq":0,"client_msg_no":"x"},"status":200}', None),
        (200, b'{"message_id":7,"message_seq":0,"client_msg_no":"x"}', None),
        (200, b'{"message_id":7,"message_seq":0,"reason":1}', None),
        (200, b'{"message_id":0,"message_seq":0,"reason":15}', CommandRefused("reason 15", may_pass=False)),
        (200, b'{"status":400,"msg":"no"}', CommandRefused("status 400", may_pass=False)),
        (200, b"<html>", CommandRefused("an answer that is not WuKongIM's", may_pass=True)),
        (200, b"", CommandRefused("an answer that is not WuKongIM's", may_pass=True)),
        (400, b'{"msg":"no such thing","status":400}', CommandRefused("400: no such thing", may_pass=False)),
        (400, b'{"error":"invalid request"}', CommandRefused("400: invalid request", may_pass=False)),
        (401, b"", CommandRefused("401: the token is refused", may_pass=False)),
        (503, b'{"error":"retry required"}', CommandRefused("503: retry required", may_pass=True)),
        (502, b"<html>", CommandRefused("502", may_pass=True)),
    ],
)
def test_what_was_not_taken_is_known_by_its_answer(status: int, body: bytes, refused: CommandRefused | None) -> None:
    assert refusal(status, body) == refused
