"""The console in a real browser: every page in both languages, hostile names, small screens, and who is let in."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, Route, ViewportSize, expect

from tests.support import browser as browsers
from tests.support.im_node import ImNode, im_node
from tests.support.service import KEYS, Api, source_table, wait_for
from tests.support.streams import FrontedService, fronted

pytestmark = pytest.mark.skipif(browsers.chromium() is None, reason="the system has no Chromium")

HOSTILE = ("<img src=x onerror=alert(1)>", "a\"b'c&d", "\u202egnp.exe", "長" * 341, "🙂👩‍👩‍👧", "a/../b?x#y")
LANGUAGES = {"en": "en", "zh": "zh-CN"}
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def node() -> Iterator[ImNode]:
    with im_node() as node:
        yield node


@pytest.fixture(scope="module")
def service(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory, node: ImNode
) -> Iterator[FrontedService]:
    folder = tmp_path_factory.mktemp("service")
    tables = source_table("main", {"n1": node.url})
    with fronted(folder, folder / "data", database_url=module_database_url, tables=tables) as service:
        service.start()
        with Api(service) as api:
            _live(api, node)
        yield service


def _live(api: Api, node: ImNode) -> None:
    """Webhooks, repeated and rejected ones, one that was lost, and a run that finds it."""
    first = [node.connect("u100"), node.connect("u100", 1), *(node.connect(uid) for uid in HOSTILE)]
    api.deliver(*first)
    api.deliver(*first)
    api.deliver(node.close("u100"), "no item")
    node.connect("carol")
    run = api.http.post("/v1/sources/main/reconcile", json={"uids": ["u100", "carol"]}).json()["run"]
    wait_for(lambda: api.get(f"/v1/runs/{run}")["state"] == "completed", api.service.log)
    assert api.http.put("/v1/lists/friends", json={"uids": ["u100", *HOSTILE]}).status_code == 201
    api.wait_for_projections()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.browser() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser, service: FrontedService) -> Iterator[BrowserContext]:
    with browser.new_context(base_url=service.front, locale="en-GB", timezone_id="Asia/Shanghai") as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context


class Watched:
    """A page, and what went wrong on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(f"{page.url}: {error}"))
        page.on("console", self._note)
        page.on("response", self._note_answer)

    def _note_answer(self, answer: Response) -> None:
        if answer.status >= 400:
            self.wrong.append(f"{answer.status} {answer.url}")

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{self.page.url}: {message.text}")

    def goto(self, path: str) -> Page:
        answer = self.page.goto(path)
        assert answer is not None
        assert answer.status == 200, (path, answer.status)
        return self.page


def log_in(context: BrowserContext, key: str = KEYS["admin"], path: str = "/") -> Watched:
    watched = Watched(context.new_page())
    watched.page.goto(path)
    assert "/login" in watched.page.url
    watched.page.get_by_label("API key").fill(key)
    watched.page.keyboard.press("Enter")
    watched.page.wait_for_url(f"**{path}")
    return watched


def paths(api: Api) -> list[str]:
    [last] = api.events("u100", order="desc", limit=1)[:1]
    delivery = next(each["delivery"] for each in api.events("u100") if "delivery" in each)
    [run] = [each["run"] for each in api.get("/v1/sources/main/runs")["items"] if each["scope"] == "manual"]
    return [
        "/", "/users", "/users?q=u1", "/users/u100", f"/users/u100?at={last['recorded_at']}", "/users/nobody",
        "/live", "/drift", "/runs", f"/runs/{run}", "/deliveries", f"/deliveries/{delivery}",
        f"/events/{last['position']}", "/sources", "/alerts", "/sinks", "/lists", "/lists?name=friends", "/settings",
    ]  # fmt: skip


SMALL: ViewportSize = {"width": 360, "height": 700}
WIDE: ViewportSize = {"width": 1280, "height": 900}


def overflow(page: Page) -> int:
    """By how many pixels a page is wider than the screen."""
    wide: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wide


