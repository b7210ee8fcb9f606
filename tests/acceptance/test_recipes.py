"""The recipes of `docs/push.md` do what they say."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support import browser as browsers
from tests.support.command import process_environment
from tests.support.recipes import recipe
from tests.support.service import KEYS, PATIENCE_SECONDS, Api, wait_for
from tests.support.streams import FrontedService

PAGES: dict[str, str] = {}


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with browsers.website(PAGES) as origin:
        yield origin


@pytest.fixture(scope="module")
def service_settings(origin: str) -> dict[str, Any]:
    return {"front_origins": [origin]}


@pytest.fixture(scope="module")
def service(fronted_service: FrontedService) -> FrontedService:
    return fronted_service


def token(service: FrontedService, *uids: str) -> str:
    """What the app's backend gets for a page."""
    headers = {"Authorization": f"Bearer {KEYS['admin']}"}
    answer = httpx2.post(
        f"{service.front}/v1/stream/tokens", json={"uids": uids}, headers=headers, trust_env=False, timeout=60
    )
    if answer.status_code == 404:
        return KEYS["read"]  # of a service that has no tokens yet
    given: str = answer.json()["token"]
    return given


@pytest.mark.skipif(browsers.chromium() is None, reason="the system has no Chromium")
def test_friends_dots_in_a_web_page(service: FrontedService, api: Api, origin: str) -> None:
    PAGES["/"] = recipe("push.md", "friends.html", {"http://127.0.0.1:8641": service.front})
    PAGES["/presence-token"] = token(service, "alice", "bob")
    api.deliver("alice-0-1-1-1-1")
    with browsers.browser() as browser, browser.new_context() as context:
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        page = context.new_page()
        page.goto(origin)
        page.wait_for_selector("#friend-alice.online:not(.stale)")
        page.wait_for_selector("#friend-bob.unknown")
        api.deliver("bob-0-1-2-1-1", "alice-0-0-1-0-0")
        page.wait_for_selector("#friend-bob.online")
        page.wait_for_selector("#friend-alice.offline")
        context.set_offline(True)
        page.wait_for_selector("#friend-bob.online.stale")
        context.set_offline(False)
        page.wait_for_selector("#friend-bob.online:not(.stale)")


@contextmanager
def backend(folder: Path, service: FrontedService) -> Iterator[subprocess.Popen[bytes]]:
    """The backend as a process, killed at the end."""
    script = folder / "backend.py"
    script.write_text(recipe("push.md", "backend.py"), encoding="utf-8")
    named = {"TABLE": str(folder / "table"), "URL": service.front, "API_KEY": KEYS["read"]}
    environment = process_environment() | {
        "TABLE": named["TABLE"], "PRESENCE_LEDGER_URL": named["URL"], "PRESENCE_LEDGER_API_KEY": named["API_KEY"],
    }  # fmt: skip
    with subprocess.Popen([sys.executable, script], cwd=folder, env={**os.environ, **environment}) as process:
        try:
            yield process
        finally:
            process.kill()


def kept(folder: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(folder / "table", timeout=PATIENCE_SECONDS)) as table:
        try:
            return dict(table.execute("SELECT uid, status FROM shown"))
        except sqlite3.OperationalError:  # it has only begun
            return {}


def answered(api: Api) -> dict[str, Any]:
    return {each["uid"]: each["status"] for each in api.pages("/v1/presence", limit=1000)}


def test_a_backend_that_keeps_its_own_table(service: FrontedService, api: Api, tmp_path: Path) -> None:
    def is_right() -> bool:
        return kept(tmp_path) == answered(api)

    api.deliver(*(f"user{number}-0-1-{100 + number}-1-1" for number in range(20)))
    with backend(tmp_path, service):
        wait_for(is_right)
        api.deliver(*(f"user{number}-0-0-{100 + number}-0-0" for number in range(10)))
        wait_for(is_right)
    api.deliver(*(f"user{number}-1-1-{200 + number}-1-1" for number in range(5, 25)))
    with backend(tmp_path, service) as process:
        wait_for(is_right)
        assert process.poll() is None
