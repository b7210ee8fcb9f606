"""Checks how `status` and `history` ask a service and show its answers, against one that answers by script."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from ledger.cli.client import ServiceClient, client, path_segment
from ledger.errors import RequestError, SettingsError
from ledger.settings import Listen
from ledger.settings.load import load
from tests.support.scripted import Asked, ScriptedService

PRESENCE = {
    "uid": "u100",
    "status": "online",
    "since": "2026-11-23T12:00:00.000000Z",
    "devices": [
        {"source": "main", "device_flag": 0, "device": "app", "status": "online", "sessions": 2},
        {"source": "main", "device_flag": 1, "device": "web", "status": "offline", "sessions": 0},
    ],
    "cause": {"kind": "webhook", "at": "2026-11-23T12:00:00.000000Z", "position": 4711},
    "reason": None,
    "verified_at": "2026-11-23T12:00:07.000000Z",
    "as_of": {"at": "2026-11-23T12:00:10.499999Z", "position": 4720},
}
UNKNOWN: dict[str, Any] = {
    "uid": "用户-\x1b[31m",
    "status": "unknown",
    "since": None,
    "devices": [],
    "reason": "never_observed",
}


def event(position: int) -> dict[str, Any]:
    return {
        "position": position,
        "recorded_at": "2026-11-23T12:00:00.000000Z",
        "source": "main",
        "node": "n1",
        "verdict": "opened",
        "rule": "unseen connection",
        "status_before": "offline",
        "status_after": "online",
        "raw": f"u100-0-1-{position}-1-1",
    }


def test_status_shows_who_is_online(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (200, json.dumps({"items": [PRESENCE, UNKNOWN]}))
    result = ask("status", "u100", "用户")
    assert result.exit_code == 0
    assert service.asked[0] == Asked("POST", "/v1/presence/query", "Bearer plk_admin", {"uids": ["u100", "用户"]})
    head, online, unknown = result.stdout.splitlines()
    assert head.split() == ["uid", "status", "since", "(UTC)", "devices", "why", "checked"]
    assert online.split("  ")[0] == "u100"
    assert "main/app x2  webhook at position 4711  3 s ago" in online
    assert "main/web" not in online
    assert unknown.startswith("用户-\\x1b[31m  unknown  -")
    assert [cell.strip() for cell in unknown.split("  ") if cell][-2:] == ["never_observed", "-"]


def test_status_says_where_it_is_from_memory(service: ScriptedService, ask: Callable[..., Result]) -> None:
    stale = {"stale_since": "2026-11-23T12:00:09.000000Z"}
    items = [PRESENCE | stale, UNKNOWN | stale | {"reason": "store_unavailable"}]
    service.answer = lambda asked: (200, json.dumps({"items": items}))
    result = ask("status", "u100", "用户")
    assert result.exit_code == 0
    assert "PostgreSQL is away: this is what was known at 2026-11-23 12:00:09.000, and nothing since" in result.stderr
    assert "store_unavailable" in result.stdout
    assert "数据库不可用" in ask("status", "u100", "--lang", "zh").stdout


def test_status_as_json_is_what_the_service_said(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (200, json.dumps({"items": [PRESENCE, UNKNOWN]}))
    assert json.loads(ask("status", "u100", "用户", "--json").stdout) == {"items": [PRESENCE, UNKNOWN]}


def test_more_users_than_one_query_takes_are_asked_about_in_several(
    service: ScriptedService, ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.cli.queries.UIDS_A_QUERY", 2)
    service.answer = lambda asked: (200, json.dumps({"items": [{**UNKNOWN, "uid": uid} for uid in asked.body["uids"]]}))
    told = json.loads(ask("status", "a", "b", "c", "--json").stdout)
    assert [presence["uid"] for presence in told["items"]] == ["a", "b", "c"]
    assert [asked.body["uids"] for asked in service.asked] == [["a", "b"], ["c"]]


def test_history_shows_the_latest_events_oldest_first(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (200, json.dumps({"items": [event(9), event(7)], "next": None}))
    result = ask("history", "a/b c", "--limit", "2")
    assert [asked.target for asked in service.asked] == ["/v1/users/a%2Fb%20c/events?order=desc&limit=2"]
    rows = result.stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["7", "9"]
    assert "main/n1  opened   unseen connection  offline -> online  u100-0-1-7-1-1" in rows[0]
    assert [each["position"] for each in json.loads(ask("history", "u", "--json").stdout)["items"]] == [7, 9]


SESSION = {"node": None, "device_flag": 0, "conn_id": 5}
CORRECTED = {
    "kind": "corrected",
    "verdict": "corrected",
    "rule": "poll_ghost",
    "drift": "ghost",
    "opened": [],
    "closed": [SESSION, SESSION],
    "located": [],
    "attributed_to": "upstream_defect",
    "agreed_at": "2026-11-23T11:59:00.000000Z",
    "disagreed_at": "2026-11-23T12:00:00.000000Z",
    "poll": "p-1",
    "run": "r-1",
}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            CORRECTED,
            (
                "ghost, 2 sessions closed, because of: upstream defect, "
                "began after 11:59:00.000 and before 12:00:00.000, poll p-1, run r-1"
            ),
        ),
        (
            CORRECTED | {"drift": "missed", "opened": [SESSION], "closed": [], "agreed_at": None},
            ("missed, 1 session opened, because of: upstream defect, began before 12:00:00.000, poll p-1, run r-1"),
        ),
        (
            CORRECTED
            | {"drift": None, "located": [SESSION], "closed": [], "attributed_to": None, "disagreed_at": None},
            "1 session located, poll p-1, run r-1",
        ),
        (
            {"kind": "swept", "verdict": "swept", "ended": [SESSION], "run": "r-2", "evidence": 7},
            "1 session ended, run r-2, proven at position 7",
        ),
        ({"kind": "tier_set", "verdict": "tier_set", "tier": "vip", "by": "ops"}, "vip, by ops"),
        ({"kind": "tier_set", "verdict": "tier_set", "tier": None, "by": "ops"}, "as the rules say, by ops"),
        (
            {
                "kind": "override_set",
                "verdict": "override_set",
                "status": "offline",
                "reason": "stolen",
                "by": "ops",
                "expires_at": "2026-11-30T08:00:00.000000Z",
                "until_evidence": True,
            },
            "offline until 2026-11-30 08:00:00.000 or newer evidence, by ops: stolen",
        ),
        (
            {"kind": "override_ended", "verdict": "override_ended", "status": "offline", "why": "expired", "by": None},
            "offline, expired",
        ),
        (
            {"kind": "override_ended", "verdict": "override_ended", "status": "offline", "why": "deleted", "by": "ops"},
            "offline, deleted, by ops",
        ),
    ],
)
def test_history_tells_what_reconciliation_did(
    service: ScriptedService, ask: Callable[..., Result], fields: dict[str, Any], told: str
) -> None:
    found = {name: value for name, value in event(9).items() if name != "raw"} | fields
    service.answer = lambda asked: (200, json.dumps({"items": [found], "next": None}))
    [row] = ask("history", "u100").stdout.splitlines()[1:]
    assert row.endswith(f"  offline -> online  {told}")
    assert fields["verdict"] in row


def test_a_users_whole_history_is_streamed(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (200, "".join(json.dumps(event(position)) + "\n" for position in (1, 2, 3)))
    lines = ask("history", "u100", "--all", "--json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [event(1), event(2), event(3)]
    assert len(ask("history", "u100", "--all").stdout.splitlines()) == 4
    assert {asked.target for asked in service.asked} == {"/v1/users/u100/events"}


def test_a_user_without_events_is_told(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (200, json.dumps({"items": [], "next": None}))
    result = ask("history", "nobody")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "the ledger has no event of nobody\n")


def test_the_environments_key_goes_before_the_data_folders(
    service: ScriptedService, ask: Callable[..., Result]
) -> None:
    service.answer = lambda asked: (200, json.dumps({"items": []}))
    ask("status", "u", API_KEY="plk_mine")
    assert [asked.key for asked in service.asked] == ["Bearer plk_mine"]


def test_the_admin_key_is_sent_to_no_other_address(service: ScriptedService, ask: Callable[..., Result]) -> None:
    for refused in (ask("status", "u", "--url", service.url), ask("status", "u", URL=service.url)):
        assert refused.exit_code == 1
        assert "Set PRESENCE_LEDGER_API_KEY to one." in refused.stderr
    assert service.asked == []
    service.answer = lambda asked: (200, json.dumps({"items": []}))
    assert ask("status", "u", "--url", service.url + "/", API_KEY="plk_mine").exit_code == 0
    assert [asked.key for asked in service.asked] == ["Bearer plk_mine"]


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (
            401,
            {"title": "Unauthorized", "detail": "unknown key"},
            "answered 401: Unauthorized: unknown key\nSet PRESENCE_LEDGER_API_KEY to a key that the service knows.",
        ),
        (403, {"title": "Forbidden"}, "answered 403: Forbidden\nSet PRESENCE_LEDGER_API_KEY to a key with the scope"),
        (503, {"title": "Store unavailable", "detail": "later"}, "answered 503: Store unavailable: later"),
        (404, {"detail": "no title"}, "is not presence ledger.\nCheck `listen`, or name the service with --url."),
        (200, None, "is not presence ledger.\nCheck `listen`"),
        (500, None, "is not presence ledger.\nCheck `listen`"),
    ],
)
@pytest.mark.parametrize("arguments", [("status", "u"), ("history", "u"), ("history", "u", "--limit", "1", "--json")])
def test_a_refusal_is_explained(
    service: ScriptedService,
    ask: Callable[..., Result],
    *,
    status: int,
    body: object,
    told: str,
    arguments: tuple[str, ...],
) -> None:
    service.answer = lambda asked: (status, "<html>" if body is None else json.dumps(body))
    result = ask(*arguments)
    assert result.exit_code == 1
    assert told in result.stderr
    assert service.url in result.stderr
    assert result.stderr.count("\n") <= 2
    assert "plk_admin" not in result.output


def test_a_streams_refusal_is_explained(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (403, json.dumps({"title": "Forbidden", "detail": "the scope audit is missing"}))
    result = ask("history", "u", "--all", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "answered 403: Forbidden: the scope audit is missing" in result.stderr


def test_a_service_that_is_not_there_is_named(ask: Callable[..., Result]) -> None:
    result = ask("status", "u100", LISTEN="127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr.startswith("presence-ledger: No service can be reached at http://127.0.0.1:1 (")
    assert "Start it with `presence-ledger serve`" in result.stderr


def test_a_service_that_does_not_answer_is_named(
    service: ScriptedService, ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def late(asked: Asked) -> tuple[int, str]:
        release.wait(30)
        return 200, "{}"

    service.answer = late
    monkeypatch.setattr("ledger.cli.client.TIMEOUT_SECONDS", 0.05)
    result = ask("status", "u100")
    release.set()
    assert (result.exit_code, "did not answer within" in result.stderr) == (1, True)


def test_without_a_start_there_is_no_admin_key(ask: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "presence-ledger-data" / "admin.key").unlink()
    result = ask("status", "u100")
    assert result.exit_code == 1
    assert f"There is no admin key in {tmp_path / 'presence-ledger-data'}" in result.stderr
    assert "Start it (`presence-ledger serve`), or set PRESENCE_LEDGER_API_KEY." in result.stderr


def test_an_admin_key_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "presence-ledger-data" / "admin.key").mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"admin\.key is not a regular file"):
        client(load(environ={}, folder=tmp_path), None, environ={})


def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(RequestError, match="No service can be reached"):
        ServiceClient("http://[::1", "key")
    with ServiceClient("ftp://h", "key") as service, pytest.raises(RequestError, match="No service can be reached"):
        service.presences(["u"])


@pytest.mark.parametrize(
    ("uid", "segment"),
    [
        ("u100", "u100"),
        ("a/b", "a%2Fb"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("a.b", "a.b"),
        ("用", "%E7%94%A8"),
        ("%", "%25"),
    ],
)
def test_any_uid_is_one_segment_of_a_path(uid: str, segment: str) -> None:
    assert path_segment(uid) == segment


def test_a_uid_that_is_not_utf8_is_told() -> None:
    with pytest.raises(RequestError, match="is not UTF-8"):
        path_segment("\udcff")


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        (Listen("127.0.0.1", 8640), "http://127.0.0.1:8640"),
        (Listen("0.0.0.0", 1), "http://127.0.0.1:1"),  # noqa: S104  (read, not listened on)
        (Listen("::", 1), "http://[::1]:1"),
        (Listen("fe80::1", 1), "http://[fe80::1]:1"),
    ],
)
def test_the_service_is_reached_where_it_listens(listen: Listen, url: str) -> None:
    assert listen.local_url == url
