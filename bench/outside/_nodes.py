"""A service with a source and a node for each case about nodes, whose users come and go by hand."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from bench._service import REPOSITORY, SECRET, Service
from bench.outside._cases import scratch
from bench.outside._product import at_work, hook, post, told, until, until_exit
from tests.support.im_node import Answer, ImNode, im_node
from tests.support.service import source_table

TLS = REPOSITORY / "tests" / "fixtures" / "tls"
USERS = [f"u{number}" for number in range(30)]

POLICY = """
[policy]
confirm_seconds = 0.2
tier_normal_seconds = {tier:g}
"""


class Watched(Service):
    """A service with a source for each of these nodes, by name; `more` are further settings of a source."""

    def __init__(
        self,
        folder: Path,
        nodes: dict[str, ImNode],
        *,
        more: dict[str, dict[str, str]] | None = None,
        tier: float = 2.0,
        **profiles: str,
    ) -> None:
        super().__init__(folder)
        self.nodes = nodes
        sources = [
            source_table(
                name,
                {"n1": node.url},
                profile=profiles.get(name, "v2.2"),
                webhook_secret=SECRET,
                **(more or {}).get(name, {}),
            )
            for name, node in nodes.items()
        ]
        self.configure("".join(sources) + POLICY.format(tier=tier))

    def hears(self, source: str, *items: str) -> None:
        """A webhook of a source's node."""
        answer = post(self, *items, path=hook(source))
        assert answer.status == 200, answer

    def source(self, name: str) -> Any:
        """A source as it is shown."""
        return next(each for each in told(self, "GET", "/v1/sources")["items"] if each["name"] == name)

    def run(self, source: str, *uids: str) -> Any:
        """A run over these users or over everybody, at its end."""
        run = told(self, "POST", f"/v1/sources/{source}/reconcile", {"uids": uids} if uids else None)["run"]
        return until(lambda: _ended(told(self, "GET", f"/v1/runs/{run}")), "a run ends")

    def online(self, uids: list[str]) -> int:
        """How many of these are shown online."""
        items = told(self, "POST", "/v1/presence/query", {"uids": uids})["items"]
        return sum(each["status"] == "online" for each in items)


def _ended(run: Any) -> Any:
    return run if run["state"] != "running" else None


@cache
def shared() -> Watched:
    """One service for all short cases, each with a source and a node of its own."""
    return until_exit(_all_nodes())


@contextmanager
def _all_nodes() -> Iterator[Watched]:
    plain = ("good", "lying", "hostile", "causes", "refusing", "before", "after", "resetting")
    with scratch() as folder, ExitStack() as stack:
        nodes = {name: stack.enter_context(im_node()) for name in plain}
        nodes |= {name: stack.enter_context(im_node(tls=TLS / "node.pem")) for name in ("private", "untrusted")}
        nodes["refusing"].lies["*"] = Answer(401, b"")
        more = {"private": {"api_ca_file": str(TLS / "authority.pem")}}
        yield stack.enter_context(at_work(Watched(folder, nodes, more=more, before="v2.1")))


def all_connected(source: str) -> tuple[Watched, ImNode]:
    """A source of the shared service whose users are connected and known, and its node, which tells the truth."""
    service = shared()
    node = service.nodes[source]
    uids = [f"{source}-{uid}" for uid in USERS]
    if not node.connections:
        service.hears(source, *map(node.connect, uids))
    node.lies.clear()
    node.resets = False
    until(lambda: service.online(uids) == len(USERS), f"users of {source} are online")
    return service, node


def neighbour_is_looked_at() -> None:
    """Another source of the service is reconciled as if nothing had happened."""
    service, _ = all_connected("good")
    run = service.run("good")
    assert run["counts"]["looked"] >= len(USERS), f"the neighbour was looked at: {run['counts']}"
