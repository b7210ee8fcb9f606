"""Runs the service as its own process: started by the command, asked over HTTP, stopped, killed, its log read."""

import http.client
import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote

import httpx2
import psutil

from tests.support import alongside
from tests.support.command import call_unread, process_environment
from tests.support.forked import ALONE_MEASURED, Forked
from tests.support.ledgers import SEAL_KEY

T = TypeVar("T")

SECRET = "webhook-secret-of-the-tests"
KEYS = {
    "read": "reader-key-of-the-tests",
    "watch": "watcher-key-of-the-tests",
    "audit": "auditor-key-of-the-tests",
    "admin": "admin-key-of-the-tests",
}
PRESENCE_EVENT = "user.onlinestatus"
PATIENCE_SECONDS = 120.0
"""Whatever must come is waited for so long: more than a busy machine takes, so that only the product can fail it."""


def source_table(name: str, nodes: Mapping[str, str], **settings: Any) -> str:
    """A source of the settings file, of v2.2 if nothing else is said; its nodes by name with their api_url, if any."""
    lines = ["[[sources]]"]
    for key, value in ({"name": name, "profile": "v2.2", "webhook_secret": SECRET} | settings).items():
        lines.append(f"{key} = {json.dumps(value)}")
    for node, api_url in nodes.items():
        lines += ["[[sources.nodes]]", f'name = "{node}"'] + ([f'api_url = "{api_url}"'] if api_url else [])
    return "\n".join(lines) + "\n"


MAIN = source_table("main", {"n1": ""})


class Ended(NamedTuple):
    """How a process ended: its exit code, and what it had written to standard error."""

    code: int
    log: str


class Port:
    """A port of this machine that nobody else is given while it is held; any number of services may share it."""

    def __init__(self) -> None:
        # Bound and not listening: the kernel hands it to nobody, and who connects is refused.
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Let it go."""
        self._socket.close()


class Service:
    """One instance: its settings file and log in `folder`, its data in `data_dir`.

    `scalars` are settings of the file's top level, `tables` the rest of it as TOML. One that is `measured` counts for
    the coverage of the run; the processes alongside it do with a front.
    """

    def __init__(
        self, folder: Path, port: Port, data_dir: Path, *, database_url: str = "", tables: str = MAIN,
        measured: bool = False, **scalars: Any,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data_dir = data_dir
        self.port = port.number
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = folder / "service.log"
        self.config = folder / "presence-ledger.toml"
        self.configure(database_url=database_url, tables=tables, **scalars)
        self._measured = measured
        self._process: Forked | None = None
        self.variables: dict[str, str] = {}

    def configure(self, *, database_url: str = "", tables: str = MAIN, **scalars: Any) -> None:
        """Write the settings file; a running instance goes on with what it has."""
        self._settings = {"database_url": database_url, "tables": tables, **scalars}
        listen = f"127.0.0.1:{self.port}"
        values: dict[str, Any] = {"data_dir": str(self.data_dir), "database_url": database_url}
        values |= {"listen": listen, "log_level": "debug"}
        # Where the machine is slow a webhook might be spooled, and be known only later: a test that wants that says so.
        values["spool_bytes"] = 0
        # Nor is anything to be answered from memory there: who waits for the ledger would be told what it was before.
        values["stale_seconds"] = 0
        # A test that wants a front says where.
        values["front_listen"] = ""
        if database_url:
            # What instances of one ledger have in common.
            values["seal_keys"] = SEAL_KEY.text
        lines = [f"{name} = {json.dumps(value)}" for name, value in (values | scalars).items()]
        keys = [f'{name} = {{ key = "{key}", scopes = ["{name}"] }}' for name, key in KEYS.items()]
        self.config.write_text("\n".join([*lines, tables, "[api_keys]", *keys, ""]), encoding="utf-8")

    def reconfigure(self, **changed: Any) -> None:
        """Write the settings file again, as it was but for these."""
        self.configure(**self._settings | changed)

    @property
    def process(self) -> Forked:
        """The process last spawned."""
        assert self._process is not None
        return self._process

    def spawn(self) -> None:
        """Start the process and wait for nothing."""
        arguments = ["--config", str(self.config), "serve"]
        self._process = Forked("ledger", arguments, self.folder, self.environment(), self.log_file)

    def environment(self) -> dict[str, str]:
        """That of its processes."""
        environment = process_environment(measured=self._measured, **self.variables)
        return environment | {ALONE_MEASURED: "yes"} if self._measured else environment

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        self.spawn()
        self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        """Wait until this very process answers that it is ready; another one may share its port."""
        wait_for(self._ready, lambda: self.log()[-2000:])

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"the service ended with {self.process.poll()}: {self.log()[-2000:]}"
        # The log tells of this process, the port perhaps of another.
        if f'"pid": {self.process.pid}' not in self._listening_lines():
            return False
        try:
            return httpx2.get(f"{self.url}/health/ready", trust_env=False, timeout=20).status_code == 200
        except httpx2.TransportError:
            return False

    def _listening_lines(self) -> str:
        return "\n".join(line for line in self.log().splitlines() if '"listening"' in line)

    def beside(self, module: str) -> psutil.Process:
        """The process of that module alongside it, as soon as there is one."""
        found = wait_for(lambda: alongside.find(self.process.pid, module), self.log)
        assert found is not None
        return found

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> Ended:
        """Wait for the end of the process."""
        code = self.process.wait(seconds)
        return Ended(code, self.log())

    def stop(self) -> Ended:
        """SIGTERM and wait for the end; nothing is sent to one that has ended."""
        if self.process.poll() is None:
            self.terminate()
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, and wait for the end; the embedded PostgreSQL goes on without it."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def end(self) -> None:
        """Whatever state it is in, no process of it is left."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def log(self) -> str:
        """All that its processes wrote."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    def hook_path(self, node: str = "n1", source: str = "main", secret: str = SECRET) -> str:
        """Where a node posts its presence."""
        return f"/hooks/{source}/{node}/{secret}?event={PRESENCE_EVENT}"

    def connection(self) -> http.client.HTTPConnection:
        """A connection of its own, for what a client of HTTP would not send."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call a command with the service's settings file; in this process, where it says the same."""
        done = call_unread("--config", str(self.config), *arguments)
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


