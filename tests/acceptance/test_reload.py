"""A running service takes changed settings: no webhook is refused, an error changes nothing; ending all is a stop."""

import json
import signal
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from bench._receiver import SECRET as SINK_SECRET
from bench._receiver import Receiver, receiving
from tests.support import notices
from tests.support.alongside import group_of
from tests.support.load import Load, check_ledger
from tests.support.service import MAIN, SECRET, Api, Service, source_table, wait_for
from tests.support.streams import FrontedService

NEW_SECRET = "newer-webhook-secret"
NEW_KEY = "key-of-a-newcomer"
KEY = f'[api_keys.newcomer]\nkey = "{NEW_KEY}"\nscopes = ["read"]\n'
SINK = '[[sinks]]\nname = "app"\nkind = "webhook"\nurl = "{url}"\nsecret = "{secret}"\ncoalesce_seconds = 0\n'


ALERTS = '[[notify]]\nname = "oncall"\nurl = "{url}"\n[alerts]\nevaluate_seconds = 0.2\n'


def main(*secrets: str, nodes: tuple[str, ...] = ("n1",)) -> str:
    return source_table("main", dict.fromkeys(nodes, ""), webhook_secret=list(secrets))


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[socket.socket]:
    """What a service of `Type=notify` tells."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path_factory.mktemp("systemd") / "notify"))
        listening.settimeout(120)
        yield listening


@pytest.fixture(scope="module")
def service(fronted_service: FrontedService) -> FrontedService:
    return fronted_service


@pytest.fixture(autouse=True)
def _as_at_first(service: Service, api: Api) -> Iterator[None]:
    yield
    service.reconfigure(tables=MAIN, listen=f"127.0.0.1:{service.port}")
    assert api.http.post("/v1/settings/reload").status_code == 200


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def oncall() -> Iterator[notices.Receiver]:
    with notices.receiver() as receiver:
        yield receiver


def reload(service: Service) -> Any:
    done = service.command("reload", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return [f"{each['setting']} {each['change']}" for each in found["taken"]], found["restart"]


def post(service: Service, secret: str, node: str = "n1", source: str = "main") -> int:
    path = service.hook_path(node, source, secret)
    return httpx2.post(f"{service.url}{path}", content=b'["u1-0-1-1-1-1"]', trust_env=False, timeout=60).status_code


def answers(service: Service) -> list[int]:
    """To a new secret, a new node, a new source."""
    return [post(service, NEW_SECRET), post(service, SECRET, "n2"), post(service, SECRET, source="second")]


def reads(url: str) -> int:
    headers = {"Authorization": f"Bearer {NEW_KEY}"}
    return httpx2.get(f"{url}/v1/users/u1/presence", headers=headers, trust_env=False, timeout=60).status_code


def test_under_load_every_webhook_is_answered_as_its_secret_says(
    service: FrontedService, api: Api, receiver: Receiver, oncall: notices.Receiver
) -> None:
    changed = main(NEW_SECRET, SECRET, nodes=("n1", "n2")) + source_table("second", {"n1": ""})
    changed += SINK.format(url=receiver.url, secret=SINK_SECRET) + KEY + "[policy]\ngrace_seconds = 0.5\n"
    changed += ALERTS.format(url=oncall.url)
    paths = [(service.port, service.hook_path())]
    with Load(paths, name="both") as both:
        both.wait_for(10)
        assert answers(service) == [403, 403, 403]
        assert (reads(service.url), reads(service.front)) == (401, 401)
        service.reconfigure(tables=changed)
        assert reload(service) == (
            [
                "sources.main.nodes.n2 added",
                "sources.main.webhook_secret changed",
                "sources.second added",
                "policy.grace_seconds changed",
                "api_keys.newcomer added",
                "sinks.app added",
                "notify.oncall added",
                "alerts.evaluate_seconds changed",
            ],
            [],
        )
        assert answers(service) == [200, 200, 200]
        assert reads(service.url) == 200
        wait_for(lambda: reads(service.front) == 200)
        both.wait_for(20)
        wait_for(lambda: api.get("/v1/sinks")["items"][0]["state"] == "following", service.log)
        api.deliver("late-0-1-7-1-1")
        wait_for(lambda: "late" in receiver.shown)
        wait_for(lambda: post(service, "an-unknown-secret") == 403 and oncall.taken)
    assert both.outcomes().keys() == {"acknowledged"}
    with Load([(service.port, service.hook_path(secret=NEW_SECRET)), *paths], senders=2, name="either") as either:
        either.wait_for(20)
        service.reconfigure(tables=main(NEW_SECRET))
        taken, _ = reload(service)
        assert "sources.second removed" in taken
        either.wait_for(10, "refused")
        either.wait_for(20)
    assert {each.status for each in either.posts} == {200, 403}
    assert (post(service, SECRET), post(service, NEW_SECRET)) == (403, 200)
    wait_for(lambda: reads(service.front) == 401)
    events = check_ledger(api)
    assert both.broken_promises(events) == either.broken_promises(events) == []
    stops = [each["source"] for each in api.source_events("service_stopped")]
    assert stops == ["second"]
    policies = [each for each in api.source_events("configured") if each["policy"]["grace_seconds"] == 0.5]
    assert {each["source"] for each in policies} == {"main", "second"}
    log = service.log()
    for secret in (SECRET, NEW_SECRET, NEW_KEY, SINK_SECRET):
        assert secret not in log


def test_settings_with_an_error_change_nothing_and_the_line_is_told(service: FrontedService, api: Api) -> None:
    before = api.get("/v1/settings")
    service.reconfigure(tables=main(NEW_SECRET) + KEY + "[policy]\ngrace_second = 1\n")
    lines = service.config.read_text(encoding="utf-8").splitlines()
    place = f"line {lines.index('grace_second = 1') + 1}: policy.grace_second is an unknown key"
    done = service.command("reload")
    assert done.returncode == 1
    assert place in done.stderr
    answer = api.http.post("/v1/settings/reload")
    assert (answer.status_code, answer.json()["title"]) == (409, "Conflict")
    assert place in answer.json()["detail"]
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: _logged(service, "reload_refused", by="SIGHUP"), service.log)
    assert place in _logged(service, "reload_refused", by="API key admin")[0]["reason"]
    assert api.get("/v1/settings") == before
    assert (post(service, SECRET), post(service, NEW_SECRET), reads(service.front)) == (200, 403, 401)


def test_what_needs_a_restart_is_named_and_stays_as_it_was(service: FrontedService, api: Api) -> None:
    service.reconfigure(queue_items=1000, front_origins=["https://app.example"])
    taken, restart = reload(service)
    assert taken == ["front_origins changed"]
    assert [(each["setting"], each["change"]) for each in restart] == [("queue_items", "changed")]
    assert restart[0]["way_out"].startswith("restart the service")
    shown = {each["key"]: each["value"] for each in api.get("/v1/settings")["items"]}
    assert (shown["queue_items"], shown["front_origins"]) == (200_000, ["https://app.example"])

    def allowed() -> str | None:
        headers = {"Origin": "https://app.example"}
        answer = httpx2.get(f"{service.front}/health/live", headers=headers, trust_env=False)
        found: str | None = answer.headers.get("access-control-allow-origin")
        return found

    wait_for(lambda: allowed() == "https://app.example")
    said = service.command("reload").stdout
    assert "queue_items" in said
    assert "after a restart" in said
    service.reconfigure(queue_items=200_000, front_origins=[])
    assert "front_origins" in service.command("reload", "--lang", "zh").stdout
    assert "nothing has changed" in service.command("reload").stderr


def test_systemd_is_told_of_start_reload_and_stop(
    systemd: socket.socket, service: FrontedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every process ended at once is a stop in order: no failure in the log, and nothing is started again."""
    service.stop()
    variables = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "300000000"}
    with monkeypatch.context() as patched:
        patched.setattr(service, "environment", lambda: FrontedService.environment(service) | variables)
        service.start()
    told = _told_until(systemd, "READY=1")
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: _logged(service, "reloaded", by="SIGHUP"), service.log)
    told += _told_until(systemd, "READY=1")
    assert [each.partition("\n")[0] for each in told if each != "WATCHDOG=1"] == ["READY=1", "RELOADING=1", "READY=1"]
    assert "WATCHDOG=1" in told
    before = len(service.log())
    group = group_of(service.process.pid)
    assert len(group) >= 3
    for process in reversed(group):
        process.send_signal(signal.SIGTERM)
    ended = service.wait()
    assert ended.code == 0
    assert _told_until(systemd, "STOPPING=1")[-1] == "STOPPING=1"
    said = [json.loads(line) for line in ended.log[before:].splitlines()]
    assert {each["level"] for each in said} <= {"info", "debug"}, said
    assert "process_started" not in {each["event"] for each in said}
    service.start()


def _told_until(systemd: socket.socket, last: str) -> list[str]:
    told = [systemd.recv(4096).decode()]
    while told[-1] != last:
        told.append(systemd.recv(4096).decode())
    return told


def _logged(service: Service, event: str, **facts: str) -> list[Any]:
    found = [json.loads(line) for line in service.log().splitlines() if f'"event": "{event}"' in line]
    return [each for each in found if facts.items() <= each.items()]
