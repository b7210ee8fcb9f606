"""The stream of a list: its users, whoever comes and leaves, cursors that hold over restarts, and its end."""

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.service import Api, segment, wait_for
from tests.support.streams import FrontedService, Socket, Stream, Told, fronted


@pytest.fixture(scope="module")
def service(fronted_service: FrontedService) -> FrontedService:
    return fronted_service


def put(api: Api, name: str, *uids: str) -> None:
    assert api.http.put(f"/v1/lists/{segment(name)}", json={"uids": uids}).status_code in (200, 201)


def patch(api: Api, name: str, **order: list[str]) -> None:
    assert api.http.patch(f"/v1/lists/{segment(name)}", json=order).status_code == 200


def said(told: list[Told]) -> list[tuple[str, str]]:
    """The users of presences with their status, and those who are gone."""
    return [
        (each.data["uid"], each.data["status"] if each.event == "presence" else "gone")
        for each in told
        if each.event in ("presence", "gone")
    ]


def test_a_list_is_told_of_as_it_changes(service: FrontedService, api: Api) -> None:
    api.deliver("l1-0-1-1-1-1", "l4-0-1-2-1-1")
    put(api, "list/一", "l1", "l2")
    with service.stream(query={"list": "list/一"}) as stream:
        told = stream.until("ready")
        assert said(told) == [("l1", "online"), ("l2", "unknown")]
        assert (told[0].data["recovered"], told[0].data["reason"]) == (False, "fresh")
        api.deliver("l2-0-1-3-1-1", "stranger-0-1-9-1-1")
        assert said(stream.until("presence")) == [("l2", "online")]
        patch(api, "list/一", add=["l3", "l4"], remove=["l1"])
        assert sorted(said(stream.until("presence") + stream.until("presence"))) == [
            ("l1", "gone"), ("l3", "unknown"), ("l4", "online"),
        ]  # fmt: skip
        api.deliver("l1-0-0-1-0-0", "l3-0-1-4-1-1")
        assert said(stream.until("presence")) == [("l3", "online")]
        put(api, "list/一", "l1")
        gone = stream.until(lambda each: each.event == "presence")
        assert sorted(said(gone)) == [("l1", "offline"), ("l2", "gone"), ("l3", "gone"), ("l4", "gone")]


def test_two_streams_of_one_list_and_one_of_everybody(service: FrontedService, api: Api) -> None:
    put(api, "shared", "s1")
    with service.stream(query={"list": "shared"}) as one, service.stream() as everybody:
        one.until("ready")
        everybody.until("ready")
        with service.stream(query={"list": "shared", "snapshot": "false"}) as other:
            assert said(other.until("ready")) == []
            patch(api, "shared", add=["s2"])
            assert [said(stream.until("presence")) for stream in (one, other)] == [[("s2", "unknown")]] * 2
        api.deliver("s2-0-1-1-1-1")
        assert said(one.until("presence")) == [("s2", "online")]
        assert ("s2", "online") in said(everybody.until("presence"))
        patch(api, "shared", remove=["s2"])
        assert said(one.until("gone")) == [("s2", "gone")]


def test_what_was_missed_of_a_list_is_told_over_a_restart(service: FrontedService, api: Api) -> None:
    api.deliver("m1-0-1-1-1-1", "m2-0-1-2-1-1")
    put(api, "missed", "m1", "m2", "m3", "m4")
    with service.stream(query={"list": "missed"}) as stream:
        last = stream.until("ready")[-1].id
    patch(api, "missed", add=["m5", "m6"], remove=["m2", "m3"])
    patch(api, "missed", add=["m3"], remove=["m6"])
    api.deliver("m1-0-0-1-0-0")
    service.kill()
    service.start()
    with service.stream(last=last, query={"list": "missed"}) as stream:
        told = stream.until("ready")
        assert (told[0].data["recovered"], told[0].data["reason"]) == (True, None)
        # Whoever came back is told of again: the reader may have heard that they left.
        assert sorted(said(told)) == [
            ("m1", "offline"), ("m2", "gone"), ("m3", "unknown"), ("m5", "unknown"), ("m6", "gone"),
        ]  # fmt: skip
        assert next(each for each in told if each.event == "presence").data["previous"]["status"] == "online"
        again = stream.id
    with service.stream(last=again, query={"list": "missed"}) as stream:
        assert said(stream.until("ready")) == []
    # One that was not told of a list is no cursor of one.
    with service.stream("m1") as named:
        other = named.until("ready")[-1].id
    with service.stream(
        last=other.rsplit(".", 1)[0] if other.count(".") == 3 else other, query={"list": "missed"}
    ) as s:
        told = s.until("ready")
        assert (told[0].data["recovered"], told[0].data["reason"], len(said(told))) == (False, "epoch", 4)


def test_many_are_walked_through(service: FrontedService, api: Api) -> None:
    uids = [f"many-{number:05}" for number in range(2_345)]
    put(api, "many", *uids)
    with service.stream(query={"list": "many"}) as stream:
        assert said(stream.until("ready")) == [(uid, "unknown") for uid in uids]
        last = stream.id
        put(api, "many", *uids, *[f"more-{number:05}" for number in range(10_001)])
        # So many at once are told of page by page to whoever comes again.
        assert said(stream.rest()) == []
    with service.stream(last=last, query={"list": "many"}) as stream:
        assert len(said(stream.until("ready"))) == 10_001


