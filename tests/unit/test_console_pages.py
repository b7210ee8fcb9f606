"""The console's pages and gates, without a service: who is let in, forged forms, hostile names, what is missing."""

import asyncio
import html
import re
from typing import Any
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from ledger.console import app
from ledger.console.addresses import safe_next, user
from ledger.console.answers import COOKIE
from ledger.console.pages.user import newest_entries
from ledger.console.service import SILENT, ServiceAnswer
from ledger.console.window import micros
from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND
from ledger.http import examples
from tests.support.console import NOW, Pages, presence

HOSTILE = (
    "<script>alert(1)</script>",
    """"'><img src=x onerror=alert(1)>""",
    "{{ 7 * 7 }}{% raw %}",
    "a/../b?c#d&e=f",
    "..",
    "\u202egnp.exe",
    "日本" * 170,
    "👩‍👩‍👧 x",
    "line\nbreak\x01\x7f",
    "+ %2F%",
)


def answered(route: str) -> Any:
    return examples.ANSWERS[f"GET {route}"]["200"]


ANSWERS: dict[str, Any] = {
    f"GET {path}": answered(route)
    for path, route in {
        "/v1/presence/summary": "/v1/presence/summary",
        "/v1/presence": "/v1/presence",
        "/v1/sources": "/v1/sources",
        "/health/ready": "/health/ready",
        "/v1/alerts": "/v1/alerts",
        "/v1/blind": "/v1/blind",
        "/v1/loss": "/v1/loss",
        "/v1/sinks": "/v1/sinks",
        "/v1/drift": "/v1/drift",
        "/v1/drift/summary": "/v1/drift/summary",
        "/v1/lists": "/v1/lists",
        "/v1/lists/friends": "/v1/lists/{name}",
        "/v1/lists/friends/presence": "/v1/lists/{name}/presence",
        "/v1/lists/friends/summary": "/v1/lists/{name}/summary",
        "/v1/sources/main/runs": "/v1/sources/{source}/runs",
        "/v1/runs/r-1": "/v1/runs/{run}",
        "/v1/deliveries/d-1": "/v1/deliveries/{delivery}",
        "/v1/ledger/events": "/v1/ledger/events",
        "/v1/settings": "/v1/settings",
        "/v1/users/u100/presence": "/v1/users/{uid}/presence",
        "/v1/users/u100/explain": "/v1/users/{uid}/explain",
        "/v1/users/u100/sessions": "/v1/users/{uid}/sessions",
        "/v1/users/u100/timeline": "/v1/users/{uid}/timeline",
        "/v1/users/u100/events": "/v1/users/{uid}/events",
        "/v1/users/u100/tier": "/v1/users/{uid}/tier",
    }.items()
}
PATHS = (
    "/", "/users", "/users?q=u1&status=online", "/users?q=u100&match=exact", "/users/u100",
    "/users/u100?until=2026-11-30T08:40:00Z&span=1h&at=2026-11-30T08:33:00Z&known_at=2026-11-30T08:50:00Z",
    "/live", "/drift", "/runs", "/runs/r-1", "/deliveries", "/deliveries/d-1", "/events/1", "/sources", "/alerts",
    "/sinks", "/lists", "/lists?name=friends", "/settings",
)  # fmt: skip


@pytest.fixture(scope="module")
def pages() -> Pages:
    return Pages(ANSWERS)


@pytest.mark.parametrize("path", PATHS)
def test_every_page_stands_with_all_it_asks_for_and_without(path: str, pages: Pages) -> None:
    for who in ("admin", "auditor"):
        shown = pages.get(path, who=who, headers={"Accept-Language": "zh"})
        assert shown.status_code == 200, shown.text
        assert '<html lang="zh-CN">' in shown.text
        assert shown.headers["content-security-policy"].startswith(
            "default-src 'none'; script-src 'self'; style-src 'self'"
        )
        assert "unsafe" not in shown.headers["content-security-policy"]
        assert not re.search(r"<[^>]+\sstyle=|<[^>]+\son[a-z]+=|<style|<script>", shown.text)
        assert "cache-control" in shown.headers
    for instead in (
        SILENT,
        ServiceAnswer(404, {"detail": "no such"}),
        ServiceAnswer(503, {"detail": "PostgreSQL does not answer"}),
    ):
        poor = Pages(dict.fromkeys(ANSWERS, instead))
        assert poor.get(path).status_code in (200, 404), path


