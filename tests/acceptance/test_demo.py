"""What a newcomer sees: events as they are recorded, changes as the stream tells of them, webhooks that went on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import process_environment


@pytest.mark.slow
def test_a_demo_shows_the_ledger_the_stream_and_the_business_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ledger", "demo", "--seconds", "5", "--rate", "30", "--users", "30"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=process_environment(measured=True),
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"the console is at http://127\.0\.0\.1:\d+/ .* `cat \S+/admin\.key` shows", done.stderr)
    assert re.search(r"curl -N -H @\S+key\.header http://127\.0\.0\.1:\d+/v1/stream", done.stderr)
    assert re.search(r" opened +\S+ -> online +online_new", done.stdout)
    assert re.search(r">> told by the stream: \w+ -> online", done.stdout)
    told, forwarded = (int(re.search(rf"(\d+) {what}", done.stderr)[1]) for what in ("told", "forwarded"))  # type: ignore[index]
    assert told > 0
    assert forwarded > 0
    assert not list(tmp_path.iterdir())
