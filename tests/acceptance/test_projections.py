"""The projections of a running service: followed, shown, stopped, skipped, rebuilt; the projector ends with it."""

import json
from typing import Any

import psycopg
from typer.testing import Result

from tests.support.command import call
from tests.support.service import PATIENCE_SECONDS, Api, Service, wait_for

SECONDS = PATIENCE_SECONDS
FOLLOWING = ("blind", "drift", "loss", "outages", "sessions", "snapshots")

_UNKNOWN = """
INSERT INTO events (stream, version, position, kind, payload, recorded_at)
SELECT 'source:elsewhere', 1, max(position) + 1, 'from_the_future.v1', '{}', max(recorded_at) FROM events
RETURNING position
"""


def command(service: Service, *arguments: str) -> Result:
    return call("--config", str(service.config), *arguments)


def shown(service: Service) -> dict[str, dict[str, Any]]:
    """What `projections` says, by name."""
    done = command(service, "projections", "--json")
    assert done.exit_code == 0, done.output
    return {each["projection"]: each for each in json.loads(done.stdout)["items"]}


def test_they_follow_and_say_how_far_they_are(service: Service, api: Api) -> None:
    api.deliver("followed-0-1-1-1-1", "followed-0-0-1-0-0")
    api.wait_for_projections()
    ready = api.get("/health/ready")
    assert ready["projections"] == {
        "current": {"state": "inline", "lag": 0},
        **{name: {"state": "following", "lag": 0} for name in FOLLOWING},
    }
    metrics = api.http.get("/metrics").text
    assert 'presence_ledger_projection_lag_events{projection="outages"} 0.0' in metrics
    assert 'presence_ledger_projection_stopped{projection="current"} 0.0' in metrics
    listed = shown(service)
    assert list(listed) == ["current", *FOLLOWING]
    assert {(each["lag"], each["position"]) for each in listed.values()} == {(0, ready["head"])}
    assert "following" in command(service, "projections").stdout


def test_a_projector_that_dies_is_started_again_and_has_lost_nothing(service: Service, api: Api) -> None:
    killed = service.beside("ledger.service.projector")
    killed.kill()
    api.deliver("after-0-1-2-1-1")
    api.wait_for_projections()
    assert service.beside("ledger.service.projector").pid != killed.pid
    assert '"process_ended"' in service.log()
    assert api.http.get("/health/ready").status_code == 200


def test_a_rebuild_beside_the_running_service(service: Service, api: Api) -> None:
    api.deliver(*(f"rebuilt-{n}-0-1-{n}-1-1" for n in range(10, 30)))
    api.wait_for_projections()
    done = command(service, "rebuild", "current", "outages", "sessions", "--json")
    assert done.exit_code == 0, done.output
    current, *others = json.loads(done.stdout)["items"]
    assert (current["projection"], current["different"], current["uids"]) == ("current", 0, [])
    assert [each["projection"] for each in others] == ["outages", "sessions"]
    assert api.presence("rebuilt-10")["status"] == "online"
    api.deliver("rebuilt-10-0-0-10-0-0")
    assert api.presence("rebuilt-10")["status"] == "offline"
    said = command(service, "rebuild", "current").stderr
    assert "every row was identical to the live one" in said


def test_a_rebuild_that_finds_a_difference_says_so(service: Service, api: Api, module_database_url: str) -> None:
    api.deliver("altered-0-1-50-1-1")
    with psycopg.connect(module_database_url) as connection:
        connection.execute("UPDATE current SET status = 'offline' WHERE uid = 'altered'")
    done = command(service, "rebuild", "current")
    assert done.exit_code == 0
    assert "the live rows of 1 user were not what the ledger says" in done.stderr
    assert "the first of them: altered" in done.stderr


def test_wrong_calls_are_refused(service: Service) -> None:
    unknown = command(service, "rebuild", "cache")
    assert unknown.exit_code == 2
    assert "choose from current, drift, sessions, snapshots, outages" in unknown.stderr
    assert command(service, "projections", "--skip", "current", "1").exit_code == 2
    nothing = command(service, "projections", "--skip", "drift", "1")
    assert nothing.exit_code == 1
    assert "'drift' is not stopped" in nothing.stderr


def test_an_unknown_kind_stops_all_that_follow_until_it_is_skipped(
    service: Service, api: Api, module_database_url: str
) -> None:
    api.wait_for_projections()
    with psycopg.connect(module_database_url) as connection:
        row = connection.execute(_UNKNOWN).fetchone()
    assert row is not None
    [position] = row
    wait_for(lambda: all(shown(service)[name]["state"] == "stopped" for name in FOLLOWING), service.log)
    api.deliver("goes-on-0-1-60-1-1")
    assert api.presence("goes-on")["status"] == "online"
    ready = api.get("/health/ready")
    assert ready["projections"]["outages"]["state"] == "stopped"
    assert ready["projections"]["outages"]["lag"] >= 3
    wait_for(lambda: 'presence_ledger_projection_stopped{projection="drift"} 1.0' in api.http.get("/metrics").text)
    told = shown(service)["drift"]
    assert (told["position"], told["stopped_position"]) == (position - 1, position)
    assert "from_the_future.v1" in told["stopped_reason"]
    assert "projection_stopped" in service.log()
    elsewhere = command(service, "projections", "--skip", "drift", str(position + 1))
    assert f"'drift' is stopped at position {position}" in elsewhere.stderr
    for name in FOLLOWING:
        done = command(service, "projections", "--skip", name, str(position))
        assert f"{name} goes on without the event at position {position}" in done.stderr
    api.wait_for_projections()


def test_it_ends_with_the_service_however_that_ends(service: Service) -> None:
    for end in (service.stop, service.kill):
        projector = service.beside("ledger.service.projector")
        end()
        projector.wait(SECONDS)
        service.start()
