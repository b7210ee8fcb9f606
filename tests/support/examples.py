"""Has a fresh service answer each route once, for the examples of the API's description.

`python -m tests.support.examples` writes them anew, which is due when the test of them says so.
"""

import json
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from ledger.http import examples
from tests.support.external import ExternalPostgres
from tests.support.service import KEYS, SECRET, Api, Service, new_service

FILE = Path(examples.__file__).with_suffix(".json")
MAX_BODY = 1024
TABLES = f"""
[[sources]]
name = "main"
profile = "v2.2"
webhook_secret = "{SECRET}"
[[sources.nodes]]
name = "n1"
"""

Answers = dict[str, dict[str, Any]]

MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"), "<instant>"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "<delivery>"),
    (re.compile(r'("instance": ")[^"]+'), r"\1<instance>"),
    (re.compile(r'("software_version": ")[^"]+'), r"\1<version>"),
)
NUMBER = re.compile(r"(?<=[ \"])[0-9][0-9.e+-]*")


def answers(service: Service, stop_database: Callable[[], None]) -> Answers:
    """What the service answers to each route after the same deliveries; its ledger must be empty before."""
    with Api(service) as api:
        api.deliver("u100-0-1-1-1-1", "u100-1-1-2-1-2", "bob-0-1-3-1-1")
        api.deliver("u100-0-1-1-1-1", "u100-1-1-2-1-2", "bob-0-1-3-1-1")
        api.deliver("bob-0-0-3-0-0", "no item")
        found = dict(_good(api))
        for route, bad in _bad(service, api).items():
            found[route] = found.get(route, {}) | bad
        stop_database()
        found[examples.COMMON]["503"] = api.hook(["u100-0-0-1-0-1"]).json()
    return found


def _good(api: Api) -> Iterator[tuple[str, dict[str, Any]]]:
    delivery = api.events("bob")[-1]["delivery"]
    for route, path in (
        ("/v1/users/{uid}/presence", "/v1/users/u100/presence"),
        ("/v1/presence", "/v1/presence?limit=2"),
        ("/v1/presence/summary", "/v1/presence/summary"),
        ("/v1/ledger/events", "/v1/ledger/events?after=2&limit=2"),
        ("/v1/deliveries/{delivery}", f"/v1/deliveries/{delivery}"),
        ("/v1/sources", "/v1/sources"),
        ("/health/live", "/health/live"),
        ("/health/ready", "/health/ready"),
    ):
        yield f"GET {route}", {"200": api.get(path)}
    events = "/v1/users/bob/events"
    lines = api.http.get(events, headers={"Accept": "application/x-ndjson"}).text
    yield "GET /v1/users/{uid}/events", {"200": api.get(events), examples.NDJSON: lines}
    yield (
        "POST /v1/presence/query",
        {"200": api.http.post("/v1/presence/query", json={"uids": ["u100", "nobody"]}).json()},
    )
    yield "GET /metrics", {"200": api.http.get("/metrics").text}


def _bad(service: Service, api: Api) -> Answers:
    with Api(service, KEYS["read"]) as reader, Api(service, None) as stranger:
        common = {
            "401": stranger.http.get("/v1/presence").json(),
            "403": reader.http.get("/v1/sources").json(),
            "422": api.http.get("/v1/presence?limit=0").json(),
        }
        hooks = {
            "403": stranger.http.post("/hooks/main/n1/guessed-secret?event=user.onlinestatus", content=b"[]").json(),
            "413": stranger.hook(b" " * (MAX_BODY + 1)).json(),
        }
    missing = api.http.get("/v1/deliveries/00000000-0000-0000-0000-000000000000").json()
    return {
        examples.COMMON: {**common, "404": missing},
        "POST /v1/presence/query": {"413": api.http.post("/v1/presence/query", content=b" " * (MAX_BODY + 1)).json()},
        "POST /hooks/{source}/{node}/{secret}": hooks,
    }


def masked(found: Any) -> Any:
    """The same without what differs from run to run."""
    text = json.dumps(found, ensure_ascii=False, sort_keys=True)
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    # The lines are JSON within JSON.
    made = json.loads(text)
    made["GET /metrics"]["200"] = NUMBER.sub("<number>", made["GET /metrics"]["200"])
    return made


@contextmanager
def fresh(folder: Path) -> Iterator[tuple[Service, Callable[[], None]]]:
    """A service on an empty ledger, in `folder`, and what stops its database."""
    server = ExternalPostgres(folder / "server")
    try:
        with psycopg.connect(server.start(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE ledger")
        with new_service(
            folder / "service",
            folder / "data",
            database_url=server.url("ledger"),
            tables=TABLES,
            max_body_bytes=MAX_BODY,
            store_wait_seconds=0.2,
        ) as service:
            yield service.start(), lambda: server.stop("immediate")
    finally:
        server.kill()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, fresh(Path(name)) as (running, stop):
        made = json.dumps(answers(running, stop), ensure_ascii=False, indent=2)
        FILE.write_text(made.replace(f'"{socket.gethostname()}-', '"host-') + "\n", encoding="utf-8")
