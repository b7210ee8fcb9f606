"""What every test may ask for, a PostgreSQL server and a database of its own on it; and how Hypothesis draws."""

import gc
import signal
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import citus as citus_cluster
from tests.support import pg, sharing_out

# The same examples each time, so that a run says something of the change and not of its luck; `make explore` hunts. No
# bound on an example's time, since the machine may be busy.
settings.register_profile(
    "explore", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow], derandomize=False
)
settings.register_profile("gate", settings.get_profile("explore"), derandomize=True, database=None)
settings.load_profile("gate")

# A shell that starts the tests in the background has them ignore it, and whatever they start as well.
signal.signal(signal.SIGINT, signal.default_int_handler)

RUN = pytest.StashKey[pg.Run]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--citus",
        metavar="URL",
        help="run on distributed ledgers, in a database of a Citus coordinator that may be used up",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[RUN] = pg.Run.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    if (run := config.stash.get(RUN, None)) is not None:
        run.end()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """All that is found stays: looking for garbage in it takes a third of the time, and is left out afterwards too."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        sharing_out.put_long_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> sharing_out.ByFile | None:
    return sharing_out.ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_report_header() -> str:
    versions = pg.versions()
    return f"PostgreSQL: embedded {versions['embedded']}, external {versions['external']}"


@pytest.fixture
def server(request: pytest.FixtureRequest) -> str:
    """URL of a running server: the embedded one, or what `pg.on_every_server` asks for."""
    return pg.server_url(getattr(request, "param", "embedded"))


@pytest.fixture
def database_url(request: pytest.FixtureRequest, server: str) -> Iterator[str]:
    """URL of a database of the test's own, with the schema up to date; with `--citus`, of a distributed ledger."""
    with _new_ledger(request.config, server) as url:
        yield url


@pytest.fixture
def empty_database_url(server: str) -> Iterator[str]:
    """URL of a database of the test's own, with nothing in it."""
    with pg.new_database(server, migrated=False) as url:
        yield url


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder of the test's own, not made yet; an embedded PostgreSQL that still runs in it is ended afterwards.

    Its path is short, as sockets want it.
    """
    with pg.new_data_dir() as path:
        yield path


@pytest.fixture(scope="session")
def citus(request: pytest.FixtureRequest) -> str:
    """URL of a database on the coordinator of a real Citus cluster; where there is none, the test is skipped."""
    url: str | None = request.config.getoption("--citus")
    if not url:
        pytest.skip(citus_cluster.WITHOUT)
    return url


@pytest.fixture(scope="module")
def module_database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a migrated database on the embedded server that the tests of a module share; with `--citus`, as above."""
    with _new_ledger(request.config, pg.server_url("embedded")) as url:
        yield url


def _new_ledger(config: pytest.Config, server: str) -> AbstractContextManager[str]:
    url = config.getoption("--citus")
    return citus_cluster.new_ledger(url) if url else pg.new_database(server)
