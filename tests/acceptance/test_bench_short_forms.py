"""Every benchmark in its short form: it runs, and what it finds is right; how fast is not asked."""

import pkgutil
import signal
import subprocess
import sys

import pytest

import bench.outside
from tests.support import pg
from tests.support.command import REPOSITORY, process_environment
from tests.support.redis_server import needs_redis

pytestmark = pytest.mark.slow

SECONDS = 540.0
SEED = "12"

WITHOUT_A_DATABASE = ["score", "explain", "loss"]
ON_THEIR_OWN = ["kills", "pg_stop", "get_presence"]
"""They kill their PostgreSQL; and one is run as people run it."""
ON_THE_TESTS_SERVER = [
    "ingest",
    "query",
    "query_few",
    "timeline",
    "latency",
    "scale",
    "storm",
    "chaos",
    "lie",
    "restart",
    "leader_kills",
    "million",
    "projector_kills",
    "rebuild",
    "slices",
    "as_of",
    "tamper",
    "seal_cost",
    "aggregation",
    "streams",
    "stream_kills",
    "sinks",
    "wukongim_sink",
    pytest.param("redis_sink", marks=needs_redis),
]
CHAPTERS = sorted(each.name for each in pkgutil.iter_modules(bench.outside.__path__) if not each.name.startswith("_"))


def printed(*arguments: str) -> str:
    """What a script prints that must end well."""
    # A coverage measurement of the processes would be measured along.
    environment = {k: v for k, v in process_environment().items() if not k.startswith("COVERAGE_")}
    command = [sys.executable, "-m", *arguments, "--short"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=pipe, stderr=pipe, text=True) as running:
        try:
            output, errors = running.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            # It ends what it has started.
            running.send_signal(signal.SIGINT)
            output, errors = running.communicate()
    assert running.returncode == 0, f"{output}\n{errors[-3000:]}"
    assert "MISSED" not in output
    assert "Measured " in output
    return output


@pytest.mark.parametrize("name", ON_THE_TESTS_SERVER)
def test_what_it_finds_is_right(name: str) -> None:
    printed(f"bench.{name}", "--seed", SEED, "--database-url", pg.server_url("embedded"))


@pytest.mark.parametrize("name", WITHOUT_A_DATABASE + ON_THEIR_OWN)
def test_what_it_finds_by_itself_is_right(name: str) -> None:
    printed(f"bench.{name}", "--seed", SEED)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_what_people_met_from_outside_is_right_now(chapter: str) -> None:
    assert ": held" in printed("bench.outside", chapter)
