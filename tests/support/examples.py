"""Has a fresh service answer each route once, for the examples of the API's description.

`python -m tests.support.examples` writes them again, which is due when the test of them says so.
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

from ledger.forwarding.forwarder import SILENT, UNREACHABLE
from ledger.http import examples
from ledger.http.bodies import TooSlow
from ledger.http.hooks import ID_DIGITS, ID_LENGTH
from ledger.http.problems import Problem, answer
from ledger.ingest.erasing import RebuildUnderWay
from tests.support import pg
from tests.support.external import ExternalPostgres
from tests.support.im_node import ImNode, im_node
from tests.support.service import KEYS, MAIN, SECRET, Api, Service, new_service, wait_for

FILE = Path(examples.__file__).with_suffix(".json")
MAX_BODY = 1024
SINKS = """
[[sinks]]
name = "app"
kind = "webhook"
url = "https://app.example/presence"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
list = "told of later"
"""
BAD_SETTING = (
    "/etc/presence-ledger/presence-ledger.toml, line 12: sources[0].nodes[0].api_url must be a URL like "
    "http://127.0.0.1:5001"
)
SETTINGS_SHOWN = (
    "metrics_scope",
    "max_body_bytes",
    "sources[0].name",
    "sources[0].webhook_secret",
    "sinks[0].secret",
    "policy.reorder_seconds",
    "api_keys.audit.key",
    "api_keys.audit.scopes",
)
Answers = dict[str, dict[str, Any]]

MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), "<instant>"),
    (re.compile(r"\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
    (re.compile(rf"\b0[{ID_DIGITS}]{{{ID_LENGTH - 1}}}\b"), "<delivery>"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "<ledger>"),
    (re.compile(r'("(?:instance|leader)": ")[^"]+'), r"\1<instance>"),
    (re.compile(r"\br-[0-9a-f]{16}\b"), "<run>"),
    (re.compile(r'("id": ")[0-9a-f]{16}"'), r'\1<alert>"'),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), "<token>"),
    (re.compile(r'("software_version": ")[^"]+'), r"\1<version>"),
    (re.compile(r"(presence-ledger\.toml):\d+"), r"\1:<line>"),
    # How the last attempt failed depends on how far the stop had come.
    (re.compile(r'(PostgreSQL does not answer)(?:: (?:[^"\\]|\\.)*)?"'), r'\1"'),
)

RECONCILE = "POST /v1/sources/{source}/reconcile"
ACKNOWLEDGE = "POST /v1/alerts/{alert}/acknowledge"
OVERRIDE = "/v1/users/{uid}/override"
ERASE = "POST /v1/users/{uid}/erase"
READS = "GET /v1/users/{uid}/reads"
WORD = {"status": "offline", "reason": "phone lost, ticket 4711", "expires_seconds": 3600}
RECONCILED = (
    RECONCILE,
    "GET /v1/sources",
    "GET /v1/sources/{source}/runs",
    "GET /v1/runs/{run}",
    "GET /v1/drift",
    "GET /v1/drift/summary",
    "GET /v1/loss",
    "GET /v1/blind",
    "PUT /v1/users/{uid}/tier",
    f"PUT {OVERRIDE}",
    f"DELETE {OVERRIDE}",
    ERASE,
    READS,
    "GET /v1/sinks",
    "POST /v1/sinks/{name}/pause",
    "POST /v1/sinks/{name}/resume",
    "POST /v1/sinks/{name}/replay",
)
"""The routes of which a service is asked that reconciles, and whose numbers and times are its own."""


def answers(service: Service, stop_database: Callable[[], None]) -> Answers:
    """What the service answers to each route after the same deliveries; its ledger must be empty before."""
    with im_node() as node, Api(service) as api:
        first = [node.connect("u100"), node.connect("u100", 1), node.connect("bob")]
        api.deliver(*first)
        api.deliver(*first)
        api.deliver(node.close("bob"), "no item")
        found = dict(_good(api))
        bad = _bad(service, api)
        service.stop()
        service.reconfigure(tables=f'{MAIN}api_url = "{node.url}"\n[audit]\nreads = true\n')
        service.start()
        found |= _reconciling(api, node)
        for route, refused in bad.items():
            found[route] = found.get(route, {}) | refused
        stop_database()
        found[examples.COMMON]["503"] = api.hook(["u100-0-0-1-0-1"]).json()
    return found


def _reconciling(api: Api, node: ImNode) -> Answers:
    """Of a service that asks a node, after a webhook that was lost."""
    wait_for(lambda: api.source_events("run_ended"), api.service.log)
    api.deliver(node.connect("eve"))
    node.connect("carol")
    requested = api.http.post("/v1/sources/main/reconcile", json={"uids": ["u100", "carol"]}).json()
    path = f"/v1/runs/{requested['run']}"
    wait_for(lambda: api.get(path)["state"] == "completed", api.service.log)
    wait_for(lambda: _is_good(api), lambda: api.get("/v1/sources"))
    return {
        RECONCILE: {"202": requested},
        "GET /v1/runs/{run}": {"200": api.get(path)},
        "GET /v1/sources/{source}/runs": {
            "200": api.get("/v1/sources/main/runs", after=requested["position"] - 1, limit=1)
        },
        "GET /v1/drift": {"200": wait_for(lambda: _drifts(api), api.service.log)},
        "GET /v1/drift/summary": {"200": api.get("/v1/drift/summary")},
        "GET /v1/loss": {"200": wait_for(lambda: _lost(api), api.service.log)},
        "GET /v1/blind": {"200": api.get("/v1/blind")},
        "GET /v1/sources": {"200": api.get("/v1/sources")},
        "PUT /v1/users/{uid}/tier": {"200": api.http.put("/v1/users/u100/tier", json={"tier": "vip"}).json()},
        f"PUT {OVERRIDE}": {"200": api.http.put("/v1/users/u100/override", json=WORD).json()},
        f"DELETE {OVERRIDE}": {"200": api.http.delete("/v1/users/u100/override").json()},
        READS: {"200": wait_for(lambda: _reads(api), api.service.log)},
        # After it, or it would be the first that is told of.
        "GET /v1/users/{uid}/tier": {"200": api.get("/v1/users/u100/tier")},
        ERASE: {
            "200": api.http.post("/v1/users/bob/erase", json={"reason": "their request, ticket 4711"}).json(),
            "409": _problem(409, str(RebuildUnderWay())),
        },
    }


def _reads(api: Api) -> Any:
    """Who asked about a user, once it is stored."""
    page = api.get("/v1/users/u100/reads")
    # How many batches it took is the machine's.
    return {"items": page["items"][:1], "next": None} if page["items"] else None


def _drifts(api: Api) -> Any:
    """Those of a user, once the projection knows of them."""
    page = api.get("/v1/drift", uid="carol")
    return page if page["items"] else None


def _lost(api: Api) -> Any:
    """What webhooks lost, once the projections know of it."""
    answer = api.get("/v1/loss")
    return answer if answer["items"][0]["lost"] and _is_caught_up(api) else None


def _is_good(api: Api) -> bool:
    [source] = api.get("/v1/sources")["items"]
    [node] = source["nodes"]
    health = node["api"]["health"]
    known = (source["rhythm_seconds"], health and health["last_good_at"], health and health["last_good_probe_at"])
    return source["health"] == "good" and all(value is not None for value in known)


def _is_caught_up(api: Api) -> bool:
    return not any(each["lag"] for each in api.ready()["projections"].values())


def _good(api: Api) -> Iterator[tuple[str, dict[str, Any]]]:
    delivery = api.events("bob")[-1]["delivery"]
    wait_for(lambda: _is_caught_up(api), lambda: api.get("/health/ready"))
    for route, path in (
        ("/v1/users/{uid}/presence", "/v1/users/u100/presence"),
        ("/v1/presence", "/v1/presence?limit=2"),
        ("/v1/presence/summary", "/v1/presence/summary"),
        ("/v1/ledger/events", "/v1/ledger/events?after=2&limit=2"),
        ("/v1/deliveries/{delivery}", f"/v1/deliveries/{delivery}"),
        ("/v1/users/{uid}/timeline", "/v1/users/bob/timeline"),
        ("/v1/users/{uid}/sessions", "/v1/users/u100/sessions"),
        ("/health/live", "/health/live"),
        ("/health/ready", "/health/ready"),
    ):
        yield f"GET {route}", {"200": api.get(path)}
    explain = "/v1/users/bob/explain"
    page = api.http.get(explain, headers={"Accept": "text/plain"}).text
    yield "GET /v1/users/{uid}/explain", {"200": api.get(explain), examples.TEXT: page}
    events = "/v1/users/bob/events"
    lines = api.http.get(events, headers={"Accept": "application/x-ndjson"}).text
    yield "GET /v1/users/{uid}/events", {"200": api.get(events), examples.NDJSON: lines}
    yield (
        "POST /v1/presence/query",
        {"200": api.http.post("/v1/presence/query", json={"uids": ["u100", "nobody"]}).json()},
    )
    yield from _lists(api)
    yield from _sinks(api)
    yield "POST /v1/reach/query", {"200": api.http.post("/v1/reach/query", json={"uids": ["u100", "bob"]}).json()}
    yield from _alerts(api)
    yield "GET /metrics", {"200": _first_series(wait_for(lambda: _metrics(api), api.service.log))}
    yield "GET /v1/settings", {"200": _settings(api)}
    yield "GET /v1/archive", {"200": api.get("/v1/archive")}
    yield "POST /v1/archive", {"202": api.http.post("/v1/archive").json()}
    yield "POST /v1/settings/reload", {"200": _reloaded(api), "409": _problem(409, BAD_SETTING)}


def _settings(api: Api) -> Any:
    """Some of them, as if the file were where a package puts it."""
    answer = api.get("/v1/settings")
    shown = [each for each in answer["items"] if each["key"] in SETTINGS_SHOWN]
    file = "/etc/presence-ledger/presence-ledger.toml"
    items = [{**each, "origin": each["origin"].replace(answer["file"], file)} for each in shown]
    return {"file": file, "items": items}


def _reloaded(api: Api) -> Any:
    """One setting that is taken at once, one that is not; then all is as before."""
    api.service.reconfigure(front_origins=["https://app.example"], queue_items=100_000)
    found = api.http.post("/v1/settings/reload").json()
    api.service.reconfigure(front_origins=[], queue_items=200_000)
    assert api.http.post("/v1/settings/reload").status_code == 200
    return found


def _lists(api: Api) -> Iterator[tuple[str, dict[str, Any]]]:
    path, order = "/v1/lists/friends%20of%20u100", {"uids": ["u100", "bob", "carol"], "watchers": ["dave"]}
    route = "/v1/lists/{name}"
    made, replaced = (
        api.http.put(path, json=order | {"watchers": told}).json() for told in (["dave"], ["dave", "eve"])
    )
    yield (
        f"PUT {route}",
        {"201": made, "200": replaced, "413": api.http.put(path, content=b" " * (MAX_BODY + 1)).json()},
    )
    large = api.http.patch(path, content=b" " * (MAX_BODY + 1)).json()
    unknown = api.http.get("/v1/lists/unknown").json()
    patched = api.http.patch(path, json={"add": ["frank"], "remove": ["carol"]}).json()
    yield f"PATCH {route}", {"200": patched, "404": unknown, "413": large}
    yield f"GET {route}", {"200": api.get(path), "404": unknown}
    yield f"DELETE {route}", {"404": unknown}
    yield "GET /v1/lists", {"200": api.get("/v1/lists")}
    yield f"GET {route}/presence", {"200": api.get(f"{path}/presence", limit=2), "404": unknown}
    yield f"GET {route}/summary", {"200": api.get(f"{path}/summary"), "404": unknown}
    token = api.http.post("/v1/stream/tokens", json={"uids": ["bob"]}).json()
    large = api.http.post("/v1/stream/tokens", content=b" " * (MAX_BODY + 1)).json()
    yield "POST /v1/stream/tokens", {"200": token, "404": unknown, "413": large}


def _sinks(api: Api) -> Iterator[tuple[str, dict[str, Any]]]:
    wait_for(lambda: api.get("/v1/sinks")["items"][0]["state"] != "new", api.service.log)
    new = _problem(409, "no instance has led the sinks since 'app' was added to the settings")
    refused = {"404": api.http.post("/v1/sinks/unknown/pause").json(), "409": new}
    paused = api.http.post("/v1/sinks/app/pause").json()
    yield "GET /v1/sinks", {"200": api.get("/v1/sinks")}
    yield "POST /v1/sinks/{name}/pause", {"200": paused, **refused}
    replayed = api.http.post("/v1/sinks/app/replay", json={"from": 0}).json()
    large = api.http.post("/v1/sinks/app/replay", content=b" " * (MAX_BODY + 1)).json()
    yield "POST /v1/sinks/{name}/replay", {"200": replayed, **refused, "413": large}
    yield "POST /v1/sinks/{name}/resume", {"200": api.http.post("/v1/sinks/app/resume").json(), **refused}


def _alerts(api: Api) -> Iterator[tuple[str, dict[str, Any]]]:
    """One of webhooks that are refused; of others, such as of a full disk, the machine decides."""
    name = "webhook_secret_unknown"

    def found() -> list[Any]:
        api.http.post("/hooks/main/n1/an-older-secret?event=user.onlinestatus", content=b"[]")
        return [each for each in api.get("/v1/alerts")["items"] if each["name"] == name]

    [alert] = wait_for(found, api.service.log)
    yield "GET /v1/alerts", {"200": {"items": [alert], "next": None}}
    known = api.http.post(f"/v1/alerts/{alert['id']}/acknowledge").json()
    missing = api.http.post("/v1/alerts/unknown/acknowledge").json()
    over = _problem(409, "the alert is over: nobody needs to know of it")
    yield ACKNOWLEDGE, {"200": known, "404": missing, "409": over}


def _problem(status: int, detail: str) -> Any:
    """What is answered where a business server does not: there is none here."""
    return json.loads(bytes(answer(Problem(status, detail)).body))


def _bad(service: Service, api: Api) -> Answers:
    with Api(service, KEYS["read"]) as reader, Api(service, None) as stranger:
        common = {
            "401": stranger.http.get("/v1/presence").json(),
            "403": reader.http.get("/v1/sources").json(),
            "422": api.http.get("/v1/presence?limit=0").json(),
            "400": api.http.post("/v1/presence/query", content=b"[]", headers=_encoded("gzip")).json(),
            "408": json.loads(bytes(answer(TooSlow()).body)),
            "502": _problem(502, UNREACHABLE),
            "504": _problem(504, SILENT.format(4.5)),
            "415": api.http.post("/v1/presence/query", content=b"[]", headers=_encoded("br")).json(),
        }
        hooks = {
            "400": stranger.http.post(f"/hooks/main/n1/{SECRET}", content=b"[]").json(),
            "403": stranger.http.post("/hooks/main/n1/guessed-secret?event=user.onlinestatus", content=b"[]").json(),
            "413": stranger.hook(b" " * (MAX_BODY + 1)).json(),
        }
    missing = api.http.get("/v1/deliveries/00000000-0000-0000-0000-000000000000").json()
    no_source = api.http.get("/v1/sources/elsewhere/runs").json()
    large = b" " * (MAX_BODY + 1)
    return {
        examples.COMMON: {**common, "404": missing},
        "GET /v1/sources/{source}/runs": {"404": no_source},
        "GET /v1/runs/{run}": {"404": api.http.get("/v1/runs/r-0").json()},
        RECONCILE: {
            "404": no_source,
            "409": api.http.post("/v1/sources/main/reconcile").json(),
            "413": api.http.post("/v1/sources/main/reconcile", content=large).json(),
        },
        "PUT /v1/users/{uid}/tier": {"413": api.http.put("/v1/users/u100/tier", content=large).json()},
        f"PUT {OVERRIDE}": {"413": api.http.put("/v1/users/u100/override", content=large).json()},
        f"DELETE {OVERRIDE}": {"404": api.http.delete("/v1/users/u100/override").json()},
        ERASE: {
            "404": api.http.post("/v1/users/nobody/erase", json={"reason": "x"}).json(),
            "413": api.http.post("/v1/users/u100/erase", content=large).json(),
        },
        "POST /v1/presence/query": {"413": api.http.post("/v1/presence/query", content=b" " * (MAX_BODY + 1)).json()},
        "POST /v1/reach/query": {"413": api.http.post("/v1/reach/query", content=large).json()},
        "POST /hooks/{source}/{node}/{secret}": hooks,
    }


def _encoded(encoding: str) -> dict[str, str]:
    return {"Content-Encoding": encoding}


def masked(found: Any) -> Any:
    """The same without what differs from run to run."""
    text = json.dumps(found, ensure_ascii=False, sort_keys=True)
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    # The lines are JSON within JSON.
    made = json.loads(text)
    made["GET /metrics"]["200"] = _described(made["GET /metrics"]["200"])
    for route in RECONCILED:
        made[route] = _without_numbers(made[route])
    for name in ("state", "ended_at", "duration_seconds"):
        # It may have ended already.
        made[RECONCILE]["202"][name] = "<as it stands>"
    for source in made["GET /v1/sources"]["200"]["items"]:
        source["open_runs"] = "<as they stand>"
        source["looks"]["all_connections"] = "<as the last time went>"
    for alert in (made["GET /v1/alerts"]["200"]["items"][0], made[ACKNOWLEDGE]["200"]):
        # How many webhooks it took until it was looked at.
        alert["figures"]["deliveries"] = alert["summary"] = alert["events"] = "<number>"
    for source in made["GET /v1/loss"]["200"]["items"]:
        source["burn_rates"] = source["hours"] = "<as long as it took>"
    return made


def _metrics(api: Api) -> str:
    """All of them; nothing where the database has not been read in time for what it says."""
    exposition = api.http.get("/metrics").text
    return exposition if "# TYPE presence_ledger_head_position " in exposition else ""


def _first_series(exposition: str) -> str:
    """Each of the metrics with one series: there may be hundreds."""
    lines, wanted = list[str](), False
    for line in exposition.splitlines(keepends=True):
        if line.startswith("#"):
            lines.append(line)
            wanted = True
        elif wanted:
            lines.append(line)
            wanted = False
    return "".join(lines)


def _described(exposition: str) -> list[str]:
    """What the metrics are; which of them have values already differs from run to run."""
    return [line for line in exposition.splitlines() if line.startswith("#") and "_created" not in line]


def _without_numbers(value: Any) -> Any:
    match value:
        case bool():
            return value
        case int() | float():
            return "<number>"
        case str() if value.isdecimal():
            # The cursor of a list by position.
            return "<number>"
        case dict():
            return {name: _without_numbers(each) for name, each in value.items()}
        case list():
            return [_without_numbers(each) for each in value]
        case _:
            return value


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
            tables=MAIN + SINKS,
            max_body_bytes=MAX_BODY,
            store_wait_seconds=2.0,
        ) as service:
            yield service.start(), lambda: server.stop("immediate")
    finally:
        server.kill()


@contextmanager
def run_of_its_own() -> Iterator[None]:
    """What a run of the tests has, outside one."""
    run = pg.Run.begin()
    try:
        yield
    finally:
        run.end()


if __name__ == "__main__":
    with run_of_its_own(), tempfile.TemporaryDirectory() as name, fresh(Path(name)) as (running, stop):
        made = json.dumps(answers(running, stop), ensure_ascii=False, indent=2)
        FILE.write_text(made.replace(f'"{socket.gethostname()}-', '"host-') + "\n", encoding="utf-8")
