"""The embedded PostgreSQL after every way of dying: real processes, really killed."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg
import pytest

from ledger.errors import EmbeddedPostgresError, StoreFull
from ledger.store import postgres_config, postmaster
from ledger.store.data_folder import DataFolder
from ledger.store.embedded import EmbeddedPostgres
from tests.support import pg

# More than a busy machine takes, so that only the product can fail it. How soon it runs again is measured by a bench.
DEADLINE_SECONDS = 120.0

START = "import sys; from pathlib import Path; from ledger.store.embedded import EmbeddedPostgres\n"
START += "print(EmbeddedPostgres(Path(sys.argv[1])).start(), flush=True); sys.stdin.read()"


@pytest.fixture
def embedded(data_dir: Path) -> EmbeddedPostgres:
    """An embedded PostgreSQL of the test's own, not started, with the product's settings."""
    return EmbeddedPostgres(data_dir)


@pytest.fixture
def running(embedded: EmbeddedPostgres) -> EmbeddedPostgres:
    """One that runs and holds three rows."""
    pg.make_data_dir(embedded.data_dir)
    with psycopg.connect(embedded.start(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 3) AS id")
    return embedded


def rows(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def pid(postgres: EmbeddedPostgres) -> int:
    found = postmaster.find(postgres.cluster)
    assert found is not None
    return found.process.pid


def started_again(postgres: EmbeddedPostgres) -> int:
    """Start as a new process would; gives the rows that are there."""
    return rows(EmbeddedPostgres(postgres.data_dir).start())


def kill_all(postgres: EmbeddedPostgres) -> None:
    """SIGKILL to every process; some end by themselves once the first is gone."""
    for process in list(postmaster.members(postgres.cluster)):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def service(postgres: EmbeddedPostgres) -> subprocess.Popen[bytes]:
    """Another process that starts it and stays."""
    return subprocess.Popen(
        [sys.executable, "-c", START, str(postgres.data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    with process:
        process.kill()


def test_first_start_and_a_second(embedded: EmbeddedPostgres) -> None:
    assert not embedded.is_running()
    with psycopg.connect(embedded.start()) as connection:
        assert connection.info.dbname == "presence_ledger"
        assert connection.info.server_version // 10000 == 18
        shown = [connection.execute(f"SHOW {name}").fetchone() for name in ("fsync", "synchronous_commit", "jit")]
        assert shown == [("on",), ("on",), ("off",)]
    assert embedded.is_running()
    first = pid(embedded)
    assert EmbeddedPostgres(embedded.data_dir).start() == embedded.url()
    assert pid(embedded) == first
    embedded.stop()
    assert not embedded.is_running()
    embedded.stop()


def test_nothing_is_open_without_the_password(running: EmbeddedPostgres) -> None:
    url = running.url()
    password = urlsplit(url).password or ""
    for wrong in (url.replace(password, "wrong"), url.replace("presence_ledger:", "postgres:")):
        with pytest.raises(psycopg.OperationalError, match=r"authentication failed|pg_hba\.conf"):
            psycopg.connect(wrong)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    sockets = Path(parse_qs(urlsplit(url).query)["host"][0])
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert stat.S_IMODE((running.data_dir / "postgres.password").stat().st_mode) == 0o600
    assert running.data_dir.stat().st_mode & (stat.S_IRWXO | stat.S_IRGRP | stat.S_IWGRP) == 0


def test_one_that_a_killed_service_left_is_taken_over(embedded: EmbeddedPostgres) -> None:
    first = service(embedded)
    assert first.stdout is not None
    url = first.stdout.readline().decode().strip()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 3) AS id")
    before = pid(embedded)
    kill(first)
    assert started_again(embedded) == 3
    assert pid(embedded) == before


def test_signals_to_the_service_do_not_reach_it(embedded: EmbeddedPostgres) -> None:
    first = service(embedded)
    assert first.stdout is not None
    first.stdout.readline()
    assert os.getpgid(pid(embedded)) != os.getpgid(first.pid)
    assert os.getsid(pid(embedded)) != os.getsid(first.pid)
    with first:
        first.send_signal(signal.SIGTERM)
    assert embedded.is_running()


def test_after_kill_of_the_postmaster(running: EmbeddedPostgres) -> None:
    busy = psycopg.connect(running.url(), autocommit=True)
    backend = psutil.Process(busy.info.backend_pid)
    # A backend at work does not notice that its postmaster is gone.
    busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000)")
    before = backend.cpu_times().user
    wait_for(lambda: backend.cpu_times().user > before + 0.1)
    os.kill(pid(running), signal.SIGKILL)
    assert started_again(running) == 3
    assert backend.pid not in [process.pid for process in postmaster.members(running.cluster)]
    busy.close()


def test_after_kill_of_every_process(running: EmbeddedPostgres) -> None:
    kill_all(running)
    assert started_again(running) == 3


def test_after_kill_of_a_backend(running: EmbeddedPostgres) -> None:
    with psycopg.connect(running.url()) as victim:
        before = pid(running)
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        assert started_again(running) == 3
    assert pid(running) == before


def test_a_stale_postmaster_pid_of_somebody_else_is_in_nobodys_way(running: EmbeddedPostgres) -> None:
    file = running.cluster / "postmaster.pid"
    lines = file.read_text().splitlines()
    running.stop()
    # After a restart of a container another process has the old one's number: here, this test.
    file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert not running.is_running()
    assert started_again(running) == 3


@pytest.mark.parametrize("left", ["", "no number\n", "99999999\n"])
def test_a_broken_postmaster_pid_is_in_nobodys_way(running: EmbeddedPostgres, left: str) -> None:
    running.stop()
    (running.cluster / "postmaster.pid").write_text(left)
    assert started_again(running) == 3


@pytest.mark.parametrize("seen", ["postgres.new", "postgres.new/global/pg_control", "postgres"])
def test_a_service_killed_during_its_first_start(embedded: EmbeddedPostgres, seen: str) -> None:
    first = service(embedded)
    wait_for((embedded.data_dir / seen).exists)
    kill(first)
    with psycopg.connect(EmbeddedPostgres(embedded.data_dir).start()) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("presence_ledger",)
    assert not (embedded.data_dir / "postgres.new").exists()


def test_a_service_killed_while_it_starts_a_server_that_recovers(running: EmbeddedPostgres) -> None:
    kill_all(running)
    first = service(running)
    wait_for(lambda: postmaster.find(running.cluster))
    kill(first)
    assert started_again(running) == 3


def test_a_shutdown_that_goes_on_is_waited_for(running: EmbeddedPostgres) -> None:
    before = pid(running)
    os.kill(before, signal.SIGINT)
    assert started_again(running) == 3
    assert pid(running) != before


def test_killed_during_its_shutdown(running: EmbeddedPostgres) -> None:
    before = pid(running)
    os.kill(before, signal.SIGINT)
    os.kill(before, signal.SIGKILL)
    assert started_again(running) == 3


def test_one_that_ends_under_us_is_started_again_by_the_same_object(running: EmbeddedPostgres) -> None:
    os.kill(pid(running), signal.SIGKILL)
    assert rows(running.start()) == 3


def test_a_stop_that_takes_too_long_is_made_short(running: EmbeddedPostgres) -> None:
    with psycopg.connect(running.url()):
        running.stop("smart", timeout_seconds=0.2)
    assert list(postmaster.members(running.cluster)) == []
    assert started_again(running) == 3


def test_the_url_of_one_that_does_not_run_names_the_way_out(embedded: EmbeddedPostgres) -> None:
    for _ in range(2):
        with pytest.raises(EmbeddedPostgresError, match=r"is not running\.\nStart the service"):
            embedded.url()
        embedded.start()
        embedded.stop()


def test_a_cluster_of_another_version_is_refused(running: EmbeddedPostgres) -> None:
    running.stop()
    (running.cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(
        EmbeddedPostgresError, match=r"was made by PostgreSQL 17, and this version brings PostgreSQL 18"
    ):
        running.start()


def test_a_wrong_password_file_is_named(running: EmbeddedPostgres) -> None:
    (running.data_dir / "postgres.password").write_text("another")
    with pytest.raises(EmbeddedPostgresError, match=r"postgres.password is not the password"):
        running.start()


def test_a_bad_setting_of_the_operator_is_explained(running: EmbeddedPostgres) -> None:
    running.stop()
    (running.data_dir / "postgres-config" / postgres_config.OWN_SETTINGS).write_text("shared_buffers = 'lots'\n")
    with pytest.raises(EmbeddedPostgresError, match=r"own\.conf"):
        running.start()


def test_a_data_folder_with_a_long_name_has_its_socket_elsewhere(data_dir: Path) -> None:
    deep = EmbeddedPostgres(data_dir / ("long name " * 12))
    url = deep.start()
    try:
        sockets = Path(parse_qs(urlsplit(url).query)["host"][0])
        assert deep.data_dir not in sockets.parents
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        deep.stop("immediate")
    shutil.rmtree(sockets)


def test_a_full_disk_is_called_so(embedded: EmbeddedPostgres) -> None:
    small = embedded.data_dir
    DataFolder(small).create()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system can be mounted by root only")
    try:
        with pytest.raises(StoreFull, match=r"is full \(.*No space left on device"):
            embedded.start()
    finally:
        subprocess.run(["umount", small], check=True)


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_config, "LOG_BYTES", 100)
    log = tmp_path / "postgres.log"
    with log.open("ab", buffering=0) as server:
        server.write(b"a" * 90 + b"\n")
        postgres_config.trim_log(log)
        assert log.stat().st_size == 91
        server.write(b"b" * 90 + b"\n")
        postgres_config.trim_log(log)
        server.write(b"c\n")
    assert log.read_bytes() == b"c\n"
    assert (tmp_path / "postgres.log.1").read_bytes() == b"a" * 8 + b"\n" + b"b" * 90 + b"\n"