@pytest.mark.slow
def test_every_page_in_both_languages_has_nothing_wrong_and_nothing_that_keeps_anybody_out(
    context: BrowserContext, api: Api
) -> None:
    """In English, light and wide; in Chinese, dark and 360 pixels wide."""
    watched = log_in(context)
    serious: list[Any] = []
    for language, tag in LANGUAGES.items():
        is_small = language == "zh"
        watched.page.emulate_media(color_scheme="dark" if is_small else "light")
        watched.page.set_viewport_size(SMALL if is_small else WIDE)
        for path in paths(api):
            page = watched.goto(f"{path}{'&' if '?' in path else '?'}lang={language}")
            assert page.evaluate("document.documentElement.lang") == tag
            page.locator("h1").first.wait_for()
            assert "Undefined" not in page.locator("main").inner_text()
            assert overflow(page) <= 0, path
            if is_small and path not in COLOURFUL:
                continue
            found = Axe().run(page).response["violations"]
            serious += [
                (path, language, each["id"], each["nodes"][0]["html"])
                for each in found
                if each["impact"] in ("serious", "critical")
            ]
    assert serious == []
    assert watched.wrong == []


COLOURFUL = {"/", "/users/u100", "/users", "/drift"}
"""All colours are on these; the rest is the same in the dark."""


def test_hostile_names_are_text(context: BrowserContext) -> None:
    watched = log_in(context)
    page = watched.goto("/users")
    names = [each for each in page.locator("tbody th bdi").all_text_contents() if each in HOSTILE]
    assert sorted(names) == sorted(HOSTILE)
    page.set_viewport_size(SMALL)
    for uid in HOSTILE:
        page.goto("/users")
        page.locator("tbody th a").filter(has_text=uid).first.click()
        page.wait_for_url("**/users/*")
        assert page.locator("h1 bdi").inner_text() == uid
        assert overflow(page) <= 0, uid
        assert "online" in page.locator("#why").inner_text()
    assert watched.wrong == []


def test_a_user_is_found_explained_and_asked_about(context: BrowserContext, api: Api) -> None:
    watched = log_in(context)
    page = watched.goto("/users")
    page.get_by_label("User id").fill("u1")
    page.keyboard.press("Enter")
    page.wait_for_url("**/users?*")
    page.locator("tbody th a").first.click()
    page.wait_for_url("**/users/u100")
    assert page.locator("#day .bar.online").count() > 0
    instant = page.locator("#why time").first
    assert re.fullmatch(r"\d\d-\d\d \d\d:\d\d:\d\d", instant.inner_text())
    exact = instant.get_attribute("title")
    assert exact is not None
    assert exact.endswith("Z")
    # Shanghai is eight hours ahead.
    assert (int(exact[11:13]) + 8) % 24 == int(instant.inner_text()[6:8])
    slider = page.get_by_role("slider").first
    with page.expect_response(lambda answer: "part=why" in answer.url):
        slider.fill("10")
    page.locator("#why .status-unknown").wait_for()
    assert "at=" in page.url
    cited = page.locator("#events .position").first
    cited.click()
    page.wait_for_url("**/events/*")
    assert '"uid": "u100"' in page.locator("#json").inner_text()
    page.get_by_role("link", name="before", exact=False).last.click()
    page.wait_for_url("**/events/*")
    page.goto("/users/u100")
    page.get_by_role("button", name="Look now").click()
    page.wait_for_url("**done=look*")
    assert page.get_by_role("status").inner_text().startswith("A look was asked for.")
    page.get_by_label("Tier").select_option("vip")
    page.get_by_role("button", name="Set").first.click()
    page.wait_for_url("**done=tier*")
    expect(page.get_by_label("Tier")).to_have_value("vip")
    assert api.events("u100")[-1]["tier"] == "vip"
    assert api.events("u100")[-1]["by"] == "admin"
    page.get_by_text("Override the status").click()
    page.get_by_label("Reason").fill("phone lost <b>")
    page.get_by_label("Status").last.select_option("offline")
    page.get_by_role("button", name="Put it on record").click()
    page.wait_for_url("**done=override")
    page.locator("#why .cause-override").wait_for()
    api.wait_for_projections()
    page.reload()
    assert "phone lost <b>" in page.locator("#story").inner_text()
    page.get_by_role("button", name="End the override").click()
    page.wait_for_url("**done=override_ended")
    assert page.locator("#why .cause-override").count() == 0
    assert watched.wrong == []


