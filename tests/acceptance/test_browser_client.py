"""The browser's client in a real browser: two pages share one stream, over a network that is cut and comes back."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from ledger.client import Client, Gone
from tests.support import browser as browsers
from tests.support.service import KEYS, Api, wait_for
from tests.support.streams import FrontedService

pytestmark = pytest.mark.skipif(browsers.chromium() is None, reason="the system has no Chromium")

# What a page of an app would do; `told` is kept for the tests.
PAGE = """<!doctype html><title>friends</title>
<script type="module">
  import {{ PresenceLedger }} from "{front}/client/presence-ledger.js";
  window.ledger = new PresenceLedger({{ token: () => "{token}", lostSeconds: {lost} }});
  window.told = [];
  window.watchThem = (who) => (window.friends = ledger.watch(who, {{
    change: (presence) => told.push([presence.uid, presence.status]),
    state: ({{ stale }}) => told.push(stale ? "stale" : "live"),
    error: (error) => told.push(error.message),
  }}));
  window.loaded = true;
</script>"""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with browsers.website(PAGES) as origin:
        yield origin


PAGES: dict[str, str] = {}


@pytest.fixture(scope="module")
def service_settings(origin: str) -> dict[str, Any]:
    return {"front_origins": [origin]}


@pytest.fixture(scope="module")
def service(fronted_service: FrontedService) -> FrontedService:
    PAGES["/"] = PAGE.format(front=fronted_service.front, token=KEYS["read"], lost=150)
    PAGES["/hasty"] = PAGE.format(front=fronted_service.front, token=KEYS["read"], lost=2)
    PAGES["/admin"] = PAGE.format(front=fronted_service.front, token=KEYS["admin"], lost=150)
    PAGES["/alone"] = PAGES["/"].replace("lostSeconds: 150", "share: false")
    PAGES["/stranger"] = PAGE.format(front=fronted_service.front, token="wrong", lost=150)
    return fronted_service


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.browser() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser, service: FrontedService) -> Iterator[BrowserContext]:
    with browser.new_context() as context:
        context.set_default_timeout(60_000)
        yield context
    wait_for(lambda: streams(service) == 0, lambda: streams(service))


def opened(context: BrowserContext, origin: str, who: Any, path: str = "/") -> Page:
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(f"{origin}{path}")
    page.wait_for_function("window.loaded")
    page.evaluate("(who) => void watchThem(who)", who)
    return page


def until_known(page: Page, uid: str, status: str) -> None:
    page.wait_for_function(
        "([uid, status]) => friends.get(uid)?.status === status && !friends.stale", arg=[uid, status]
    )


def streams(service: FrontedService) -> int:
    figures = service.figures()
    return int(
        float(next(line for line in figures.splitlines() if line.startswith("presence_ledger_streams")).split()[1])
    )


def shown(page: Page, uid: str) -> Any:
    return page.evaluate("(uid) => { const { stale, previous, as_of, ...rest } = friends.get(uid); return rest }", uid)


def answered(api: Api, uid: str) -> Any:
    return {name: value for name, value in api.presence(uid).items() if name != "as_of"}


def test_two_pages_share_one_stream_and_its_end(
    context: BrowserContext, service: FrontedService, origin: str, api: Api
) -> None:
    api.deliver("ann-0-1-1-1-1")
    first = opened(context, origin, ["ann", "ben"])
    until_known(first, "ann", "online")
    second = opened(context, origin, ["ben", "cem"])
    until_known(second, "ben", "unknown")
    wait_for(lambda: streams(service) == 1)
    api.deliver("ben-0-1-2-1-1", "cem-0-1-3-1-1", "ann-0-0-1-0-0")
    for page, uid, status in [(first, "ben", "online"), (second, "ben", "online"), (second, "cem", "online"),
                              (first, "ann", "offline")]:  # fmt: skip
        until_known(page, uid, status)
        assert shown(page, uid) == answered(api, uid)
    wait_for(lambda: streams(service) == 1)
    assert second.evaluate("friends.get('ann')") is None
    # The page that reads the stream goes: the other one goes on from where it was.
    first.close()
    api.deliver("cem-0-0-3-0-0")
    until_known(second, "cem", "offline")
    wait_for(lambda: streams(service) == 1)
    told = [each[1] for each in second.evaluate("told") if each[0] == "cem"]
    assert [status for status, _ in groupby(told)] == ["unknown", "online", "offline"]


def test_a_network_is_cut_and_comes_back(
    context: BrowserContext, service: FrontedService, origin: str, api: Api
) -> None:
    pages = [opened(context, origin, ["dee", "eve"]) for _ in range(2)]
    for page in pages:
        until_known(page, "dee", "unknown")
    context.set_offline(True)
    for page in pages:
        page.wait_for_function("friends.stale && friends.presences.every((each) => each.stale)")
    wait_for(lambda: streams(service) == 0)
    api.deliver("dee-0-1-5-1-1", "eve-0-1-6-1-1", "eve-0-0-6-0-0")
    context.set_offline(False)
    for page in pages:
        until_known(page, "dee", "online")
        until_known(page, "eve", "offline")
        assert [shown(page, uid) for uid in ("dee", "eve")] == [answered(api, uid) for uid in ("dee", "eve")]
    wait_for(lambda: streams(service) == 1)


def test_a_front_that_is_killed_is_come_back_to(
    context: BrowserContext, service: FrontedService, origin: str, api: Api
) -> None:
    pages = [opened(context, origin, ["joy"]) for _ in range(2)]
    for page in pages:
        until_known(page, "joy", "unknown")
    service.front_process().kill()
    for page in pages:
        page.wait_for_function("told.includes('stale')")
    api.deliver("joy-0-1-11-1-1")
    for page in pages:
        until_known(page, "joy", "online")
        assert shown(page, "joy") == answered(api, "joy")


def test_pages_that_share_nothing_read_a_stream_each(
    context: BrowserContext, service: FrontedService, origin: str
) -> None:
    for page in [opened(context, origin, ["ivy"], "/alone") for _ in range(2)]:
        until_known(page, "ivy", "unknown")
    wait_for(lambda: streams(service) == 2)


def test_questions_and_what_is_wrong(context: BrowserContext, service: FrontedService, origin: str, api: Api) -> None:
    api.deliver("fay-0-1-7-1-1")
    page = opened(context, origin, ["fay"])
    until_known(page, "fay", "online")
    assert page.evaluate("ledger.get('fay').then(({ status, stale }) => [status, stale])") == ["online", False]
    assert page.evaluate("ledger.get('..').then((presence) => presence.uid)") == ".."
    assert page.evaluate("ledger.get('a/ü?').then((presence) => presence.reason)") == "never_observed"
    assert page.evaluate("ledger.query(['x', 'fay']).then((all) => all.map((each) => each.status))") == [
        "unknown", "online",
    ]  # fmt: skip
    wrong = "ledger.query(['']).catch(({ name, status, errors }) => [name, status, errors[0].field])"
    page.evaluate("friends.close()")
    wait_for(lambda: streams(service) == 0)
    assert page.evaluate(wrong.replace("['']", "Array(10001).fill('u')")) == ["PresenceError", 422, "uids"]


def test_a_list_is_watched_by_both_clients(
    context: BrowserContext, service: FrontedService, origin: str, api: Api
) -> None:
    api.http.put("/v1/lists/team a", json={"uids": ["lia", "max"], "watchers": []}).raise_for_status()
    api.deliver("lia-0-1-9-1-1")
    with Client(service.front, KEYS["admin"]) as client, client.watch(list="team a") as watch:
        assert [(each.uid, each.status) for each in client.list("team a")] == [("lia", "online"), ("max", "unknown")]
        assert sorted(each.uid for each in watch.ready().presences) == ["lia", "max"]
        pages = [opened(context, origin, {"list": "team a"}, "/admin") for _ in range(2)]
        for page in pages:
            until_known(page, "lia", "online")
            assert page.evaluate("ledger.list('team a').then((all) => all.map(({ uid }) => uid))") == ["lia", "max"]
        wait_for(lambda: streams(service) == 2)
        api.http.patch("/v1/lists/team a", json={"add": ["nia"], "remove": ["max"]}).raise_for_status()
        assert next(change.uid for change in watch.changes() if isinstance(change, Gone)) == "max"
        wait_for(lambda: sorted(each.uid for each in watch.presences) == ["lia", "nia"])
        for page in pages:
            page.wait_for_function("friends.get('nia') && !friends.get('max')")
        # The page that reads the stream goes; the other one goes on.
        pages[0].close()
        api.deliver("nia-0-1-10-1-1")
        until_known(pages[1], "nia", "online")


def test_whoever_may_not_is_told(context: BrowserContext, origin: str, service: FrontedService) -> None:
    page = opened(context, origin, ["gus"], "/stranger")
    # A token that is refused may be followed by another one: it goes on trying.
    page.wait_for_function("friends.stale")
    assert page.evaluate("ledger.get('gus').catch(({ status }) => status)") == 401


def test_a_page_that_holds_the_lock_and_is_silent_loses_it(
    context: BrowserContext, service: FrontedService, origin: str, api: Api
) -> None:
    lock = f"presence-ledger {service.front}/ default users"
    suspended = context.new_page()
    suspended.goto(origin)
    held = "(lock) => void navigator.locks.request(lock, () => new Promise(() => {})).catch(() => (window.lost = true))"
    suspended.evaluate(held, lock)
    page = opened(context, origin, ["hal"], "/hasty")
    until_known(page, "hal", "unknown")
    assert suspended.evaluate("lost")
    # And whoever comes back after such a loss stands in line again.
    page.evaluate("(lock) => navigator.locks.request(lock, { steal: true }, () => {})", lock)
    api.deliver("hal-0-1-8-1-1")
    until_known(page, "hal", "online")


def test_the_client_is_served_to_any_page(service: FrontedService) -> None:
    with httpx2.Client(base_url=service.front, trust_env=False) as http:
        module = http.get("/client/presence-ledger.js", headers={"Origin": "https://anywhere.example"})
        assert module.status_code == 200
        assert module.headers["content-type"].startswith("text/javascript")
        assert module.headers["access-control-allow-origin"] == "*"
        assert module.headers["cache-control"] == "public, max-age=300"
        assert module.headers["content-encoding"] == "gzip"
        again = http.get("/client/presence-ledger.js", headers={"If-None-Match": module.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        plain = http.get("/client/presence-ledger.js", headers={"Accept-Encoding": "identity"})
        assert (plain.text, "content-encoding" in plain.headers) == (module.text, False)
        assert "export class PresenceLedger" in http.get("/client/presence-ledger.d.ts").text
        assert http.get("/client/../app.py").status_code == 404
        assert http.post("/client/presence-ledger.js").status_code == 405
