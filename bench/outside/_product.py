"""The product as the cases meet it: a service that a chapter shares, requests to it, its log, commands."""

import atexit
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bench._service import KEY, REPOSITORY, SECRET, Service
from ledger.store.embedded import EmbeddedPostgres
from tests.support.external import RUN_VARIABLE
from tests.support.forked import Forked

ENOUGH_SECONDS = 30.0
"""For what comes by itself; a busy machine is slow."""
COMMAND_SECONDS = 600.0
EVENT = "user.onlinestatus"
MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(f"\\n{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}", end="")
sys.exit(code)
"""
"""Runs a command and tells its memory last. A process in between: what a bench has used itself counts for its children
until they are another program (getrusage(2))."""

T = TypeVar("T")
ServiceT = TypeVar("ServiceT", bound=Service)


def until_exit(context: AbstractContextManager[T]) -> T:
    """What all cases of a chapter share, from now until the process ends."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(context)


@contextmanager
def at_work(service: ServiceT) -> Iterator[ServiceT]:
    """A service on a PostgreSQL of its own, until the end of both."""
    try:
        service.start()
        yield service
        service.check()
    finally:
        try:
            service.stop()
        except subprocess.TimeoutExpired:
            # Its folder goes with the case, and the log in it.
            print(log_of(service)[-4000:], file=sys.stderr)
            service.kill()
            raise
        finally:
            EmbeddedPostgres(service.folder / "data").stop("immediate")


def until(seen: Callable[[], T], what: str, seconds: float = ENOUGH_SECONDS) -> T:
    """Wait until there is something to be seen -> that. Raises AssertionError."""
    deadline, pause = time.monotonic() + seconds, 0.05
    while not (found := seen()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(pause)
        pause = min(0.25, pause * 1.2)
    return found


class Answered(NamedTuple):
    """One answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


def ask(service: Service, method: str, path: str, body: bytes | None = None, **headers: str) -> Answered:
    """One request with the key for everything, on a connection of its own. Raises OSError."""
    named = {"Authorization": f"Bearer {KEY}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    began = time.monotonic()
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)) as connection:
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        content = answer.read()
    told = {name.lower(): value for name, value in answer.getheaders()}
    return Answered(answer.status, told, content, time.monotonic() - began)


def told(service: Service, method: str, path: str, body: object = None) -> Any:
    """What a request is told that must succeed, from JSON to JSON."""
    answer = ask(service, method, path, None if body is None else json.dumps(body).encode())
    assert answer.status < 300, f"{method} {path}: {answer.status} {answer.body[:200]!r}"
    return json.loads(answer.body) if answer.body else None


def hook(source: str = "main", node: str = "n1") -> str:
    """Where a node posts to."""
    return f"/hooks/{source}/{node}/{SECRET}?event={EVENT}"


def post(service: Service, *items: str, path: str = hook(), **headers: str) -> Answered:
    """A webhook of these items. Raises OSError."""
    return ask(service, "POST", path, json.dumps(items, ensure_ascii=False).encode(), **headers)


def status_of(service: Service, uid: str) -> str:
    """What is shown of a user."""
    status: str = told(service, "GET", f"/v1/users/{uid}/presence")["status"]
    return status


def log_of(service: Service) -> str:
    """All that it has written."""
    return (service.folder / "service.log").read_text(encoding="utf-8", errors="replace")


def logged(service: Service, event: str, **fields: str) -> list[Any]:
    """The lines of the log that tell of an event, with these fields."""
    lines = [json.loads(line) for line in log_of(service).splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event and fields.items() <= line.items()]


class Done(NamedTuple):
    """How a command ended."""

    code: int
    said: str
    """On both of its outputs."""
    memory: int
    """Bytes at its peak."""


def command(folder: Path, *arguments: str, **variables: str) -> Done:
    """Run the command in a folder until it ends."""
    # What Python itself reads, a fork has read already.
    if RUN_VARIABLE in os.environ and not any(name.startswith("PYTHON") for name in variables):
        with tempfile.NamedTemporaryFile() as log:
            forked = Forked("ledger", arguments, folder, environment(variables), Path(log.name))
            code = forked.wait(COMMAND_SECONDS)
            return Done(code, log.read().decode(errors="replace"), forked.peak_kib * 1024)
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, sys.executable, "-m", "ledger", *arguments],
            cwd=folder,
            env=environment(variables),
            stdout=said,
            stderr=said,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        said.seek(0)
        told, _, kilobytes = said.read().decode(errors="replace").rpartition("\n")
        return Done(done.returncode, told, int(kilobytes) * 1024)


def command_of(service: Service, *arguments: str) -> Done:
    """Run the command with the settings of a service."""
    return command(service.folder, *arguments, "--config", str(service.settings))


def environment(variables: dict[str, str]) -> dict[str, str]:
    """That of a command: ours without settings of the product, of PostgreSQL and of a coverage measurement."""
    settings = ("PRESENCE_LEDGER_", "COVERAGE_", "PG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    return kept | {"PYTHONPATH": str(REPOSITORY)} | variables
