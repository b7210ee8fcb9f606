"""Recordings read and replayed: which webhooks count, until when, with which policy, and what a broken line gets."""

import io
import json
from typing import Any

import pytest

from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.sources.wukongim.recording import RecordingError, read_header, read_lines, read_texts
from tests.support.lines import META, poll, replayed, webhook

CAME_AND_WENT = (webhook(1.25, "u-0-1-1-1-1"), webhook(3.5, "u-0-0-1-0-0"))


def test_the_outcome_as_it_is_printed() -> None:
    assert replayed(*CAME_AND_WENT, webhook(4, "v-0-1-2-1-1", "x")).as_dict() == {
        "users": {
            "u": {"status": "offline", "transitions": [(1.25, "online"), (3.5, "offline")], "events": 2},
            "v": {"status": "online", "transitions": [(4.0, "online")], "events": 1},
        },
        "verdicts": {"closed": 1, "opened": 2},
        "corrections": 0,
        "rejected": 1,
        "looks": 0,
        "events": 3,
    }


def test_swept_and_implied_are_counted_by_session() -> None:
    result = replayed(webhook(1, "u-0-1-5-2-4"), webhook(9, "u-0-0-5-0-0"))
    assert result.verdicts == {"opened": 1, "implied": 3, "closed": 1, "swept": 3}


def test_a_body_that_is_no_array_is_rejected_and_no_delivery() -> None:
    result = replayed(webhook(1) | {"body": "{}"}, webhook(2, "u-0-1-1-1-1"))
    assert (result.rejected, result.deliveries, result.events) == (1, 1, 1)


def test_a_recorded_byte_that_is_no_utf8_is_one_again() -> None:
    assert replayed(webhook(1) | {"body": '["u\udcff-0-1-1-1-1"]'}).rejected == 1


@pytest.mark.parametrize("lost", [{"answer": "500"}, {"answer": None}, {"event": "msg.notify"}, {"kind": "action"}])
def test_what_did_not_reach_us_or_is_no_presence_counts_as_lost(lost: dict[str, Any]) -> None:
    assert replayed(webhook(1, "u-0-1-1-1-1", **lost)).as_dict()["users"] == {}


def test_as_received_the_retries_show_as_repeated() -> None:
    cut = webhook(1, "u-0-1-1-1-1", answer="timeout")
    retried = webhook(2, "u-0-1-1-1-1")
    result = replayed(cut, retried, all_deliveries=True)
    assert (result.deliveries, result.repeated, dict(result.verdicts)) == (2, 1, {"opened": 1, "duplicate": 1})
    assert replayed(cut, retried).deliveries == 1


@pytest.mark.parametrize(
    ("until", "status"), [(0, None), (1.249, None), (1.25, "online"), (3.4, "online"), (4, "offline")]
)
def test_until_an_instant(until: float, status: str | None) -> None:
    story = replayed(*CAME_AND_WENT, until=until).users.get("u")
    assert (story.status if story else None) == status


def test_grace_shows_an_offline_later() -> None:
    result = replayed(*CAME_AND_WENT, {"kind": "action", "t": 20.0}, policy=Policy(grace_seconds=5))
    assert result.users["u"].transitions == [(1.25, "online"), (8.5, "offline")]


def test_grace_hides_an_offline_that_does_not_last() -> None:
    again = webhook(5.0, "u-0-1-2-1-1")
    result = replayed(*CAME_AND_WENT, again, {"kind": "action", "t": 60.0}, policy=Policy(grace_seconds=5))
    assert result.users["u"].transitions == [(1.25, "online")]


def test_grace_that_is_not_over_at_the_end_shows_online() -> None:
    assert replayed(*CAME_AND_WENT, policy=Policy(grace_seconds=5)).users["u"].status == "online"


def test_several_graces_end_in_their_order() -> None:
    lines = [webhook(1, "u-0-1-1-1-1", "v-0-1-2-1-1"), webhook(2, "v-0-0-2-0-0"), webhook(3, "u-0-0-1-0-0")]
    users = replayed(*lines, {"kind": "meta", "t": 30}, policy=Policy(grace_seconds=5)).users
    assert [users[uid].transitions[-1] for uid in ("v", "u")] == [(7.0, "offline"), (8.0, "offline")]