def test_nobody_is_shown_the_login_which_leads_back(pages: Pages) -> None:
    wanted = "/users/%3Cb%3E?at=2026-11-30T08:33:00Z"
    turned = pages.get(wanted, who=None)
    assert turned.status_code == 303
    assert turned.headers["location"] == f"/login?next={quote(wanted, safe='')}"
    form = pages.get(turned.headers["location"], who=None)
    assert "Log in" in form.text
    assert 'name="next" value="/users/%3Cb%3E?at=2026-11-30T08:33:00Z"' in form.text
    let_in = pages.ask("POST", "/login", who=None, data={"key": " auditor ", "next": wanted})
    assert (let_in.status_code, let_in.headers["location"]) == (303, wanted)
    cookie = let_in.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=auditor;")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    behind = pages.ask("POST", "/login", who=None, data={"key": "auditor"}, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in behind.headers["set-cookie"].split("; ")
    assert pages.get("/users/u100?part=why", who=None).status_code == 401


def test_a_wrong_key_and_one_of_too_small_a_scope(pages: Pages) -> None:
    wrong = pages.ask("POST", "/login", who=None, data={"key": "guessed", "next": "/drift"})
    assert (wrong.status_code, "guessed" in wrong.text, "set-cookie" in wrong.headers) == (401, False, False)
    assert 'value="/drift"' in wrong.text
    small = pages.ask("POST", "/login", who=None, data={"key": "reader"})
    assert (small.status_code, "scope audit" in small.text, "set-cookie" in small.headers) == (403, True, False)
    later = pages.get("/drift", who="reader")
    assert (later.status_code, "scope audit" in later.text) == (403, True)
    act = pages.ask("POST", "/users/u100", who="auditor", data={"do": "tier", "csrf": pages.csrf("auditor")})
    assert (act.status_code, "scope admin" in act.text) == (403, True)
    assert "Set" not in re.findall(r"<button>([^<]*)", pages.get("/users/u100", who="auditor").text)


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({}, {}),
        ({"csrf": "0" * 64}, {}),
        ({"csrf": "auditor's"}, {}),
        ({"csrf": ""}, {"Sec-Fetch-Site": "cross-site"}),
        ({"csrf": ""}, {"Origin": "https://elsewhere.example"}),
        ({"csrf": ""}, {"Origin": "http://["}),
        ({"csrf": ""}, {"Origin": "null", "Host": ""}),
    ],
)
@pytest.mark.parametrize("path", ["/users/u100", "/alerts", "/sinks", "/runs", "/logout"])
def test_a_forged_form_changes_nothing(path: str, fields: dict[str, str], headers: dict[str, str]) -> None:
    pages = Pages(ANSWERS)
    sent = {"do": "look", **fields, "csrf": fields.get("csrf") or (pages.csrf() if headers else "")}
    assert pages.ask("POST", path, data=sent, headers=headers).status_code == 403
    assert (pages.service.asked, pages.sessions.ended) == ([], [])


