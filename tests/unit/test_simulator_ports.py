"""Ports for servers that begin to listen later: nobody else is given them."""

import os
import socket
from collections.abc import Iterator

import pytest

from ledger.simulator import ports
from ledger.simulator.node_port import HOST
from ledger.simulator.plan import PlanError
from ledger.simulator.ports import BLOCK_PORTS, free_port


@pytest.fixture(autouse=True)
def no_block(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ports, "_block", None)
    yield
    if ports._block is not None:
        ports._block.close()


def test_each_is_another_and_none_is_handed_out_by_the_system() -> None:
    given = [free_port() for _ in range(2 * BLOCK_PORTS)]
    assert len({*given[: BLOCK_PORTS - 1]}) == BLOCK_PORTS - 1
    assert all(10_000 < port < 32_768 for port in given)


def test_who_listens_keeps_their_port(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with socket.socket() as listening:
        listening.bind((HOST, port + 1))
        assert free_port() == port + 2


def test_another_process_is_given_others() -> None:
    mine = {free_port() for _ in range(5)}
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, " ".join(str(free_port()) for _ in range(5)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    theirs = {int(port) for port in os.read(reading, 1000).split()}
    os.close(reading)
    assert len(theirs) == 5
    assert {port // BLOCK_PORTS for port in mine} != {port // BLOCK_PORTS for port in theirs}
    assert not mine & theirs


def test_where_none_is_left_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "BLOCKS", range(0))
    with pytest.raises(PlanError, match="no ports of this machine are free"):
        free_port()
