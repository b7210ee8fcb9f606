"""The Python client against a service: asked, watching with one stream, following over restarts, and its errors."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import httpx2
import pytest

from ledger import client as api_client
from ledger.client import AsyncClient, Client, Disconnected, Presence, Ready, Resumed, Told
from tests.support.service import KEYS, Api, wait_for
from tests.support.streams import FrontedService


@pytest.fixture(scope="module")
def service(fronted_service: FrontedService) -> FrontedService:
    return fronted_service


@pytest.fixture
def client(service: FrontedService) -> Iterator[Client]:
    with Client(service.front, KEYS["read"]) as client:
        yield client


def streams(service: FrontedService) -> int:
    figures = service.figures()
    return int(
        float(next(line for line in figures.splitlines() if line.startswith("presence_ledger_streams")).split()[1])
    )


def test_questions_are_answered_with_values(client: Client, api: Api) -> None:
    api.deliver("asked-0-1-1-1-1")
    one = client.get("asked")
    assert (one.uid, one.status, one.devices[0].device, one.stale) == ("asked", "online", "app", False)
    assert [each.status for each in client.query(["nobody", "asked"])] == ["unknown", "online"]
    assert client.get("a/b?").reason == "never_observed"


def test_answers_are_as_short_by_the_front(service: FrontedService, client: Client) -> None:
    assert [(each.uid, each.status, each.version) for each in client.query(["x"], fields=["status"])] == [
        ("x", "unknown", 0)
    ]
    headers = {"Authorization": f"Bearer {KEYS['read']}"}
    with httpx2.Client(base_url=service.front, headers=headers, trust_env=False, timeout=60) as http:
        asked = {"uids": [f"u{number}" for number in range(300)]}
        answer = http.post("/v1/presence/query", params={"fields": "status"}, json=asked)
        assert (answer.headers["content-encoding"], len(answer.json()["items"])) == ("gzip", 300)
        again = http.post(
            "/v1/presence/query", params={"fields": "status"}, json=asked,
            headers={"If-None-Match": answer.headers["etag"]},
        )  # fmt: skip
        assert (again.status_code, again.content) == (304, b"")


def test_what_is_wrong_is_told_by_its_kind(service: FrontedService, client: Client) -> None:
    with pytest.raises(api_client.Invalid) as caught:
        client.query([""] * 10_001)
    assert caught.value.errors[0].field == "uids"
    with Client(service.front, "wrong") as stranger, pytest.raises(api_client.Unauthorized):
        stranger.get("u")
    with Client(service.front, "wrong") as stranger, pytest.raises(api_client.Unauthorized):
        stranger.watch(["u"]).ready()
    with pytest.raises(api_client.NotFound):
        client.request("GET", "/v1/nothing")
    with Client("http://127.0.0.1:1", "key") as nowhere, pytest.raises(api_client.Unreachable):
        nowhere.get("u")


def test_many_watches_share_one_stream(service: FrontedService, client: Client, api: Api) -> None:
    api.deliver("ann-0-1-11-1-1")
    with client.watch(["ann", "ben"]) as first:
        first.ready()
        with client.watch(["ben", "cem"]) as second:
            second.ready()
            assert [each.status for each in (first.get("ann"), second.get("cem")) if each] == ["online", "unknown"]
            assert first.get("cem") is None
            assert client.get("ann") == first.get("ann")
            wait_for(lambda: streams(service) == 1)
            api.deliver("ben-0-1-12-1-1", "cem-0-1-13-1-1")
            assert next(each for each in first if each.uid == "ben" and each.status == "online").previous is not None
            online = set()
            for each in second:
                online |= {each.uid} if each.status == "online" else set()
                if online == {"ben", "cem"}:
                    break
    wait_for(lambda: streams(service) == 0)


def test_a_watch_is_closed_from_another_thread(client: Client) -> None:
    watch = client.watch(["quiet"]).ready()
    told: list[Presence] = []
    reading = threading.Thread(target=lambda: told.extend(watch))
    reading.start()
    watch.close()
    reading.join(60)
    assert not reading.is_alive()


def test_everybody_is_followed_from_a_cursor(client: Client, api: Api) -> None:
    def until_ready(told: Iterator[Told]) -> tuple[list[object], str | None]:
        said: list[object] = []
        for each in told:
            said.append(each.said)
            if isinstance(each.said, Ready):
                return said, each.cursor
        raise AssertionError("the stream ended")

    _, cursor = until_ready(client.follow())
    api.deliver("later-0-1-21-1-1")
    said, _ = until_ready(client.follow(after=cursor))
    assert isinstance(said[0], Resumed)
    assert said[0].recovered
    assert [each.uid for each in said if isinstance(each, Presence)] == ["later"]


def test_a_front_that_is_killed_is_come_back_to(service: FrontedService, api: Api) -> None:
    followed: list[object] = []

    async def follow(client: AsyncClient, is_ready: asyncio.Event) -> None:
        """From its beginning over the break to the next `ready`."""
        async for each in client.follow(["fay"]):
            followed.append(each.said)
            if isinstance(each.said, Ready):
                if is_ready.is_set():
                    return
                is_ready.set()

    async def watch() -> None:
        async with AsyncClient(service.front, KEYS["read"]) as client, client.watch(["dee", "eve"]) as watch:
            is_ready = asyncio.Event()
            following = asyncio.create_task(follow(client, is_ready))
            await watch.ready()
            await is_ready.wait()
            service.front_process().kill()
            await until(lambda: watch.stale)
            assert [each.stale for each in watch.presences] == [True, True]
            await asyncio.to_thread(api.deliver, "dee-0-1-31-1-1")
            async for presence in watch:
                if presence.status == "online":
                    break
            told, answered = (await watch.ready()).get("dee"), await asyncio.to_thread(api.presence, "dee")
            assert told is not None
            assert (told.status, told.version, told.stale) == ("online", answered["version"], False)
            await following

    asyncio.run(asyncio.wait_for(watch(), 120))
    between = [type(said) for said in followed if not isinstance(said, Disconnected)]
    assert between == [Resumed, Presence, Ready, Resumed, Ready]
    assert any(isinstance(said, Disconnected) for said in followed)
    assert [said.recovered for said in followed if isinstance(said, Resumed)] == [False, True]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (as a program that looks now and then)
        await asyncio.sleep(0.01)
