"""A Prometheus of a test's own, and its `promtool`; both are Debian's package."""

import json
import re
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.monitoring.write import RULES
from tests.support.service import KEYS, Port, wait_for

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool (prometheus)")
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no prometheus")


def promtool(*arguments: str, given: str = "") -> str:
    """What it says; an assertion fails where it finds something."""
    done = subprocess.run(["promtool", *arguments], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    """One that runs, with our rules."""

    def __init__(self, url: str) -> None:
        self._http = httpx2.Client(base_url=url, trust_env=False, timeout=60.0)

    def get(self, path: str, **query: str) -> Any:
        """The data of an answer that must be a success."""
        answer = self._http.get(f"/api/v1/{path}?{urllib.parse.urlencode(query)}")
        told = answer.json()
        assert told["status"] == "success", told
        return told["data"]

    def query(self, text: str) -> list[Any]:
        """What a query finds now."""
        found: list[Any] = self.get("query", query=text)["result"]
        return found

    def close(self) -> None:
        """Ask no more."""
        self._http.close()

    def is_up(self) -> bool:
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx2.TransportError:
            return False


@contextmanager
def prometheus(folder: Path, targets: Sequence[str], port: Port) -> Iterator[Prometheus]:
    """One that scrapes these addresses every second, with the key of a reader."""
    job = {
        "job_name": "presence-ledger",
        "authorization": {"credentials": KEYS["read"]},
        "static_configs": [{"targets": list(targets)}],
    }
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [job],
    }
    # JSON is YAML.
    configuration = folder / "prometheus.yml"
    configuration.write_text(json.dumps(settings), encoding="utf-8")
    address = f"127.0.0.1:{port.number}"
    command = ["prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    port.release()
    with (folder / "prometheus.log").open("ab") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        running = Prometheus(f"http://{address}")
        wait_for(running.is_up, lambda: (folder / "prometheus.log").read_text(encoding="utf-8")[-2000:])
        yield running
        running.close()
    finally:
        process.kill()
        process.wait()


def metric_names(expression: str) -> set[str]:
    """The metrics of ours and of processes that an expression names."""
    return set(re.findall(r"\b(?:presence_ledger|process)_\w+", expression))