def test_an_unknown_list_is_none_and_a_deleted_one_ends(service: FrontedService, api: Api) -> None:
    with service.stream(query={"list": "unknown"}) as stream:
        assert stream.response.status_code == 404
    with service.stream("u1", query={"list": "unknown"}) as stream:
        assert stream.response.status_code == 422
    with service.stream(query={"list": ""}) as stream:
        assert stream.response.status_code == 422
    put(api, "deleted", "d1")
    with service.stream(query={"list": "deleted"}) as stream, closing(
        Socket(service.front_port, "/v1/ws?list=deleted")
    ) as websocket:  # fmt: skip
        stream.until("ready")
        websocket.until("ready")
        assert api.http.delete("/v1/lists/deleted").status_code == 204
        stream.rest()
        code, reason = websocket.receive()
        assert (code, reason) == (1008, "the list was deleted")
    with service.stream(query={"list": "deleted"}) as stream:
        assert stream.response.status_code == 404
    with closing(Socket(service.front_port, "/v1/ws?list=deleted")) as websocket:
        assert websocket.receive() == (1008, "no such list")


def test_a_websocket_of_a_list(service: FrontedService, api: Api) -> None:
    api.deliver("w1-0-1-1-1-1")
    put(api, "by websocket", "w1")
    with closing(Socket(service.front_port, "/v1/ws?list=by%20websocket")) as websocket:
        last = websocket.until("ready")[-1]["id"]
        websocket.send({"watch": ["w2"]})
        assert "of a list" in websocket.until("problem")[-1]["data"]["detail"]
        patch(api, "by websocket", add=["w2"])
        assert websocket.until("presence")[-1]["data"]["uid"] == "w2"
        patch(api, "by websocket", remove=["w1"])
        assert websocket.until("gone")[-1]["data"] == {"uid": "w1"}
        websocket.send({"resume": last})
        told: list[Any] = websocket.until("ready")
        assert told[0]["data"]["recovered"] is True
        assert {(each["event"], each["data"].get("uid")) for each in told[1:-1]} == {("gone", "w1"), ("presence", "w2")}
        websocket.send({"resume": "garbage"})
        told = websocket.until("ready")
        assert (told[0]["data"]["recovered"], [each["data"]["uid"] for each in told[1:-1]]) == (False, ["w2"])


class Reader:
    """Whoever applies what a list's stream tells, in its order, over streams that are cut off anywhere."""

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {}
        self.last: str | None = None

    def take(self, stream: Stream, told: list[Told]) -> None:
        """Apply what was told."""
        for each in told:
            if each.event == "resumed" and not each.data["recovered"]:
                self.shown.clear()
            elif each.event == "presence":
                self.shown[each.data["uid"]] = each.data
            elif each.event == "gone":
                self.shown.pop(each.data["uid"], None)
        self.last = stream.id or self.last

    def shows(self, items: list[Any]) -> bool:
        """Whether that is what is answered."""

        def plain(presence: Any) -> tuple[Any, ...]:
            return tuple(presence[name] for name in ("uid", "status", "reason", "since", "devices"))

        return sorted(map(plain, self.shown.values())) == sorted(map(plain, items))


def test_whoever_applies_it_has_what_the_list_answers(service: FrontedService, api: Api) -> None:
    chance = random.Random(14)
    uids = [f"any-{number}" for number in range(12)]
    put(api, "any", *uids[:6])
    reader, connections = Reader(), iter(range(1, 10_000))
    for turn in range(8):
        with service.stream(last=reader.last, query={"list": "any"}) as stream:
            reader.take(stream, stream.until("ready"))
            for _ in range(6):
                came = chance.sample(uids, 2)
                left = [uid for uid in chance.sample(uids, 3) if uid not in came]
                patch(api, "any", add=came, remove=left)
                api.deliver(*[f"{uid}-{turn % 3}-1-{next(connections)}-1-{turn % 3 + 1}" for uid in came[:1] + left])
            if turn % 2:
                # A user who is on it once all else has been told.
                end = f"end-{turn}"
                put(api, "any", *uids[:4], end)
                while end not in reader.shown:
                    reader.take(stream, [next(iter(stream))])
                wait_for(lambda: caught_up(api, reader, stream))
    with service.stream(last=reader.last, query={"list": "any"}) as stream:
        reader.take(stream, stream.until("ready"))
        assert reader.shows(api.get("/v1/lists/any/presence")["items"])


def caught_up(api: Api, reader: Reader, stream: Stream) -> bool:
    """Whether the reader has what is answered, once they have read one event more where they have not."""
    if reader.shows(api.get("/v1/lists/any/presence")["items"]):
        return True
    reader.take(stream, [next(iter(stream))])
    return False


def test_another_instance_tells_of_a_list_and_takes_its_tokens(
    service: FrontedService, api: Api, module_database_url: str, tmp_path: Path
) -> None:
    put(api, "everywhere", "e1")
    token = api.http.post("/v1/stream/tokens", json={"list": "everywhere"}).json()["token"]
    with fronted(tmp_path, tmp_path / "data", database_url=module_database_url) as other:
        other.start()
        with other.stream(key=token) as stream:
            assert said(stream.until("ready")) == [("e1", "unknown")]
            patch(api, "everywhere", add=["e2"])
            assert said(stream.until("presence")) == [("e2", "unknown")]
            last = stream.id
        patch(api, "everywhere", remove=["e1"])
        with service.stream(key=token, last=last) as stream:
            told = stream.until("ready")
            assert told[0].data["recovered"] is True
            assert ("e1", "gone") in said(told)
