"""Checks that a running service seals all that it appends, and is verified and backed up meanwhile."""

import json
from pathlib import Path

from tests.support import pg
from tests.support.command import call
from tests.support.service import Api, new_service

ITEMS = [f"u{number}-0-1-{number + 1}-1-1" for number in range(50)]


def test_what_a_service_appends_is_sealed_and_backed_up_while_it_runs(tmp_path: Path, data_dir: Path) -> None:
    pg.make_data_dir(data_dir)
    with new_service(tmp_path / "service", data_dir) as service:
        service.start()
        config = str(service.config)
        with Api(service) as api:
            api.deliver(*ITEMS)
            running = call("verify", "--json", "--export-head", str(tmp_path / "head.json"), CONFIG=config)
            assert running.exit_code == 0, running.output
            assert json.loads(running.stdout)["events"] > len(ITEMS)
            saved = call("backup", str(tmp_path / "ledger.backup"), CONFIG=config)
            assert saved.exit_code == 0, saved.output
            api.deliver("u7-0-0-8-0-0")
        refused = call("restore", str(tmp_path / "ledger.backup"), "--replace", CONFIG=config)
        assert (refused.exit_code, "is in use by the service" in refused.stderr) == (1, True)
        service.stop()
        # The database is stopped as well, and started for so long.
        stopped = call("verify", "--json", "--head", str(tmp_path / "head.json"), CONFIG=config)
        assert stopped.exit_code == 0, stopped.output
        assert json.loads(stopped.stdout)["events"] > json.loads(running.stdout)["events"]
        assert call("restore", str(tmp_path / "ledger.backup"), "--replace", CONFIG=config).exit_code == 0
        service.start()
        with Api(service) as api:
            assert api.presence("u7")["status"] == "online"
            again = call("verify", "--head", str(tmp_path / "head.json"), CONFIG=config)
            assert again.exit_code == 0, again.output