def test_the_feed_shows_pauses_and_counts(context: BrowserContext, api: Api) -> None:
    watched = log_in(context)
    page = watched.goto("/live")
    expect(page.locator("#live-state")).to_contain_text("Connected", timeout=PATIENCE_MS)
    api.deliver("<b>live</b>-0-1-900-1-1")
    page.locator("#feed tbody th", has_text="<b>live</b>").wait_for()
    api.deliver("<b>live</b>-5-1-899-1-2")
    page.locator("#feed .badge", has_text="device 5 ×1").wait_for()
    page.get_by_role("button", name="Pause").click()
    api.deliver("<b>live</b>-0-0-900-0-0")
    expect(page.locator("#skipped")).to_have_text("1", timeout=PATIENCE_MS)
    page.get_by_role("button", name="Go on").click()
    page.get_by_label("User id contains").fill("other")
    api.deliver("<b>live</b>-0-1-901-1-1")
    expect(page.locator("#hidden")).to_have_text("1", timeout=PATIENCE_MS)
    assert page.locator("#feed tbody tr").count() == 2
    # What a source's darkness and a gap look like, by a stream of the test's own: the browser comes again and again.
    said = [(True, "dark")]

    def stream(route: Route) -> None:
        recovered, status = said[-1]
        source = {"source": "other", "status": status, "since": "2026-11-30T08:30:00Z"}
        told = (("resumed", {"recovered": recovered}), ("source", source))
        lines = [f"event: {event}\ndata: {json.dumps(data)}\n\n" for event, data in told]
        route.fulfill(content_type="text/event-stream", body="".join(["retry: 100\n\n", *lines]))

    page.route("**/live/feed?*", stream)
    watched.goto("/live")
    dark = re.compile("other has been dark since (2026-)?11-30 16:30:00")
    expect(page.locator("#live-dark")).to_have_text(dark, timeout=PATIENCE_MS)
    assert page.locator("#live-gap").is_hidden()
    said.append((False, "lit"))
    expect(page.locator("#live-gap")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("#live-dark p")).to_have_count(0, timeout=PATIENCE_MS)
    assert watched.wrong == []


def test_a_slice_is_what_export_writes(context: BrowserContext, service: FrontedService) -> None:
    page = log_in(context).goto("/users/u100")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Export this user's slice").click()
    lines = [json.loads(line) for line in downloading.value.path().read_text(encoding="utf-8").splitlines()]
    assert lines[0]["users"] == ["u100"]
    assert any(each.get("stream") == "user:u100" for each in lines)
    kept = service.folder / "slice.ndjson"
    kept.write_bytes(downloading.value.path().read_bytes())
    judged = service.command("replay", str(kept), "--json")
    assert judged.returncode == 0, judged.stderr
    assert set(json.loads(judged.stdout)["users"]) == {"u100"}


def test_a_session_ends_with_a_logout_and_with_its_key(service: FrontedService, context: BrowserContext) -> None:
    made = json.loads(service.command("keys", "create", "support", "--scope", "audit", "--json").stdout)["key"]
    watched = log_in(context, made, "/drift")
    page = watched.page
    assert page.get_by_role("button", name="Look at everybody").count() == 0
    [cookie] = [each for each in context.cookies() if each["name"] == "presence_ledger_session"]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
    assert service.command("keys", "revoke", "support").returncode == 0
    with httpx2.Client(base_url=service.front, trust_env=False, timeout=60) as client:
        client.cookies.set(cookie["name"], cookie["value"])
        wait_for(lambda: client.get("/drift").status_code == 303)
    other = log_in(context, KEYS["audit"]).page
    other.get_by_role("button", name="Log out").click()
    other.wait_for_url("**/login")
    other.goto("/")
    assert other.url.endswith("/login")
    assert made not in service.log()
    assert KEYS["audit"] not in service.log()


def test_the_gates_without_a_browser(service: FrontedService) -> None:
    with httpx2.Client(base_url=service.front, trust_env=False, timeout=60) as client:
        answer = client.get("/drift?state=open")
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fdrift%3Fstate%3Dopen")
        assert client.get("/v1/sources").status_code == 401
        small = client.post("/login", data={"key": KEYS["read"]})
        assert (small.status_code, "scope audit" in small.text) == (403, True)
        assert client.post("/login", data={"key": "guessed"}).status_code == 401
        assert client.post("/login", data={"key": KEYS["audit"], "next": "//evil.example"}).headers["location"] == "/"
        shown = client.get("/settings")
        assert shown.status_code == 200
        for secret in (*KEYS.values(), "webhook-secret-of-the-tests"):
            assert secret not in shown.text
        policy = shown.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        # The session's cookie opens pages, and nothing of the API.
        assert client.get("/v1/sources").status_code == 401
        assert client.post("/users/u100", data={"do": "tier", "tier": "vip"}).status_code == 403
        credentials = {"Authorization": "Console eyJhbGciOiJIUzI1NiJ9.e30.x"}
        assert client.get("/v1/sources", headers=credentials).status_code == 401
