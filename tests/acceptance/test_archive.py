"""Old events that leave the database of a running service: commands, routes, and the same answers as before."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.archived import ONCE, age, live
from tests.support.ledgers import opened
from tests.support.service import MAIN, Api, Service, new_service, wait_for

UIDS = ("ann", ONCE)
TO_THE_HEAD = ("today_same", "nothing_since")
"""Statements of what is so today, which cite the head."""
RETENTION = "\n[retention]\nevents_days = {days}\n"
ALERTS = "\n[alerts]\nevaluate_seconds = 0.2\nclear_seconds = 0\n"


@pytest.fixture(scope="module")
def service(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of a ledger of ten days ago, in small partitions."""
    with opened(module_database_url) as ledger:
        live(ledger, module_database_url)
    age(module_database_url, 10)
    folder = tmp_path_factory.mktemp("service")
    tables = MAIN + RETENTION.format(days=1) + ALERTS
    with new_service(
        folder, folder / "data", database_url=module_database_url, measured=True, tables=tables
    ) as service:
        yield service.start()


def answers(api: Api) -> dict[str, Any]:
    events = {uid: api.get(f"/v1/users/{uid}/events", limit=1000)["items"] for uid in UIDS}
    asked: dict[str, Any] = {"events": events, "ledger": api.get("/v1/ledger/events", limit=150)}
    for uid in UIDS:
        at = events[uid][len(events[uid]) // 2]["recorded_at"]
        asked[f"then {uid}"] = api.get(f"/v1/users/{uid}/presence", at=at, known_at=at)
        why = api.get(f"/v1/users/{uid}/explain", at=at)
        why["statements"] = [each for each in why["statements"] if each["code"] not in TO_THE_HEAD]
        asked[f"why {uid}"] = why
        asked[f"sessions {uid}"] = api.get(f"/v1/users/{uid}/sessions", limit=1000)["items"]
        asked[f"oldest {uid}"] = api.get(f"/v1/users/{uid}/sessions", limit=2, open="false")["items"]
        asked[f"story {uid}"] = api.get(f"/v1/users/{uid}/timeline", limit=1000)["items"]
        asked[f"last {uid}"] = api.get(f"/v1/users/{uid}/events", limit=3, order="desc")["items"]
        asked[f"lines {uid}"] = api.http.get(
            f"/v1/users/{uid}/events", headers={"Accept": "application/x-ndjson"}
        ).text.splitlines()
    delivery = events[ONCE][0]["delivery"]
    asked["delivery"] = api.get(f"/v1/deliveries/{delivery}")
    at = events["ann"][0]["recorded_at"]
    asked["both"] = api.http.post("/v1/presence/query", json={"uids": list(UIDS), "at": at, "position": 40}).json()
    return asked


def test_it_is_asked_as_before(service: Service, api: Api) -> None:
    before = answers(api)
    archive = service.data_dir / "archive"
    cannot_be_written(service, api, archive)
    # Nothing leaves while the projector is behind; what has left before it was, stays where it is.
    done = wait_for(lambda: archived(service), service.log)
    firsts = sorted(int(file.name.split("-")[1]) for file in archive.iterdir())
    assert firsts == [1, 50, 100]
    assert [each["first"] for each in done["items"]] == firsts[3 - len(done["items"]) :]
    assert answers(api) == before
    past = api.http.get("/v1/ledger/events", params={"limit": 1})
    assert past.headers["Presence-Ledger-Archived-Before"] == "150"
    sessions = api.http.get("/v1/users/ann/sessions", params={"limit": 2})
    assert sessions.headers["Presence-Ledger-Archived-Before"] == "150"
    newest = api.http.get("/v1/users/ann/sessions", params={"limit": 2, "open": "true", "order": "desc"})
    assert "Presence-Ledger-Archived-Before" not in newest.headers
    at = before["events"]["ann"][0]["recorded_at"]
    for path in ("presence", "explain"):
        found = api.http.get(f"/v1/users/ann/{path}", params={"at": at})
        assert found.headers["Presence-Ledger-Archived-Before"] == "150"
    assert "archived" not in str(api.http.get("/v1/users/ann/presence").headers).lower()

    assert service.command("archive").stderr == "nothing to archive: no whole partition is older than 1 day\n"
    told = service.command("archive", "verify")
    assert (told.returncode, told.stdout.startswith("intact: 3 files, ")) == (0, True)
    assert service.command("verify").returncode == 0
    answer = api.http.post("/v1/archive")
    assert (answer.status_code, answer.json()["running"], answer.json()["before"]) == (202, True, 150)
    last = wait_for(lambda: finished(api), service.log)
    assert (last["failed"], last["archived"], last["files"]) == (None, 0, 3)
    wait_for(lambda: failing(api, "resolved"), service.log)

    rebuilt = service.command("rebuild", "sessions")
    assert (rebuilt.returncode, "sessions: rebuilt" in rebuilt.stderr) == (0, True)
    assert api.get("/v1/users/ann/timeline", limit=1000)["items"] == before["story ann"]
    assert api.get("/v1/users/ann/sessions", limit=1000)["items"] == before["sessions ann"]
    missing(service, api, archive, at)
    erased(service, api)
    assert api.get("/v1/users/ann/sessions", limit=1000)["items"] == before["sessions ann"]
    assert service.command("archive", "restore").returncode == 0
    assert list(archive.iterdir()) == []
    assert api.get("/v1/users/ann/sessions", limit=1000)["items"] == before["sessions ann"]
    assert service.command("verify").returncode == 0


def failing(api: Api, state: str) -> Any:
    alerts = [each for each in api.pages("/v1/alerts", state=state) if each["name"] == "archive_failing"]
    return len(alerts) == 1 and alerts[0]


def cannot_be_written(service: Service, api: Api, archive: Path) -> None:
    """What stands where the folder is to be is a file: nothing is archived, and that is told."""
    if archive.exists():
        archive.rmdir()
    archive.write_text("no folder", encoding="utf-8")
    assert api.http.post("/v1/archive").status_code == 202
    alert = wait_for(lambda: failing(api, "firing"), service.log)
    assert (alert["source"], bool(alert["subject"])) == (None, True)
    assert str(archive) in alert["summary"]["en"]
    archive.unlink()


def archived(service: Service) -> Any:
    made = service.command("archive", "--json")
    return json.loads(made.stdout) if made.returncode == 0 else None


def finished(api: Api) -> Any:
    now = api.get("/v1/archive")
    return now if now["finished_at"] and not now["running"] else None


def missing(service: Service, api: Api, archive: Path, at: str) -> None:
    path = min(archive.iterdir())
    path.rename(archive / "elsewhere")
    answer = api.http.get("/v1/users/ann/presence", params={"at": at})
    assert (answer.status_code, answer.json()["title"]) == (503, "Archive damaged")
    assert path.name in answer.json()["detail"]
    answer = api.http.get("/v1/users/ann/sessions")
    assert (answer.status_code, path.name in answer.json()["detail"]) == (503, True)
    told = service.command("archive", "verify")
    assert (told.returncode, "Altered at position 1: the archive's file" in told.stderr) == (1, True)
    (archive / "elsewhere").rename(path)


def erased(service: Service, api: Api) -> None:
    assert api.http.post(f"/v1/users/{ONCE}/erase", json={"reason": "asked"}).json()["events"] == 1
    assert api.get(f"/v1/users/{ONCE}/events")["items"] == []
    assert api.get(f"/v1/users/{ONCE}/sessions")["items"] == []
    assert service.command("archive", "verify").returncode == 0


def test_nothing_leaves_by_default(service: Service) -> None:
    service.reconfigure(tables=MAIN)
    told = service.command("archive")
    assert (told.returncode, "retention.events_days is 0" in told.stderr) == (0, True)
    wrong = service.command("archive", "--all")
    assert (wrong.returncode, "No such option: --all" in wrong.stderr) == (2, True)
