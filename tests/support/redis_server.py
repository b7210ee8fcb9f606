"""A Redis of a test's own: a real server that is killed, flushed, filled up and started anew on command."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from ledger.simulator.ports import free_port

DEADLINE_SECONDS = 60.0

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server")


class RedisServer:
    """One server on a port of its own; `settings` are lines of its configuration."""

    def __init__(self, folder: Path, *settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._settings = settings
        # Not handed to anybody else while it is down; SO_REUSEPORT is not for it, so it is let go before each start.
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Any = Redis(port=self.port, socket_timeout=DEADLINE_SECONDS, decode_responses=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *settings: str) -> None:
        """Start it, with more settings where they are given, and wait until it answers."""
        lines = ["bind 127.0.0.1", f"port {self.port}", f"dir {self._folder}", 'save ""', "appendonly no"]
        configuration = self._folder / "redis.conf"
        configuration.write_text("\n".join([*lines, *self._settings, *settings, ""]), encoding="utf-8")
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(["redis-server", str(configuration)], stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                self.client.ping()
            except RedisConnectionError:
                assert time.monotonic() < deadline, (self._folder / "redis.log").read_text(encoding="utf-8")
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait for its end; what was saved stays."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(DEADLINE_SECONDS)
        self.client.connection_pool.disconnect()

    @property
    def version(self) -> str:
        """As it says itself."""
        return str(self.client.info("server")["redis_version"])

    def get(self, key: str) -> Any:
        """What a gateway reads: the text of a key, None where there is none."""
        return self.client.get(key)


@contextmanager
def redis_server(folder: Path, *settings: str) -> Iterator[RedisServer]:
    """A server that runs, ended at the end."""
    server = RedisServer(folder, *settings)
    server.start()
    try:
        yield server
    finally:
        server.kill()
        server.client.close()