def test_a_login_form_of_another_site_is_refused(pages: Pages) -> None:
    forged = pages.ask("POST", "/login", who=None, data={"key": "admin"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert (forged.status_code, "set-cookie" in forged.headers) == (403, False)


def test_an_origin_or_a_host_that_is_none_is_answered_as_any_other(pages: Pages) -> None:
    for headers in ({"Origin": "http://["}, {"Host": "["}):
        chosen = pages.get("/login?lang=en", who=None, headers=headers)
        assert (chosen.status_code, "secure" in chosen.headers["set-cookie"].lower()) == (200, False)
    forged = pages.ask("POST", "/login", who=None, data={"key": "admin"}, headers={"Origin": "http://["})
    assert (forged.status_code, "set-cookie" in forged.headers) == (403, False)
    own = {"Host": "[", "Sec-Fetch-Site": "same-origin", "Origin": "https://console"}
    let_in = pages.ask("POST", "/login", who=None, data={"key": "admin"}, headers=own)
    assert (let_in.status_code, "secure" in let_in.headers["set-cookie"].lower()) == (303, True)


def test_a_logout_ends_the_session(pages: Pages) -> None:
    left = pages.ask("POST", "/logout", data={"csrf": pages.csrf()})
    assert (left.status_code, left.headers["location"], pages.sessions.ended) == (303, "/login", ["admin"])
    assert "Max-Age=0" in left.headers["set-cookie"]
    assert pages.get("/logout").status_code == 405


@pytest.mark.parametrize(
    ("wanted", "leads"),
    [
        ("/users/u100?at=x#why", "/users/u100?at=x#why"),
        ("/", "/"),
        (None, "/"),
        ("", "/"),
        ("https://elsewhere.example/", "/"),
        ("//elsewhere.example/", "/"),
        ("/\\elsewhere.example", "/"),
        ("/a\\b", "/"),
        ("/\telsewhere", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        ("javascript:alert(1)", "/"),
        ("/login?next=/", "/"),
        ("/logout", "/"),
        ("/" + "a" * 20_000, "/"),
    ],
)
def test_a_login_leads_to_pages_of_ours_alone(wanted: str | None, leads: str) -> None:
    assert safe_next(wanted) == leads


@pytest.mark.parametrize("uid", HOSTILE)
def test_a_hostile_uid_is_text_on_each_page_that_shows_it(uid: str) -> None:
    page = {"items": [presence(uid)], "next": None}
    segment = quote(uid, safe="").replace("..", "%2E%2E") if uid == ".." else quote(uid, safe="")
    event = {**answered("/v1/users/{uid}/events")["items"][0], "uid": uid, "raw": f"{uid}-0-1-1-1-1"}
    events = {"items": [event], "next": None}
    pages = Pages(
        {
            **ANSWERS,
            "GET /v1/presence": page,
            f"GET /v1/users/{segment}/presence": presence(uid),
            f"GET /v1/users/{segment}/events": events,
            "GET /v1/ledger/events": events,
            "GET /v1/drift": {"items": [{**answered("/v1/drift")["items"][0], "uid": uid}], "next": None},
        }
    )
    shown = "".join(mark.encode("unicode_escape").decode() if mark < " " or mark == "\x7f" else mark for mark in uid)
    as_text = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;")
    as_text = as_text.replace("'", "&#39;")
    for path in ("/users", user(uid), "/drift", f"/events/{event['position']}"):
        text = pages.get(path).text
        assert f'<bdi class="uid">{as_text}</bdi>' in text, path
        assert "<script>alert" not in text
        assert "<img" not in text
    assert user(uid) in pages.get("/users").text.replace("&amp;", "&")
    if not uid.isprintable():
        assert "hidden-marks" in pages.get("/users").text


TURNED = "\u202etold"
WRITTEN_BY_OTHERS = frozenset(
    {"reason", "by", "acknowledged_by", "last_reason", "last_error", "leader", "instance", "value", "detail"}
)


def turned(value: Any, name: str = "") -> Any:
    """An answer in which whatever others may have written begins with a mark that turns a line around."""
    if isinstance(value, dict):
        return {key: turned(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [turned(each, name) for each in value]
    return TURNED if isinstance(value, str) and name in WRITTEN_BY_OTHERS else value


def test_what_others_wrote_turns_no_line_around() -> None:
    word = {
        "position": 7, "at": "2026-11-30T08:33:00Z", "kind": "override", "status": "offline", "by": "key",
        "reason": "x", "expires_at": "2026-11-30T09:33:00Z", "status_before": "online", "status_after": "offline",
    }  # fmt: skip
    story = {"GET /v1/users/u100/timeline": {"items": [word], "next": None, "lag_events": 0}}
    pages = Pages({path: turned(answer) for path, answer in {**ANSWERS, **story}.items()})
    shown = {path: pages.get(path).text for path in PATHS}
    assert [path for path, text in shown.items() if "\u202e" in text] == []
    escaped = {path for path, text in shown.items() if r"\u202etold" in text}
    assert escaped >= {"/users/u100", "/events/1", "/sources", "/lists?name=friends", "/settings", "/runs/r-1"}


def test_what_somebody_typed_stays_in_its_field_as_it_is(pages: Pages) -> None:
    for path in ("/users", "/live"):
        assert 'name="q" value="x\u200dy"' in re.sub(' type="search"', "", pages.get(f"{path}?q=x%E2%80%8Dy").text)


def test_alerts_the_last_one_first_and_none_in_a_state_is_not_good_news() -> None:
    [alert] = answered("/v1/alerts")["items"]
    told = {"oncall": {"began_at": "2026-11-30T08:33:00Z", "ended_at": None}}
    listed = {"items": [{**alert, "way_out": {"en": "see `loss <b>`", "zh": "x"}, "notices": told}], "next": None}
    pages = Pages({**ANSWERS, "GET /v1/alerts": listed})
    assert "<strong>What to do:</strong> see <code>loss &lt;b&gt;</code>" in pages.get("/alerts").text
    assert 'oncall <time datetime="2026-11-30T08:33:00Z"' in pages.get("/alerts").text
    none = Pages({**ANSWERS, "GET /v1/alerts": {"items": [], "next": None}})
    for state in ("firing", "acknowledged", "resolved"):
        text = none.get(f"/alerts?state={state}").text
        assert ("Nothing is wrong." in text, "No alert is in this state." in text) == (False, True)
    assert "Nothing is wrong." in none.get("/alerts").text


def test_what_may_be_done_is_asked_of_the_service_as_it_takes_it() -> None:
    ordered = {"run": "r-9", "state": "running"}
    pages = Pages(
        {
            **ANSWERS,
            "POST /v1/sources/main/reconcile": ordered,
            "PUT /v1/users/u100/tier": {},
            "PUT /v1/users/u100/override": {},
            "DELETE /v1/users/u100/override": {},
            "POST /v1/alerts/a-1/acknowledge": {},
            "POST /v1/sinks/app/replay": {},
            "POST /v1/sinks/app/pause": ServiceAnswer(409, {"detail": "no instance has led"}),
        }
    )

    def order(path: str, **fields: str) -> Any:
        return pages.ask("POST", path, data={**fields, "csrf": pages.csrf()})

    assert order("/users/u100", do="look", source="main").headers["location"] == "/users/u100?done=look&run=r-9"
    assert order("/users/u100", do="tier", tier="vip").headers["location"] == "/users/u100?done=tier"
    assert order("/users/u100", do="tier", tier="").status_code == 303
    override = {"status": "online", "reason": "they called us", "for": "1h", "until_evidence": "yes"}
    assert order("/users/u100", do="override", **override).status_code == 303
    assert order("/users/u100", do="end_override").status_code == 303
    assert order("/runs", source="main").headers["location"] == "/runs/r-9"
    assert order("/alerts", id="a-1").headers["location"] == "/alerts?done=acknowledged"
    assert order("/sinks", name="app", do="replay", **{"from": "17"}).headers["location"] == "/sinks?done=replay"
    refused = order("/sinks", name="app", do="pause")
    assert (refused.status_code, "no instance has led" in refused.text) == (409, True)
    assert order("/sinks", name="app", do="burn").status_code == 404
    assert order("/users/u100", do="burn").status_code == 404
    assert order("/drift").status_code == 405
    told = [(path, body) for path, _, body in pages.service.asked]
    assert told == [
        ("POST /v1/sources/main/reconcile", {"uids": ["u100"]}),
        ("PUT /v1/users/u100/tier", {"tier": "vip"}),
        ("PUT /v1/users/u100/tier", {"tier": None}),
        (
            "PUT /v1/users/u100/override",
            {"status": "online", "reason": "they called us", "expires_seconds": 3600, "until_evidence": True},
        ),
        ("DELETE /v1/users/u100/override", None),
        ("POST /v1/sources/main/reconcile", None),
        ("POST /v1/alerts/a-1/acknowledge", None),
        ("POST /v1/sinks/app/replay", {"from": 17}),
        ("POST /v1/sinks/app/pause", None),
    ]


def test_a_delivery_is_shown_as_it_was_posted(pages: Pages) -> None:
    text = pages.get("/deliveries/d-1").text
    assert "[&#34;bob-0-0-3-0-0&#34;,\n &#34;no item&#34;]" in text


def test_what_is_nowhere_and_what_cannot_be_read(pages: Pages) -> None:
    for path in (
        "/events/x",
        "/events/99999999999999999999",
        "/users/",
        "/deliveries/none",
        "/lists?name=none",
        "/runs/r-none",
    ):
        assert pages.get(path).status_code == 404, path
    wrong = pages.get("/users/u100?at=yesterday")
    assert (wrong.status_code, "at: not a timestamp" in wrong.text) == (422, True)
    assert pages.ask("PUT", "/users/u100").status_code == 405
    assert pages.ask("POST", "/users/u100", content=b"a" * 70_000).status_code == 413
    assert pages.ask("POST", "/users/u100", content=b"\xff=%ff").status_code == 400


def test_a_defect_of_a_page_is_a_page() -> None:
    broken = Pages({**ANSWERS, "GET /v1/drift": {"items": [{"uid": 1}]}})
    with capture_logs() as logged:
        shown = broken.get("/drift")
    assert (shown.status_code, "unexpected error" in shown.text) == (500, True)
    assert [each["event"] for each in logged] == ["console_defect"]


def test_a_day_shows_the_override_that_is_shown_all_along() -> None:
    cause = {"kind": "override", "at": "2026-11-28T09:00:00Z", "position": 3}
    shown = presence("u100", status="online", cause=cause)
    nothing: dict[str, Any] = {"items": [], "next": None}
    day = Pages({**ANSWERS, "GET /v1/users/u100/presence": shown, "GET /v1/users/u100/timeline": nothing})
    assert '<rect class="bar override online" x="0.0%"' in day.get("/users/u100").text
    before = day.get("/users/u100?at=2026-11-28T10:00:00Z&span=1h").text
    assert "bar override" not in before


@pytest.mark.parametrize(
    ("filters", "fits"),
    [
        ("status=online", True),
        ("status=offline", False),
        ("status=online&device_flag=0&source=main", True),
        ("status=online&device_flag=1", False),
        ("device_flag=1", True),
        ("source=other", False),
        ("device_flag=&source=&status=", True),
        ("status=online&after=djF8YQ", False),
    ],
)
def test_a_search_with_filters_finds_the_uid_itself(filters: str, fits: bool) -> None:
    app = {**presence("u100")["devices"][0], "source": "main", "device_flag": 0, "sessions": 1}
    web = {**app, "device_flag": 1, "status": "offline", "sessions": 0}
    found = presence("u100", status="online", devices=[app, web])
    listed = {"items": [presence("u1000", status="online")], "next": None}
    pages = Pages({**ANSWERS, "GET /v1/presence": listed, "GET /v1/users/u100/presence": found})
    shown = re.findall(r'<bdi class="uid">([^<]*)', pages.get(f"/users?q=u100&{filters}").text)
    assert shown == (["u100", "u1000"] if fits else ["u1000"])


@pytest.mark.parametrize(
    ("span", "earliest"),
    [("1h", "2026-11-30T08:00:10"), ("6h", "2026-11-30T08:15:10"), ("7d", "2026-11-30T08:15:10")],
)
def test_of_many_runs_the_latest_are_shown(span: str, earliest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One began every ten seconds, at the position that is its second."""
    pages = Pages({**ANSWERS, "GET /v1/settings": {"items": [{"key": "sources[0].name", "value": "main"}]}})
    example, end = answered("/v1/sources/{source}/runs")["items"][0], NOW // SECOND
    others = pages.service.ask

    async def ask(key: bytes, method: str, path: str, query: Any = None, body: object = None) -> ServiceAnswer:
        if path == "/v1/users/-/presence":
            return ServiceAnswer(200, {"as_of": {"position": micros(query["at"]) // SECOND}})
        if path != "/v1/sources/main/runs":
            return await others(key, method, path, query, body)
        first = (query["after"] // 10 + 1) * 10
        found = list(range(first, end + 1, 10))[: query["limit"]]
        items = [{**example, "run": f"r-{at}", "position": at, "started_at": to_text(at * SECOND)} for at in found]
        return ServiceAnswer(200, {"items": items, "next": "djFhYQ" if found[-1] < end - 9 else None})

    monkeypatch.setattr(pages.service, "ask", ask)
    text = pages.get(f"/runs?span={span}").text
    began = re.findall(r'<th scope="row"><a [^>]*><time datetime="([^".]*)', text)
    assert (began[0], began[-1]) == ("2026-11-30T09:00:00", earliest)
    assert ("Only runs since" in text) == (span != "1h")


def test_drifts_after_the_window_are_not_in_it() -> None:
    example = answered("/v1/drift")["items"][0]
    found = [{**example, "uid": f"found{hour:02d}", "disagreed_at": f"2026-11-30T{hour:02d}:00:00Z"} for hour in (3, 5)]
    pages = Pages({**ANSWERS, "GET /v1/drift": {"items": found, "next": "djFhYQ"}})
    whole, earlier = (pages.get(f"/drift?until=2026-11-30T{until}:00:00Z").text for until in ("06", "04"))
    assert ["found05" in each.partition('id="all-h"')[2] for each in (whole, earlier)] == [True, False]
    assert ['rel="next">Next' in each for each in (whole, earlier)] == [True, False]
    assert "found03" in earlier


def test_a_users_tier_is_the_one_that_is_chosen() -> None:
    tiers = {"vip": "vip", "cold": "cold", None: ""}
    for tier, chosen in tiers.items():
        pages = Pages({**ANSWERS, "GET /v1/users/u100/tier": {"uid": "u100", "tier": tier}})
        selected = re.findall(r'<option value="(vip|normal|cold)" selected>', pages.get("/users/u100").text)
        assert selected == ([chosen] if chosen else [])


def test_what_is_answered_from_memory_is_marked_and_no_head_is_no_link() -> None:
    known = presence("u100", status="online", stale_since="2026-11-30T08:33:00Z")
    ready = {**answered("/health/ready"), "head": None}
    away = Pages({**ANSWERS, "GET /v1/users/u100/presence": known, "GET /health/ready": ready})
    mark = 'what was known last, at <time datetime="2026-11-30T08:33:00Z"'
    assert mark in away.get("/users/u100").text
    assert "PostgreSQL is away" not in Pages(ANSWERS).get("/users/u100").text
    assert "The ledger's last event" in html.unescape(Pages(ANSWERS).get("/").text)
    assert "None" not in away.get("/").text
    assert "The ledger's last event" not in html.unescape(away.get("/").text)


def test_the_feed_begins_with_the_sources_that_are_dark() -> None:
    [source] = answered("/v1/sources")["items"]
    dark = {**source, "name": "other", "dark_since": "2026-11-30T08:30:00.000000Z"}
    text = Pages({**ANSWERS, "GET /v1/sources": {"items": [source, dark]}}).get("/live").text
    assert re.findall(r'data-source="([^"]*)"', text) == ["other"]
    assert 'data-dark="{source} has been dark since {since}: its users' in text
    assert re.search(r'data-source="other">other has been dark since <time datetime="2026-11-30T08:30:00', text)


def test_a_page_of_nobody_is_not_the_end_of_a_list() -> None:
    more = Pages({**ANSWERS, "GET /v1/presence": {"items": [], "next": "djF8YQ"}}).get("/users?status=unknown").text
    assert ("Nobody on this page fits" in more, "Nobody fits." in more, 'rel="next"' in more) == (True, False, True)
    none = Pages({**ANSWERS, "GET /v1/presence": {"items": [], "next": None}}).get("/users?status=unknown").text
    assert ("Nobody on this page fits" in none, "Nobody fits." in none) == (False, True)


def test_the_stream_of_a_page_is_the_keys_own() -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        assert (scope["path"], headers[b"authorization"], b"cookie" in headers) == (
            "/v1/stream",
            b"Console signed",
            False,
        )
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b":\n\n"})

    pages = Pages(ANSWERS, stream)
    assert pages.get("/live/feed", who="auditor").text == ":\n\n"
    assert pages.get("/live/feed", who=None).status_code == 303
    assert pages.get("/live/feed", who=None, headers={"Sec-Fetch-Dest": "empty"}).status_code == 401


def test_the_stream_ends_with_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "SESSION_LOOK_SECONDS", 0.01)
    pages = Pages(ANSWERS)

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await receive()).get("more_body"):
            pass
        monkeypatch.setattr(pages.sessions, "find", nobody)
        assert (await receive())["type"] == "http.disconnect"

    async def nobody(given: str) -> None:
        return None

    monkeypatch.setattr(pages.console, "_stream", stream)
    assert pages.get("/live/feed").status_code == 200


def test_files_are_kept_where_their_address_has_their_version(pages: Pages) -> None:
    text = pages.get("/login", who=None).text
    [sheet] = re.findall(r'href="(/console/[0-9a-f]+/console.css)"', text)
    kept = pages.get(sheet, who=None)
    assert (kept.status_code, kept.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in kept.headers["cache-control"]
    assert pages.get("/console/older/console.css", who=None).headers["cache-control"] == "no-cache"
    assert pages.get("/console/older/vendor/uPlot.esm.js", who=None).status_code == 200
    plain = pages.get(sheet, who=None, headers={"Accept-Encoding": "identity"})
    assert plain.content == kept.content
    assert pages.get("/console/older/../app.py", who=None).status_code == 404
    assert pages.ask("POST", sheet, who=None).status_code == 405


def test_a_language_that_is_chosen_is_remembered(pages: Pages) -> None:
    chosen = pages.get("/drift?lang=zh&span=1h", who="admin")
    assert "presence_ledger_lang=zh" in chosen.headers["set-cookie"]
    assert 'href="/drift?span=1h&amp;lang=en"' in chosen.text


@pytest.mark.parametrize(
    ("pages", "shown", "following"),
    [
        ([(300, 7)], 300, 7),
        ([(10, 9), (20, None)], 30, None),
        ([(10, 9), (290, 4)], 300, 4),
        ([(1, 9)] * 9, 6, 9),
        ([(0, None)], 0, None),
    ],
)
def test_a_page_of_the_timeline_that_ends_early_is_gone_on_from(
    pages: list[tuple[int, int | None]], shown: int, following: int | None
) -> None:
    left = [ServiceAnswer(200, {"items": [{}] * number, "next": after}) for number, after in pages]

    async def timeline(**_: Any) -> ServiceAnswer:
        return left.pop(0)

    found = asyncio.run(newest_entries(timeline))
    assert (len(found.items), found.get("next")) == (shown, following)


def test_a_timeline_that_fails_on_the_way_is_told_as_such() -> None:
    left = [ServiceAnswer(200, {"items": [{}], "next": 7}), SILENT]

    async def timeline(**_: Any) -> ServiceAnswer:
        return left.pop(0)

    assert asyncio.run(newest_entries(timeline)) == SILENT