@pytest.mark.parametrize(
    ("server", "profile"),
    [("v12", Profile.V1), ("v21", Profile.V2_1), ("v22", Profile.V2_2), ("v3", Profile.V3), ("v2.1", Profile.V2_1)],
)
def test_the_header_names_the_profile(server: str, profile: Profile) -> None:
    assert read_header(json.dumps({"kind": "meta", "server": server})) == (profile, 0)


def test_the_header_tells_when_it_began() -> None:
    assert read_header(json.dumps(META)).started_at == 1_800_000_000_500_000


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("", "line 1: not JSON"),
        ("{", "line 1: not JSON"),
        ("[]", "line 1: not a JSON object with a 'kind'"),
        ('{"kind":"webhook"}', "line 1: a recording begins with a line of kind 'meta'"),
        ('{"kind":"meta"}', "line 1: a recording begins with a line of kind 'meta' that names its 'server'"),
        ('{"kind":"meta","server":"v9"}', r"line 1: unknown server 'v9'; known are v1, v12, "),
        ('{"kind":"meta","server":"v3","started_at":"now"}', "line 1: 'started_at' is not a Unix time"),
        ('{"kind":"meta","server":"v3","started_at":-1}', "line 1: 'started_at' is not a Unix time"),
        ('{"kind":"meta","server":"v3","started_at":NaN}', "line 1: 'started_at' is not a Unix time"),
        ('{"kind":"meta","server":"v3","started_at":' + "9" * 5000 + "}", "line 1: a number with too many digits"),
    ],
)
def test_a_file_that_is_no_recording(first: str, message: str) -> None:
    with pytest.raises(RecordingError, match=f"^{message}"):
        read_header(first)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x", "line 4: not JSON"),
        ("[" * 200_000, "line 4: nested too deeply"),
        ("3", "line 4: not a JSON object with a 'kind'"),
        ('{"kind":1}', "line 4: not a JSON object with a 'kind'"),
        ('{"kind":"poll","t":"1"}', "line 4: 't' is not a number of seconds"),
        ('{"kind":"poll","t":true}', "line 4: 't' is not a number of seconds"),
        ('{"kind":"poll","t":-1}', "line 4: 't' is not a number of seconds"),
        ('{"kind":"poll","t":NaN}', "line 4: 't' is not a number of seconds"),
        ('{"kind":"poll","t":1e400}', "line 4: 't' is not a number of seconds"),
        (json.dumps(webhook(1) | {"node": None}), "line 4: 'node' is missing or not a string"),
        (json.dumps(webhook(1) | {"body": []}), "line 4: 'body' is missing or not a string"),
        ('{"kind":"poll","t":' + "9" * 5000 + "}", "line 4: a number with too many digits"),
        (json.dumps(poll(1, {}) | {"route": None}), "line 4: 'route' is missing or not a string"),
        (json.dumps(poll(1, {}) | {"node": 1}), "line 4: 'node' is missing or not a string"),
        (json.dumps(poll(1, {}) | {"body": None}), "line 4: 'body' is missing or not a string"),
        (json.dumps(poll(1, {}) | {"error": 7}), "line 4: 'error' is not a string"),
        (json.dumps(poll(1, {}) | {"status": "200"}), "line 4: 'status' is not a whole number"),
        (json.dumps(poll(1, {}) | {"status": True}), "line 4: 'status' is not a whole number"),
    ],
    ids=lambda text: text[:40],
)
def test_a_broken_line_is_named(line: str, message: str) -> None:
    header = read_header(json.dumps(META))
    lines = [json.dumps(webhook(1, "u-0-1-1-1-1")), " \n", line]
    with pytest.raises(RecordingError, match=f"^{message}"):
        list(read_lines(lines, header, None, all_deliveries=False, polls=True))


@pytest.mark.parametrize("number", [1, 2])
def test_a_line_without_end_is_named(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.lines.MAX_LINE_BYTES", 1000)
    texts = read_texts(io.BytesIO(b"{}\n" * (number - 1) + b"x" * 2000))
    with pytest.raises(RecordingError, match=f"^line {number} is longer than"):
        list(texts)


def test_an_empty_file_is_no_recording() -> None:
    with pytest.raises(RecordingError, match="the file is empty"):
        read_header(next(read_texts(io.BytesIO()), None))


def test_a_body_with_a_lone_surrogate_of_its_own_is_named_too() -> None:
    with pytest.raises(RecordingError, match=r"^line 2: 'body' contains a lone surrogate"):
        replayed(webhook(1) | {"body": '["\ud800"]'})
