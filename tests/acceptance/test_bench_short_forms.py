"""Every benchmark in its short form: it runs, and what it finds is right; how fast is not asked."""

import pkgutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import bench.outside
from tests.support import pg
from tests.support.command import REPOSITORY, process_environment
from tests.support.external import RUN_VARIABLE
from tests.support.forked import Forked
from tests.support.redis_server import needs_redis

pytestmark = pytest.mark.slow

SECONDS = 540.0
SEED = "12"

WITHOUT_A_DATABASE = ["explain", "loss"]
ON_THEIR_OWN = ["kills", "pg_stop", "failover", "get_presence"]
"""They kill their PostgreSQL; and one begins with it."""
ON_THE_TESTS_SERVER = [
    "ingest",
    "query",
    "query_few",
    "timeline",
    "latency",
    "sustained",
    "scale",
    "partitions",
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
    "watched",
    "aggregation",
    "streams",
    "stream_kills",
    "sinks",
    "wukongim_sink",
    pytest.param("redis_sink", marks=needs_redis),
]
CHAPTERS = sorted(each.name for each in pkgutil.iter_modules(bench.outside.__path__) if not each.name.startswith("_"))


def printed(folder: Path, *arguments: str) -> str:
    """What a script prints that must end well."""
    module, *others = arguments
    log = folder / "log"
    running = Forked(module, [*others, "--short"], REPOSITORY, process_environment(), log)
    try:
        code = running.wait(SECONDS)
    except subprocess.TimeoutExpired:
        # It ends what it has started.
        running.send_signal(signal.SIGINT)
        code = running.wait(SECONDS)
    output = log.read_text(encoding="utf-8")
    assert code == 0, output[-8000:]
    assert "MISSED" not in output
    assert "Measured " in output
    return output


@pytest.mark.parametrize("name", ON_THE_TESTS_SERVER)
def test_what_it_finds_is_right(name: str, tmp_path: Path) -> None:
    printed(tmp_path, f"bench.{name}", "--seed", SEED, "--database-url", pg.server_url("embedded"))


@pytest.mark.parametrize("name", WITHOUT_A_DATABASE + ON_THEIR_OWN)
def test_what_it_finds_by_itself_is_right(name: str, tmp_path: Path) -> None:
    printed(tmp_path, f"bench.{name}", "--seed", SEED)


def test_one_that_is_run_as_people_run_it() -> None:
    environment = {name: value for name, value in process_environment().items() if name != RUN_VARIABLE}
    command = [sys.executable, "-m", "bench.score", "--short", "--seed", SEED]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "Measured " in done.stdout) == (0, True), done.stderr[-3000:]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_what_people_met_from_outside_is_right_now(chapter: str, tmp_path: Path) -> None:
    assert ": held" in printed(tmp_path, "bench.outside", chapter)
