"""Explanations over HTTP of a service that lived through duplicates, losses, a restart, silence and a kill."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.support.im_node import ImNode, im_node
from tests.support.service import MAIN, Api, Service, segment, wait_for

POLICY = "[policy]\ntier_normal_seconds = 1\ntier_vip_seconds = 1\ntier_cold_seconds = 1\nconfirm_seconds = 0.2\n"


@pytest.fixture(scope="module")
def node() -> Iterator[ImNode]:
    with im_node(1001) as node:
        yield node


@pytest.fixture(scope="module")
def service_settings(node: ImNode) -> dict[str, Any]:
    return {"tables": f'{MAIN}api_url = "{node.url}"\n{POLICY}'}


def explained(api: Api, uid: str, **query: Any) -> Any:
    return api.get(f"/v1/users/{segment(uid)}/explain", **query)


def codes(explanation: Any) -> list[str]:
    return [statement["code"] for statement in explanation["statements"]]


def shifted(instant: str, seconds: float) -> str:
    moved = datetime.fromisoformat(instant) + timedelta(seconds=seconds)
    return moved.isoformat(timespec="microseconds").replace("+00:00", "Z")


def test_duplicates_are_counted(api: Api, node: ImNode) -> None:
    # A look that finds the connection before the webhook comes makes a correction.
    item = node.connect("twice", tell=api.deliver)
    for _ in range(2):
        api.deliver(item)
    told = explained(api, "twice")
    assert (told["status"], told["cause"]["kind"], told["language"]) == ("online", "webhook", "en")
    [again] = [s for s in told["statements"] if s["code"] == "body_came_again"]
    assert (again["params"]["number"], len(again["positions"])) == (2, 2)
    assert again["text"].startswith("The same body came 2 more times, from ")
    assert "claim_came_again" in codes(told)
    presence = api.presence("twice")
    assert {name: told[name] for name in ("status", "since", "cause", "reason")} == {
        name: presence[name] for name in ("status", "since", "cause", "reason")
    }
    positions = {position for statement in told["statements"] for position in statement["positions"]}
    assert max(positions) <= api.head()


def test_what_was_shown_then_is_told_as_then_and_what_came_later_as_later(api: Api, node: ImNode) -> None:
    node.connect("gone", tell=api.deliver)
    online = api.presence("gone")
    node.close("gone")
    corrected = wait_for(lambda: _offline(api, "gone"), lambda: api.presence("gone"))
    told = explained(api, "gone")
    assert told["cause"] == corrected["cause"]
    assert {"shown_ghost", "poll", "poll_found_nothing", "bounds", "looks", "run"} <= {*codes(told)}
    before = explained(api, "gone", **online["as_of"])
    assert before["status"] == "online"
    assert before["as_of"] == online["as_of"]
    assert "next_change" in codes(before)
    hindsight = explained(api, "gone", at=shifted(corrected["since"], -0.0001), known_at=told["as_of"]["at"])
    assert "with_hindsight" in codes(hindsight)


def _offline(api: Api, uid: str) -> Any:
    presence = api.presence(uid)
    return presence if presence["status"] == "offline" else None


def test_a_late_offline_is_told_of(api: Api) -> None:
    api.deliver("late-0-0-9-0-0")
    told = explained(api, "late")
    assert codes(told)[0] == "shown_first_heard_offline"
    assert "rule_offline_of_unknown" in codes(told)


def test_somebody_never_observed(api: Api) -> None:
    for uid in ("nobody at all", "\0", "用户/?#"):
        told = explained(api, uid)
        assert (told["status"], told["reason"], told["confidence"]) == ("unknown", "never_observed", "unknown")
    assert "would have to name them" in str(explained(api, "nobody at all")["statements"])
    early = explained(api, "twice", at="2001-01-01T00:00:00Z")
    assert (early["reason"], early["as_of"]["position"]) == ("never_observed", 0)


def page(api: Api, uid: str, accept: str = "text/plain", language: str | None = None, **query: Any) -> httpx2.Response:
    headers = {"Accept": accept} | ({} if language is None else {"Accept-Language": language})
    return api.http.get(f"/v1/users/{segment(uid)}/explain", headers=headers, params=query)


def test_a_page_for_people_in_their_language(api: Api) -> None:
    api.deliver("reader-0-1-41-1-1")
    english = page(api, "reader")
    assert english.headers["content-type"].startswith("text/plain")
    assert english.headers["content-language"] == "en"
    assert english.headers["vary"] == "Accept, Accept-Language"
    assert english.text.startswith("reader was shown online at ")
    chinese = page(api, "reader", language="zh-CN,zh;q=0.9,en;q=0.1")
    assert (chinese.headers["content-language"], "reader 显示为在线" in chinese.text) == ("zh", True)
    assert page(api, "reader", language="zh", lang="en").headers["content-language"] == "en"
    as_json = page(api, "reader", accept="application/json", lang="zh")
    assert as_json.json()["language"] == "zh"
    assert page(api, "reader", lang="zh-CN").headers["content-language"] == "zh"
    assert "显示为在线" in as_json.json()["statements"][0]["text"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"at": "yesterday"}, "at"),
        ({"at": "1764000000"}, "at"),
        ({"at": "2999-01-01T00:00:00Z"}, "at"),
        ({"at": "2026-01-02T00:00:00Z", "known_at": "2026-01-01T00:00:00Z"}, "known_at"),
        ({"at": "2026-01-02T00:00:00Z", "known_at": "2999-01-01T00:00:00Z"}, "known_at"),
        ({"at": "2026-01-02T00:00:00Z", "position": "1000000000"}, "position"),
        ({"at": "2026-01-02T00:00:00Z", "position": "1", "known_at": "2026-01-03T00:00:00Z"}, "position"),
        ({"position": "1"}, "position"),
        ({"lang": "fr"}, "lang"),
        ({"language": "zh"}, "language"),
    ],
)
def test_what_has_no_answer_names_the_field(api: Api, query: dict[str, str], field: str) -> None:
    answer = api.http.get("/v1/users/u/explain", params=query)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_kill_and_a_silence_are_told_as_what_nobody_could_know(service: Service, api: Api, node: ImNode) -> None:
    """The last of the module: it kills the service, and starts it with nobody to ask."""
    node.connect("during", tell=api.deliver)
    service.kill()
    service.reconfigure(tables=f"{MAIN}[policy]\ndark_seconds = 1\n")
    service.start()
    with Api(service) as again:
        events = again.ledger()
        start = [number for number, event in enumerate(events) if event["kind"] == "service_started"][-1]
        meanwhile = shifted(events[start - 1]["recorded_at"], 0.05)
        assert "killed_then" in codes(explained(again, "during", at=meanwhile))
        wait_for(lambda: again.presence("during")["reason"] == "source_dark", lambda: again.presence("during"))
        dark = explained(again, "during")
        assert (codes(dark)[0], dark["confidence"], dark["reason"]) == ("shown_source_dark", "unknown", "source_dark")
        assert "killed_between" in codes(dark)
        lit = wait_for(lambda: _lit(again, node, "during"), lambda: again.presence("during"))
        assert "killed_between" not in codes(explained(again, "during", **lit["as_of"]))
        assert "doubt_ended" in codes(explained(again, "during", **dark["as_of"]))
        assert lit["reason"] is None
        assert "next_dark" in codes(explained(again, "during", at=meanwhile))
        again.wait_for_projections()
        told = service.command("timeline", "during").stdout
        assert "online -> unknown  in doubt: main was silent until" in told
        assert "unknown -> online  no longer in doubt: main, for a webhook came" in told


def _lit(api: Api, node: ImNode, uid: str) -> Any:
    """Their presence once a webhook has come; another one where it is dark again by then, on a busy machine."""
    node.connect(uid, 1, tell=api.deliver)
    presence = api.presence(uid)
    return presence if presence["status"] == "online" else None
