"""Every benchmark in its short form: it runs, and its figures are within easier bars, since others run beside it."""

import subprocess
import sys

import pytest

from tests.support.command import REPOSITORY, process_environment

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "name",
    [
        "ingest",
        "get_presence",
        "query",
        "timeline",
        "latency",
        "scale",
        "storm",
        "kills",
        "pg_stop",
        "score",
        "chaos",
        "lie",
        "restart",
        "leader_kills",
        "million",
        "explain",
        "projector_kills",
        "rebuild",
        "slices",
        "as_of",
        "tamper",
        "seal_cost",
    ],
)
def test_its_bars_are_held(name: str) -> None:
    # A coverage measurement of the processes would be measured along.
    environment = {k: v for k, v in process_environment().items() if not k.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", "--short"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    assert ": held" in done.stdout
    assert "MISSED" not in done.stdout
