"""How calls go over HTTP: headers, times, what an answer's status means, and httpx2's failures as ours."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import httpx2

from ledger.client import errors
from ledger.client.calls import ANSWERED, Call
from ledger.client.errors import TimedOut, Unreachable

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0
CONNECT_SECONDS = 5.0
SILENT_SECONDS = 45.0
"""A stream beats every 15 s; one that is silent for so long is dead, whatever the system thinks of its connection."""


class ServiceAddress(NamedTuple):
    """Where the service is, and what to show it."""

    url: str
    key: str
    timeout_seconds: float = TIMEOUT_SECONDS
    verify: ssl.SSLContext | bool = True

    def options(self) -> dict[str, Any]:
        """Of an HTTP client. A proxy of the environment is meant for the internet, not for the service."""
        return {
            "base_url": self.url,
            "headers": {"Authorization": f"Bearer {self.key}"},
            "timeout": httpx2.Timeout(self.timeout_seconds, connect=min(CONNECT_SECONDS, self.timeout_seconds)),
            "verify": self.verify,
            "trust_env": False,
        }

    def stream_options(self, cursor: str | None) -> dict[str, Any]:
        """Of a request for a stream that goes on from a cursor."""
        headers = {"Accept": "text/event-stream"} | ({} if cursor is None else {"Last-Event-ID": cursor})
        return {
            "headers": headers,
            "timeout": httpx2.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS, write=CONNECT_SECONDS),
        }


def arguments(call: Call[Any]) -> Mapping[str, Any]:
    """What a request of this call is made of beside its method and path."""
    return {"params": dict(call.params)} | ({} if call.json is None else {"json": call.json})


def read(call: Call[T], response: httpx2.Response) -> T:
    """What the answer says. Raises ClientError."""
    check(response)
    return call.read(response.content)


def check(response: httpx2.Response) -> None:
    """Raises ClientError where an answer, whose body has been read, is an error."""
    if response.status_code not in ANSWERED:
        raise errors.from_answer(response.status_code, response.content, response.headers.get("retry-after"))


@contextmanager
def translated(service: ServiceAddress) -> Iterator[None]:
    """Failures of HTTP as Unreachable and TimedOut."""
    try:
        yield
    except httpx2.TimeoutException as error:
        raise TimedOut(f"the service at {service.url} did not answer in time") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
        raise Unreachable(f"no service can be reached at {service.url} ({error})", error) from error
