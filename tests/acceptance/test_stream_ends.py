"""How streams end and go on: a ledger that is another one, a reader who takes nothing, a service that stops."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Self

import httpx2
import pytest

from tests.support.service import KEYS, Api, wait_for
from tests.support.slices import eventful, slice_of, written
from tests.support.streams import FrontedService, Socket, Stream


@pytest.fixture(scope="module")
def service(fronted_service: FrontedService) -> FrontedService:
    return fronted_service


class SlowReader:
    """Asks for a stream, and takes nothing of it before it is told to."""

    def __init__(self, service: FrontedService, *uids: str) -> None:
        self._socket = socket.socket()
        # The system would take megabytes for them otherwise.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self._socket.settimeout(120)
        self._socket.connect(("127.0.0.1", service.front_port))
        query = "&".join(f"uid={uid}" for uid in uids)
        head = f"GET /v1/stream?{query} HTTP/1.0\r\nHost: front\r\nAuthorization: Bearer {KEYS['read']}\r\n\r\n"
        self._socket.sendall(head.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def stream(self) -> Stream:
        """What there is to read, from the beginning."""
        file = self._socket.makefile("rb")
        while file.readline() not in (b"\r\n", b""):
            pass
        return Stream(httpx2.Response(200, content=_lines(file)))


def _lines(file: object) -> Iterator[bytes]:
    while line := file.readline():  # type: ignore[attr-defined]
        yield line


def test_a_reader_who_is_slow_is_told_the_last_state_of_everybody(service: FrontedService, api: Api) -> None:
    uids = [f"slow-{number}" for number in range(50)]
    flips = 60
    with SlowReader(service, *uids) as reader:
        wait_for(lambda: "presence_ledger_streams 1.0" in service.figures())
        for flip in range(1, flips):
            # Each of them more than buffers hold together, so that most of it waits here and is replaced.
            online = flip % 2
            api.deliver(*[f"{uid}-0-{online}-{number * flips + (flip + 1) // 2}-{online}-{online}"
                          for number, uid in enumerate(uids)])  # fmt: skip
        answered = {uid: api.presence(uid) for uid in uids}
        places: dict[str, tuple[int, str]] = {}
        wrong = set(uids)
        for each in reader.stream():
            if each.event == "presence":
                uid, place = each.data["uid"], (each.data["as_of"]["position"], each.data["as_of"]["at"])
                assert place >= places.get(uid, (0, ""))
                places[uid] = place
                same = all(each.data[name] == answered[uid][name] for name in ("status", "since", "devices"))
                wrong = wrong - {uid} if same else wrong | {uid}
            if not wrong:
                break
        assert not wrong


def test_a_ledger_that_is_another_one_ends_streams_and_their_readers_begin_anew(
    service: FrontedService, api: Api, tmp_path: Path
) -> None:
    api.deliver("epoch-0-1-1-1-1")
    file = written(slice_of(eventful().kept), tmp_path / "another.ndjson.gz")
    with ExitStack() as stack:
        named, everybody = stack.enter_context(service.stream("epoch")), stack.enter_context(service.stream())
        websocket = stack.enter_context(closing(Socket(service.front_port, "/v1/ws?uid=epoch")))
        before = named.until("ready")[0].data["as_of"]["epoch"]
        everybody.until("ready")
        websocket.until("ready")
        done = service.command("import", str(file), "--source", "main=another")
        assert done.returncode == 0, done.stderr
        named.rest()
        everybody.rest()
        told = websocket.receive()
        while not isinstance(told, tuple):
            told = websocket.receive()
        assert told[0] == 1001
    with service.stream("epoch", last=named.id) as again:
        told_again = again.until("ready")
        assert (told_again[0].data["recovered"], told_again[0].data["reason"]) == (False, "epoch")
        assert told_again[0].data["as_of"]["epoch"] != before
        assert [each.data["uid"] for each in told_again if each.event == "presence"] == ["epoch"]
    with service.stream(last=everybody.id) as again:
        assert again.until("ready")[0].data["reason"] == "epoch"


def test_a_service_that_stops_tells_when_to_come_again(service: FrontedService, api: Api) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(service.stream("stops")) for _ in range(5)]
        websocket = stack.enter_context(closing(Socket(service.front_port, "/v1/ws?uid=stops")))
        websocket.until("ready")
        for stream in streams:
            stream.until("ready")
            stream.retry = None
        service.terminate()
        for stream in streams:
            with suppress(httpx2.TransportError):
                stream.rest()
            assert stream.retry is not None
            assert 1_000 <= stream.retry <= 4_000
        assert websocket.receive()[0] == 1001
    assert service.wait().code == 0