class Api:
    """An HTTP client of one service, with the key of a scope, all of them by default."""

    def __init__(self, service: Service, key: str | None = KEYS["admin"], seconds: float = PATIENCE_SECONDS) -> None:
        self.service = service
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.http = httpx2.Client(base_url=service.url, headers=headers, timeout=seconds, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def hook(self, items: Sequence[object] | bytes, node: str = "n1", source: str = "main") -> httpx2.Response:
        """Post presence items, or a body as it is."""
        body = items if isinstance(items, bytes) else json.dumps(items, ensure_ascii=False).encode()
        return self.http.post(self.service.hook_path(node, source), content=body)

    def deliver(self, *items: object, node: str = "n1", source: str = "main") -> None:
        """Post presence items that must be taken: exactly 200 with an empty body."""
        answer = self.hook(items, node, source)
        assert (answer.status_code, answer.content) == (200, b""), answer.text

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of an answer that must be 200."""
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def presence(self, uid: str) -> Any:
        """A user's presence."""
        return self.get(f"/v1/users/{segment(uid)}/presence")

    def events(self, uid: str, **query: Any) -> list[Any]:
        """All events of a user, page by page."""
        return list(self.pages(f"/v1/users/{segment(uid)}/events", **query))

    def ledger(self) -> list[Any]:
        """All events of the ledger, page by page."""
        return list(self.pages("/v1/ledger/events", limit=10_000))

    def head(self) -> int:
        """The ledger's last position."""
        position: int = self.ready()["head"]
        return position

    def since(self, position: int) -> list[Any]:
        """The events after a position, 10,000 at most."""
        items: list[Any] = self.get("/v1/ledger/events", after=str(position), limit=10_000)["items"]
        return items

    def counted(self, name: str, **labels: str) -> float:
        """The sum of a counter of `/metrics` over those of its series that have these labels."""
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        series = re.findall(
            rf"^presence_ledger_{name}_total(?:{{(.*)}})? (\S+)$", self.http.get("/metrics").text, re.MULTILINE
        )
        return sum(float(value) for own, value in series if wanted <= set(own.split(",")))

    def gauge(self, name: str) -> float:
        """A gauge of `/metrics` that has no labels."""
        found = re.search(rf"^presence_ledger_{name} (\S+)$", self.http.get("/metrics").text, re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    def wait_until_remembered(self) -> None:
        """Wait until what is answered while PostgreSQL is away holds all that has been delivered."""
        delivered_at = time.time()
        wait_for(lambda: self.gauge("remembered_timestamp_seconds") > delivered_at)

    def refused(self) -> float:
        """Webhooks with a right secret that were refused all the same."""
        outcomes = ("no_event", "too_large", "encoding", "store_unavailable", "source_unreadable")
        return sum(self.counted("webhook_deliveries", outcome=outcome) for outcome in outcomes)

    def source_events(self, kind: str) -> list[Any]:
        """The events of that kind in any source's stream."""
        return [event for event in self.ledger() if event["kind"] == kind]

    def wait_for_projections(self) -> None:
        """Wait until every projection has come to where the ledger is now."""
        head = self.head()

        def arrived() -> bool:
            ready = self.ready()
            return all(ready["head"] - each["lag"] >= head for each in ready["projections"].values())

        wait_for(arrived, self.ready)

    def ready(self) -> Any:
        """The instance's readiness, once it is ready: after a trouble it may not be for a moment once more."""

        def told() -> Any:
            answer = self.http.get("/health/ready")
            return answer.json() if answer.status_code == 200 else None

        return wait_for(told, lambda: self.get("/health/ready"))

    def pages(self, path: str, **query: Any) -> Iterator[Any]:
        """The items of a list, page after page to the end."""
        after: dict[str, str] = {}
        while True:
            page = self.get(path, **query, **after)
            yield from page["items"]
            if page["next"] is None:
                return
            after = {"after": page["next"]}


def segment(uid: str) -> str:
    """A uid as one segment of a path."""
    quoted = quote(uid, safe="")
    # These two alone would be taken for steps of the path.
    return quoted.replace(".", "%2E") if quoted in {".", ".."} else quoted


def wait_for(condition: Callable[[], T], explain: Callable[[], object] = lambda: "") -> T:
    """Ask until the answer is true; an assertion fails, with what `explain` says, when patience is at an end."""
    deadline, pause = time.monotonic() + PATIENCE_SECONDS, 0.01
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS:g} s: {explain()}"
        time.sleep(pause)
        # To ask costs the service as much as the test: what takes long is asked for less often.
        pause = min(0.1, pause * 1.5)
    return answer


@contextmanager
def new_service(folder: Path, data_dir: Path, **settings: Any) -> Iterator[Service]:
    """A service on a port of its own, not started; ended at the end."""
    port = Port()
    service = Service(folder, port, data_dir, **settings)
    try:
        yield service
    finally:
        service.end()
        port.release()
