"""Asks the service's HTTP API for the command line."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ledger import client as api
from ledger.client.calls import NotUtf8, segment
from ledger.client.closing import Closing
from ledger.errors import RequestError
from ledger.files import read_text
from ledger.settings import ADMIN_KEY_FILE, Settings
from ledger.settings.environment import API_KEY, URL

TIMEOUT_SECONDS = 30.0
PAGE_ITEMS = 10_000

Json = dict[str, Any]


class ServiceClient(Closing):
    """A service and the key to ask it with. Its methods raise RequestError with the way out."""

    def __init__(self, url: str, key: str, timeout_seconds: float | None = None) -> None:
        self.url = url.rstrip("/")
        self._timeout_seconds = TIMEOUT_SECONDS if timeout_seconds is None else timeout_seconds
        with self._explained():
            self._api = api.Client(self.url, key, timeout_seconds=self._timeout_seconds)

    def presences(self, uids: Sequence[str], when: Mapping[str, str | int] | None = None) -> list[Json]:
        """Returns one presence for each uid, in the order asked; at most 10,000.

        `when` asks about the past: `at`, and with it `known_at` or `position`.
        """
        answer = self._json("POST", "/v1/presence/query", json={"uids": list(uids), **(when or {})})
        items: list[Json] = answer["items"]
        return items

    def latest_events(self, uid: str, limit: int, span: Mapping[str, str]) -> list[Json]:
        """Returns the user's latest events, at most `limit` (1 to 10,000), the oldest of them first.

        `span` is `from` and `to`, or neither.
        """
        params = {"order": "desc", "limit": limit, **span}
        answer = self._json("GET", f"/v1/users/{path_segment(uid)}/events", params=params)
        items: list[Json] = answer["items"]
        return items[::-1]

    def all_events(self, uid: str, span: Mapping[str, str]) -> Iterator[str]:
        """Yields all events of the user in that span, oldest first, each as the JSON text that the service sent."""
        path = f"/v1/users/{path_segment(uid)}/events"
        with self._explained():
            yield from self._api.lines(path, params=span)

    def event_at(self, position: int) -> Json:
        """Returns the event at a position where there is one."""
        page = self._json("GET", "/v1/ledger/events", params={"after": position - 1, "limit": 1})
        event: Json = page["items"][0]
        return event

    def fetch_latest(self, uid: str, what: str, limit: int, query: Mapping[str, str]) -> Json:
        """Returns the last `limit` items of a user's `timeline` or `sessions` as one page, the oldest first."""
        path, params = f"/v1/users/{path_segment(uid)}/{what}", {"order": "desc", "limit": limit, **query}
        answer = self._json("GET", path, params=params)
        items = answer["items"]
        # A page of what was told very often ends before its limit.
        while answer["next"] is not None and len(items) < limit:
            answer = self._json("GET", path, params={**params, "limit": limit - len(items), "after": answer["next"]})
            items = items + answer["items"]
        return {**answer, "items": items[::-1]}

    def watch_lists(self) -> Iterator[Json]:
        """Yields every watch list, by name, with how many are on it."""
        after: dict[str, str] = {}
        while True:
            page = self._json("GET", "/v1/lists", params={"limit": PAGE_ITEMS, **after})
            yield from page["items"]
            if page["next"] is None:
                return
            after = {"after": page["next"]}

    def watch_list(self, name: str) -> Json:
        """Returns a watch list with all of its users and watchers."""
        found: Json = {}
        after: dict[str, str] = {}
        while True:
            page = self._json("GET", f"/v1/lists/{path_segment(name)}", params={"limit": PAGE_ITEMS, **after})
            found = {**page, "uids": found.get("uids", []) + page["uids"]}
            if page["next"] is None:
                return found
            after = {"after": page["next"]}

    def explanation(self, uid: str, query: Mapping[str, str | int]) -> Json:
        """Returns why the user was shown online, offline or unknown: statements, each with its sentence."""
        return self._json("GET", f"/v1/users/{path_segment(uid)}/explain", params=dict(query))

    def sources(self) -> list[str]:
        """Returns the names of the sources that the service takes webhooks of."""
        return [source["name"] for source in self._json("GET", "/v1/sources")["items"]]

    def looks(self, source: str) -> Json:
        """Returns how the users of a source are looked at now, and what that costs; nothing where it is not known."""
        found = {each["name"]: each.get("looks") for each in self._json("GET", "/v1/sources")["items"]}
        return found.get(source) or {}

    def start_run(self, source: str, uids: Sequence[str]) -> Json:
        """Has these users looked at now, or all of them; returns the run as it begins."""
        for uid in uids:
            path_segment(uid)
        body = {"uids": list(uids)} if uids else {}
        return self._json("POST", f"/v1/sources/{path_segment(source)}/reconcile", json=body)

    def run(self, run: str) -> Json:
        """Returns a run as it stands."""
        return self._json("GET", f"/v1/runs/{path_segment(run)}")

    def loss(self, query: Mapping[str, str]) -> Json:
        """Returns the share of transitions that webhooks lost, by source."""
        return self._json("GET", "/v1/loss", params=dict(query))

    def blind(self, query: Mapping[str, str]) -> Json:
        """Returns the times in which nobody could know, all pages as one."""
        params: dict[str, str | int] = {"limit": PAGE_ITEMS, **query}
        found = page = self._json("GET", "/v1/blind", params=params)
        while page["next"] is not None:
            # The same time on each page, whatever goes on meanwhile.
            bounds = {"from": page["from"], "to": page["to"]}
            page = self._json("GET", "/v1/blind", params={**params, **bounds, "after": page["next"]})
            found = {**found, "items": found["items"] + page["items"], "next": None}
        return found

    def override(self, uid: str, order: Json) -> Json:
        """Has a user shown by an operator's word; returns it with its end and its position."""
        return self._json("PUT", f"/v1/users/{path_segment(uid)}/override", json=order)

    def end_override(self, uid: str) -> Json:
        """Has a user shown by evidence again; returns the position of the event that says so."""
        return self._json("DELETE", f"/v1/users/{path_segment(uid)}/override")

    def erase(self, uid: str, reason: str) -> Json:
        """Has a user erased; returns what is on record of it, and what is still to be done."""
        return self._json("POST", f"/v1/users/{path_segment(uid)}/erase", json={"reason": reason})

    def reads(self, uid: str, limit: int, span: Mapping[str, str]) -> Json:
        """Returns a page of who asked about a user, the oldest first."""
        return self._json("GET", f"/v1/users/{path_segment(uid)}/reads", params={"limit": limit, **span})

    def sinks(self) -> list[Json]:
        """Returns the sinks of the settings and how each fares."""
        items: list[Json] = self._json("GET", "/v1/sinks")["items"]
        return items

    def alerts(self) -> Iterator[Json]:
        """Yields every alert, in the order in which they began."""
        return self._alerts({})

    def alerts_on(self) -> list[Json]:
        """Returns the alerts that are on, in the order in which they began, and nothing of those that are over."""
        # In this order: one that is acknowledged meanwhile is found twice, and not missed.
        found = {each["id"]: each for state in ("firing", "acknowledged") for each in self._alerts({"state": state})}
        return sorted(found.values(), key=lambda each: each["events"][-1])

    def _alerts(self, query: Mapping[str, str]) -> Iterator[Json]:
        after: dict[str, str] = {}
        while True:
            page = self._json("GET", "/v1/alerts", params={"limit": PAGE_ITEMS, **query, **after})
            yield from page["items"]
            if page["next"] is None:
                return
            after = {"after": page["next"]}

    def acknowledge_alert(self, alert: str) -> Json:
        """Says that somebody knows of an alert; returns it as it stands then."""
        return self._json("POST", f"/v1/alerts/{path_segment(alert)}/acknowledge")

    def order_sink(self, name: str, order: str, body: Json | None = None) -> Json:
        """Has a sink paused, resumed or replayed; returns it as it stands then."""
        path = f"/v1/sinks/{path_segment(name)}/{order}"
        return self._json("POST", path, json=body)

    def reload(self) -> Json:
        """Has the service take changed settings; returns what it has taken, and what needs a restart."""
        return self._json("POST", "/v1/settings/reload")

    def _json(self, method: str, path: str, params: Mapping[str, Any] | None = None, json: object = None) -> Json:
        with self._explained():
            answer: Json = self._api.request(method, path, params=params, json=json)
        return answer

    def _foreign(self) -> RequestError:
        return RequestError(
            f"What answers at {self.url} is not presence ledger.\nCheck `listen`, or name the service with --url."
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except api.Problem as problem:
            way_out = _WAYS_OUT.get(problem.status, "")
            raise RequestError(f"The service at {self.url} answered {problem.status}: {problem}{way_out}") from problem
        except api.NotPresenceLedger as error:
            raise self._foreign() from error
        except api.TimedOut as error:
            raise RequestError(
                f"The service at {self.url} did not answer within {self._timeout_seconds:.0f} s.\n"
                "Look at its log and at /health/ready."
            ) from error
        except api.Unreachable as error:
            raise RequestError(
                f"No service can be reached at {self.url} ({error.reason}).\n"
                "Start it with `presence-ledger serve`, or name another with --url."
            ) from error

    def close(self) -> None:
        """Close the connections."""
        self._api.close()


_WAYS_OUT = {
    401: f"\nSet {API_KEY} to a key that the service knows.",
    403: f"\nSet {API_KEY} to a key with the scope: `presence-ledger keys create NAME --scope SCOPE` makes one.",
}


def client(
    settings: Settings,
    url: str | None,
    environ: Mapping[str, str] | None = None,
    *,
    timeout_seconds: float | None = None,
) -> ServiceClient:
    """Returns a client of the service at `url`, by default the one that these settings are of.

    The key is PRESENCE_LEDGER_API_KEY, else the data folder's admin key, which is sent to no address but the settings'
    own. Raises RequestError when there is none, or none that can be sent.
    """
    environ = os.environ if environ is None else environ
    url = url or environ.get(URL)
    key = _sendable(environ.get(API_KEY, ""), API_KEY)
    if url is None:
        return ServiceClient(settings.listen.local_url, key or _admin_key(settings), timeout_seconds)
    if not key:
        raise RequestError(f"A service named by its address needs a key.\nSet {API_KEY} to one.")
    return ServiceClient(url, key, timeout_seconds)


def path_segment(uid: str) -> str:
    """Returns the uid as one segment of a path. Raises RequestError for one that is not UTF-8."""
    try:
        return segment(uid)
    except NotUtf8 as error:
        raise RequestError(f"The uid {uid!r} is not UTF-8.\nA uid in the ledger always is.") from error


def _sendable(key: str, place: str) -> str:
    """The key without white space around it. Raises RequestError, which does not show it, where it cannot be sent."""
    key = key.strip()
    # The HTTP client's error would quote it.
    if not all("\x21" <= character <= "\x7e" for character in key):
        raise RequestError(
            f"The key in {place} contains a blank, or characters that a header cannot carry.\n"
            "Copy it again as it was shown when it was made."
        )
    return key


def _admin_key(settings: Settings) -> str:
    file = settings.data_dir / ADMIN_KEY_FILE
    try:
        return _sendable(read_text(file), str(file))
    except FileNotFoundError as error:
        reason = f"There is no admin key in {settings.data_dir}: the service has not started with this data_dir yet"
        raise RequestError(f"{reason}.\nStart it (`presence-ledger serve`), or set {API_KEY}.") from error
    except OSError as error:
        raise RequestError(
            f"{file} cannot be read: {error.strerror}.\nRun the command as the service's user, or set {API_KEY}."
        ) from error
