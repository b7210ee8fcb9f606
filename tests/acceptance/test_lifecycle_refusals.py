"""Checks what a service says that cannot start: one or two lines with the way out, exit 1, and no traceback."""

import re
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from ledger.store.data_folder import DataFolder
from tests.support.service import MAIN, SECRET, Service, new_service, wait_for

PASSWORD = "password-of-the-database"


def refusal(service: Service) -> str:
    """What it says when it does not start."""
    service.spawn()
    code, log = service.wait(60)
    assert code == 1, log
    # What the service logs before is JSON.
    said = [line for line in log.splitlines() if not line.startswith("{")]
    assert 1 <= len(said) <= 2, log
    assert said[0].startswith("presence-ledger: ")
    for secret in (SECRET, PASSWORD):
        assert secret not in log
    return "\n".join(said)


@pytest.fixture
def service(tmp_path: Path, data_dir: Path) -> Iterator[Service]:
    with new_service(tmp_path, data_dir) as service:
        yield service


def test_a_port_taken(service: Service) -> None:
    with new_service(service.folder / "other", service.data_dir) as other:
        other.configure()
        # The port of a program that does not share it.
        with socket.create_server(("127.0.0.1", 0)) as taken:
            other.port = taken.getsockname()[1]
            other.configure()
            said = refusal(other)
    assert re.search(r"127\.0\.0\.1:\d+ is taken by another program; stop it, or set `listen`", said)
    # Nothing was started for nothing.
    assert not (service.data_dir / "postgres").exists()


def test_a_database_that_cannot_be_reached(service: Service) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        url = f"postgresql://somebody:{PASSWORD}@127.0.0.1:{port}/ledger"
        service.configure(database_url=url, database_wait_seconds=0.1)
        said = refusal(service)
    assert "PostgreSQL did not answer" in said
    assert "Check database_url" in said


def test_a_wait_for_the_database_ends_with_the_service(service: Service) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        service.configure(database_url=f"postgresql://somebody:{PASSWORD}@127.0.0.1:{nobody.getsockname()[1]}/ledger")
        service.spawn()
        wait_for(lambda: "waiting_for_postgresql" in service.log())
        service.terminate()
        code, log = service.wait()
    assert (code, PASSWORD in log) == (0, False), log


def test_a_database_that_is_not_there_is_not_waited_for(service: Service, database_url: str) -> None:
    service.configure(database_url=database_url.replace("/test_", "/no_test_"))
    said = refusal(service)
    assert "PostgreSQL has no such database" in said
    assert "CREATE DATABASE" in said
    assert "waiting_for_postgresql" not in service.log()


def test_a_schema_two_migrations_newer(service: Service, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as database:
        for _ in range(2):
            database.execute(
                "INSERT INTO schema_migrations (number, name, sha256)"
                " SELECT max(number) + 1, 'later', 'of a later version' FROM schema_migrations"
            )
    service.configure(database_url=database_url)
    said = refusal(service)
    assert "schema is 2 migrations newer than this version" in said
    assert "Install" in said


def test_a_data_folder_in_use(service: Service) -> None:
    with DataFolder(service.data_dir):
        said = refusal(service)
    assert "is in use by the service with process id" in said
    assert "data_dir" in said


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ('colour = "red"', "colour"),
        ("max_body_bytes = 1", "max_body_bytes"),
        ('listen = "nowhere"', "listen"),
        (f'database_url = "mysql://somebody:{PASSWORD}@host/name"', "database_url"),
        ("data_dir = [", "presence-ledger.toml"),
    ],
)
def test_a_setting_unknown_or_bad(service: Service, line: str, names: str) -> None:
    name = line.partition(" ")[0]
    kept = [each for each in service.config.read_text("utf-8").splitlines() if not each.startswith(name)]
    service.config.write_text("\n".join([line, *kept]), encoding="utf-8")
    said = refusal(service)
    assert names in said
    assert re.search("presence-ledger.toml, line [12]: ", said)


def test_a_bad_variable(service: Service) -> None:
    service.variables = {"LISTEN": "nowhere"}
    assert "PRESENCE_LEDGER_LISTEN" in refusal(service)


def test_an_address_that_is_not_ours(service: Service) -> None:
    service.config.write_text(service.config.read_text("utf-8").replace("127.0.0.1", "192.0.2.1"), encoding="utf-8")
    said = refusal(service)
    assert "cannot listen on 192.0.2.1" in said
    assert "`listen`" in said


def test_a_data_folder_that_cannot_be(service: Service, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    service.data_dir = tmp_path / "file"
    service.configure(tables=MAIN)
    assert "data_dir" in refusal(service)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size; skips where this user may mount none."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(tmp_path: Path, data_dir: Path) -> None:
    with small_disk(data_dir.with_name(f"disk-{uuid.uuid4().hex[:8]}"), "20m") as disk:
        with new_service(tmp_path, disk / "data") as service:
            said = refusal(service)
        assert "is full" in said
        assert "Make room" in said
