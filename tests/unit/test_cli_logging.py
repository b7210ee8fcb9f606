"""What the service would log, a command logs beside what it prints."""

from pathlib import Path

import pytest
import structlog

from ledger.cli.access import started_database_url
from ledger.settings.load import load


def test_a_command_logs_to_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    file = tmp_path / "presence-ledger.toml"
    file.write_text(f'database_url = "postgresql://h/d"\ndata_dir = "{tmp_path}"\nlog_format = "json"\n')
    with started_database_url(load(file)):
        structlog.get_logger().warning("archiving_again")
    printed = capfd.readouterr()
    assert (printed.out, '"event": "archiving_again"' in printed.err) == ("", True)
    assert structlog.get_config() == before
