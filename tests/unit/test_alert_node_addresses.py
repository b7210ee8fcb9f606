"""The addresses of nodes' hosts: resolved beside whoever asks, and kept where names cannot be resolved for a while."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from ledger.alerting.node_addresses import NodeAddresses
from ledger.domain.profile import Profile
from ledger.settings import NodeSettings, SourceSettings
from tests.support.service import wait_for

NODES = (NodeSettings("n1", "http://known.example"), NodeSettings("n2", "http://unknown.example"))
SOURCE = SourceSettings("main", Profile.V2_2, NODES, 0.0)


class Names:
    """A resolver."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.works = True

    def resolve(self, host: str, *_: object, **__: object) -> list[Any]:
        self.asked.append(host)
        if host == "unknown.example" or not self.works:
            raise OSError
        return [(0, 0, 0, "", ("10.0.0.1", 0))]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr("socket.getaddrinfo", names.resolve)
    return names


def at_once(work: Callable[[], None]) -> None:
    work()


def test_a_host_that_is_not_known_has_no_address(names: Names) -> None:
    addresses = NodeAddresses(SOURCE, at_once)
    for second in (0.0, 299.0):
        assert addresses.at(second) == {"n1": frozenset({"10.0.0.1"}), "n2": frozenset()}
    addresses.at(300.0)
    assert len(names.asked) == 4


def test_a_single_node_is_not_asked_about(names: Names) -> None:
    alone = NodeAddresses(SourceSettings("main", Profile.V2_2, NODES[:1], 0.0), at_once)
    assert (alone.at(0.0), names.asked) == ({}, [])


def test_the_last_good_answer_stands(names: Names) -> None:
    addresses = NodeAddresses(SOURCE, at_once)
    first = addresses.at(0.0)
    names.works = False
    assert addresses.at(300.0) == first


def test_nobody_waits_for_names_that_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    going_on, asked = threading.Event(), []

    def resolve(host: str, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        going_on.wait(60)
        return [(0, 0, 0, "", ("10.0.0.1", 0))]

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    addresses = NodeAddresses(SOURCE)
    assert [addresses.at(second) for second in (0.0, 300.0, 600.0)] == [None, None, None]
    going_on.set()
    wait_for(lambda: addresses._resolved is not None)
    assert asked == ["known.example", "unknown.example"]
