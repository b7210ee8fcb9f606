"""One port, one ledger; one ledger, the same secrets; and a database put back under two running instances."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx2
import pytest

from tests.support.command import call
from tests.support.ledgers import SEAL_KEY
from tests.support.load import check_ledger
from tests.support.older_copy import OlderCopy
from tests.support.service import MAIN, SECRET, Api, Port, Service, new_service, wait_for

WITHOUT_SECRET = re.sub("webhook_secret = .*\n", "", MAIN)


def refusal(service: Service) -> str:
    """What it says when it does not start."""
    service.spawn()
    code, log = service.wait(60)
    assert code == 1, log
    return "\n".join(line for line in log.splitlines() if not line.startswith("{"))


def test_another_ledgers_service_does_not_share_the_port(
    service: Service, api: Api, empty_database_url: str, tmp_path: Path
) -> None:
    port = Port()
    try:
        other = Service(tmp_path, port, tmp_path / "data", database_url=empty_database_url)
        other.port = service.port
        other.reconfigure()
        said = refusal(other)
    finally:
        port.release()
    instance = api.get("/health/live")["instance"]
    assert f"127.0.0.1:{service.port} is taken by the service of another ledger ({instance})" in said
    assert "Stop that one, or set `listen` to another port." in said
    # Nothing was disturbed.
    assert {api.get("/health/live")["instance"] for _ in range(10)} == {instance}


def test_an_embedded_database_is_not_even_started_where_the_port_is_in_use(
    service: Service, data_dir: Path, tmp_path: Path
) -> None:
    port = Port()
    try:
        other = Service(tmp_path, port, data_dir)
        other.port = service.port
        other.reconfigure()
        assert "is taken by the service of another ledger" in refusal(other)
    finally:
        port.release()
    assert not (data_dir / "postgres").exists()


def test_an_instance_without_the_ledgers_secrets_does_not_start(
    service: Service, module_database_url: str, tmp_path: Path
) -> None:
    with new_service(tmp_path, tmp_path / "data", database_url=module_database_url, tables=WITHOUT_SECRET) as other:
        lines = other.config.read_text("utf-8").splitlines(keepends=True)
        other.config.write_text("".join(line for line in lines if not line.startswith("seal_keys")), encoding="utf-8")
        said = refusal(other)
        assert "Set seal_keys, webhook_secret of the source main, as on the other instances." in said
        assert SECRET not in said
        assert sorted(file.name for file in (tmp_path / "data").iterdir()) == ["lock"]
        # Nor does an import seal with a key of its own.
        slice_file = str(tmp_path / "slice.ndjson.gz")
        assert call("export", slice_file, CONFIG=str(service.config)).exit_code == 0
        imported = call("import", slice_file, CONFIG=str(other.config))
        assert (imported.exit_code, "Set seal_keys, as" in imported.stderr) == (1, True), imported.output
    verified = call(
        "verify", DATABASE_URL=module_database_url, SEAL_KEYS=SEAL_KEY.text, DATA_DIR=str(tmp_path / "none")
    )
    assert verified.exit_code == 0, verified.output


@pytest.fixture
def two(database_url: str, tmp_path: Path) -> Iterator[list[Service]]:
    """Two instances of one ledger."""
    with ExitStack() as stack:
        two = [
            stack.enter_context(new_service(tmp_path / name, tmp_path / name / "data", database_url=database_url))
            for name in ("a", "b")
        ]
        for service in two:
            service.spawn()
        for service in two:
            service.wait_until_ready()
        yield two


def is_ready(api: Api) -> bool:
    return api.http.get("/health/ready").status_code == 200


def is_checked(api: Api) -> bool:
    """Whether it says that the ledger went back, and that `current` has been held against the events since."""
    went_back = api.ready()["ledger"]["went_back"]
    return went_back is not None and not went_back["being_checked"]


def accepted(api: Api, *items: str) -> bool:
    """Whether a webhook is taken; PostgreSQL may be away."""
    try:
        return api.hook(items).status_code == 200
    except httpx2.TransportError:
        return False


def test_a_database_that_lost_commits_under_two_instances(two: list[Service], database_url: str) -> None:
    copy = OlderCopy(database_url)
    try:
        with Api(two[0]) as a, Api(two[1]) as b:
            a.deliver("u-0-1-1-1-1", "gone-0-1-1-1-1", "gone-0-0-1-0-0")
            copy.keep()
            wait_for(lambda: accepted(a, "u-0-1-2-1-2"))
            wait_for(lambda: accepted(b, "u-0-0-2-1-1", "lost-0-1-3-1-1", "gone-0-1-4-1-1"))
            wait_for(lambda: is_ready(a))
            a.wait_for_projections()
            copy.go_back()
            wait_for(lambda: accepted(a, "v-0-1-5-1-1"))
            wait_for(lambda: accepted(b, "u-0-0-1-0-0", "gone-0-1-6-1-1"))
            for api in (a, b):
                wait_for(partial(is_ready, api))
                wait_for(partial(is_checked, api))
                statuses = {uid: api.presence(uid)["status"] for uid in ("u", "v", "gone", "lost")}
                assert statuses == {"u": "offline", "v": "online", "gone": "online", "lost": "unknown"}
            a.wait_for_projections()
            events = check_ledger(a)
            assert b.ledger() == events
            assert [event["raw"] for event in a.events("gone")] == [
                "gone-0-1-1-1-1",
                "gone-0-0-1-0-0",
                "gone-0-1-6-1-1",
            ]
            assert [each["position"] for each in a.get("/v1/users/u/timeline")["items"]] == [
                event["position"] for event in events if event.get("uid") == "u"
            ]
        assert any('"ledger_went_back"' in service.log() for service in two)
    finally:
        copy.drop()
