"""One port, one ledger, the same secrets for its instances; and a database that lost commits under running ones."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from bench._postgres import embedded
from bench._rebuilt import held_against_rebuilt
from bench._same import project
from bench._service import SEAL_KEY, SECRET, Service
from bench.outside._cases import Chapter, Trial
from bench.outside._product import ask, command_of, log_of, post, status_of, told, until
from ledger.simulator.ports import free_port

CHAPTER = Chapter()

PATIENCE_SECONDS = 60.0

_GAPS = """
SELECT count(*) FROM (SELECT stream FROM events GROUP BY stream HAVING max(version) <> count(*)) AS streams
"""


class Cluster:
    """A PostgreSQL whose data directory can be put back to an earlier copy, as a late standby has it."""

    def __init__(self, folder: Path) -> None:
        self._postgres = embedded(folder)
        self._copy = folder / "copy"
        self.url = self._postgres.start()

    def keep(self) -> None:
        """Copy it as it is now."""
        self._postgres.stop()
        subprocess.run(["cp", "-a", self._postgres.cluster, self._copy], check=True)
        self._postgres.start()

    def go_back(self) -> None:
        """Put the copy in its place."""
        self._postgres.stop("immediate")
        self._postgres.cluster.rename(self._copy.with_name("lost"))
        self._copy.rename(self._postgres.cluster)
        self._postgres.start()

    def stop(self) -> None:
        self._postgres.stop("immediate")


@contextmanager
def _cluster(trial: Trial) -> Iterator[Cluster]:
    cluster = Cluster(trial.folder / "pg")
    try:
        yield cluster
    finally:
        cluster.stop()


def _database(cluster: Cluster, name: str) -> str:
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
    return urlunsplit(urlsplit(cluster.url)._replace(path=f"/{name}"))


@contextmanager
def _running(folder: Path, url: str, number: int) -> Iterator[list[Service]]:
    """So many instances on a database."""
    with ExitStack() as stack:
        services = [Service(folder / f"i{each}", url) for each in range(number)]
        for service in services:
            service.spawn()
            stack.callback(service.kill)
        for service in services:
            _wait(service.listens, "an instance listens", service)
        yield services


def _wait(condition: Callable[[], bool], what: str, service: Service | None = None) -> None:
    """Wait for something, while that service must not end. Raises AssertionError, RuntimeError."""

    def seen() -> bool:
        if service is not None:
            service.check()
        return condition()

    until(seen, what, PATIENCE_SECONDS)


def _takes(service: Service, *items: str) -> bool:
    """Whether a webhook is answered 200."""
    try:
        return post(service, *items).status == 200
    except (OSError, http.client.HTTPException):
        return False


def _deliver(service: Service, *items: str) -> None:
    _wait(lambda: _takes(service, *items), f"a webhook is taken: {items}")


def _readiness(service: Service) -> Any:
    return json.loads(ask(service, "GET", "/health/ready").body)


def _went_back(service: Service) -> Any:
    return _readiness(service).get("ledger", {}).get("went_back")


def _hold(url: str) -> str:
    """Streams without gaps, `current` and every projection as a rebuild makes them -> in words."""
    with psycopg.connect(url) as connection:
        gaps = connection.execute(_GAPS).fetchone()
    assert gaps == (0,), f"{gaps} streams have gaps"
    # What was appended as the last instance stopped has nobody left to follow it.
    project(url)
    found = held_against_rebuilt(url)
    wrong = [each for each in found if each.different]
    assert not wrong, f"not as rebuilt: {wrong}"
    return f"{sum(each.rows for each in found)} rows of {len(found)} projections as rebuilt"


def _lose_commits(trial: Trial, instances: int) -> str:
    with _cluster(trial) as cluster, _running(trial.folder, cluster.url, instances) as services:
        first, last = services[0], services[-1]
        _deliver(first, "u-0-1-1-1-1", "gone-0-1-1-1-1", "gone-0-0-1-0-0")
        cluster.keep()
        for number in range(trial.pick(200, 8)):
            _deliver(services[number % instances], f"u-0-1-{number + 2}-1-1", f"lost{number}-0-1-1-1-1")
        _deliver(last, "gone-0-1-2-1-1")
        _wait(lambda: _at_head(first), "projections follow")
        cluster.go_back()
        for number in range(trial.pick(300, 12)):
            _deliver(services[number % instances], f"new{number}-0-1-1-1-1")
        _deliver(first, "u-0-0-1-0-0")
        for service in services:
            _wait(partial(_is_checked, service), "readiness says that the ledger went back")
            seen = {uid: status_of(service, uid) for uid in ("u", "gone", "lost0", "new0")}
            assert seen == {"u": "offline", "gone": "offline", "lost0": "unknown", "new0": "online"}, seen
        told = _went_back(first)
        assert any("ledger_went_back" in log_of(service) for service in services), "the log does not say it"
        for service in services:
            service.stop()
        return f"went back from {told['from']} to {told['to']}; {_hold(cluster.url)}"


def _at_head(service: Service) -> bool:
    ready = _readiness(service)
    return "projections" in ready and not any(each["lag"] for each in ready["projections"].values())


def _is_checked(service: Service) -> bool:
    told = _went_back(service)
    return told is not None and not told["being_checked"]


@CHAPTER.case("4e", "a data directory put back under a running service: no gap, all as a fresh fold, and it is said")
def one_instance(trial: Trial) -> str:
    return _lose_commits(trial, 1)


@CHAPTER.case("4e", "the same under two instances", in_short=False)
def two_instances(trial: Trial) -> str:
    return _lose_commits(trial, 2)


def _edit(service: Service, *changes: tuple[str, str]) -> None:
    text = service.settings.read_text(encoding="utf-8")
    for old, new in changes:
        text = text.replace(old, new)
    service.settings.write_text(text, encoding="utf-8")


def _refusal(service: Service) -> str:
    """What `serve` says that does not start."""
    done = command_of(service, "serve")
    said = [line for line in done.said.splitlines() if not line.startswith("{")]
    assert done.code == 1, f"exit {done.code}: {done.said[-500:]}"
    assert 1 <= len(said) <= 2, said
    return " ".join(said).removeprefix("presence-ledger: ")


def _on_port(service: Service, port: int) -> None:
    _edit(service, (f"127.0.0.1:{service.port}", f"127.0.0.1:{port}"))


@CHAPTER.case("5", "a second `serve` with another ledger on the port does not start; the first is not disturbed")
def another_ledger(trial: Trial) -> str:
    with _cluster(trial) as cluster, _running(trial.folder, _database(cluster, "one"), 1) as (running,):
        other = Service(trial.folder / "other", _database(cluster, "two"))
        _on_port(other, running.port)
        said = _refusal(other)
        assert "another ledger" in said, said
        answers = {ask(running, "GET", "/v1/presence/summary").status for _ in range(20)}
        assert answers == {200}, answers
        return said


@CHAPTER.case("5", "where what shares the port is not a presence ledger: the same, in words", in_short=False)
def another_program(trial: Trial) -> str:
    with _cluster(trial) as cluster:
        port = free_port()
        program = (
            "import http.server, socket\n"
            "class Shared(http.server.HTTPServer):\n"
            "    def server_bind(self):\n"
            "        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
            "        super().server_bind()\n"
            f"Shared(('127.0.0.1', {port}), http.server.SimpleHTTPRequestHandler).serve_forever()\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL, cwd=trial.folder) as process:
            try:
                service = Service(trial.folder / "i", cluster.url)
                _on_port(service, port)
                _wait(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "it listens")
                said = _refusal(service)
            finally:
                process.send_signal(signal.SIGTERM)
        assert "is not a presence ledger" in said, said
        return said


@CHAPTER.case("5", "of two ledgers that start on one port at once, one runs", in_short=False)
def two_at_once(trial: Trial) -> str:
    with _cluster(trial) as cluster:
        port = 0
        outcomes: list[int] = []
        for attempt in range(trial.pick(5, 1)):
            pair = [Service(trial.folder / f"{attempt}{n}", _database(cluster, f"d{attempt}{n}")) for n in range(2)]
            port = pair[0].port
            _on_port(pair[1], port)
            for service in pair:
                service.spawn()
            try:
                _wait(partial(_one_has_ended, pair), "one of them has ended")
                _wait(pair[0].listens, "the other one listens")
                outcomes.append(sum(map(_has_ended, pair)))
            finally:
                for service in pair:
                    service.kill()
        assert outcomes == [1] * len(outcomes), outcomes
        return f"{len(outcomes)} times: one of two ran"


def _one_has_ended(pair: Sequence[Service]) -> bool:
    return sum(map(_has_ended, pair)) == 1


def _has_ended(service: Service) -> bool:
    try:
        service.check()
    except RuntimeError:
        return True
    return False


@CHAPTER.case("5", "an instance without the secrets names the settings it lacks; nothing has another key's seal")
def without_secrets(trial: Trial) -> str:
    with _cluster(trial) as cluster, _running(trial.folder, cluster.url, 1):
        other = Service(trial.folder / "other", cluster.url)
        _edit(other, (f'webhook_secret = "{SECRET}"\n', ""), (f'seal_keys = "{SEAL_KEY.text}"\n', ""))
        said = _refusal(other)
        assert "Set seal_keys, webhook_secret of the source main" in said, said
        verified = command_of(Service(trial.folder / "verify", cluster.url), "verify")
        assert verified.code == 0, verified.said
        # And where the key is missing, that is said, and only that.
        lacking = Service(trial.folder / "lacking", cluster.url)
        _edit(lacking, (SEAL_KEY.text, "another-key-that-never-sealed-this-ledger"))
        refused = command_of(lacking, "verify")
        assert refused.code == 1, refused.said
        assert SEAL_KEY.id.hex() in refused.said, refused.said
        assert "altered" not in refused.said.lower(), refused.said
        return said


@CHAPTER.case("5", "an instance of the same ledger takes the port over as before", in_short=False)
def taken_over(trial: Trial) -> str:
    with _cluster(trial) as cluster, _running(trial.folder, cluster.url, 1) as (old,):
        new = Service(trial.folder / "new", cluster.url)
        _on_port(new, old.port)
        new.spawn()
        try:
            _wait(lambda: len(_instances(old)) == 2, "both answer", new)
            old.stop()
            assert _takes(old, "u-0-1-1-1-1"), "the new one does not take a webhook"
        finally:
            new.kill()
        return "the new one began alongside the old one and went on"


def _instances(service: Service) -> set[str]:
    """Who answers at its port."""
    return {told(service, "GET", "/health/live")["instance"] for _ in range(12)}
