"""Sessions of the console in a real database: known to all instances, ended by time, a logout, or with the key."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from ledger.console import sessions as module
from ledger.console.sessions import ConsoleSessions
from ledger.errors import StoreUnavailable
from ledger.http.auth import KeyRing
from ledger.settings import ApiKeySettings
from ledger.store import api_keys, console_sessions
from ledger.store.api_keys import key_hash
from tests.support import pg
from tests.support.following import connect

Connection = psycopg.Connection[Any]
FIXED = ApiKeySettings("oncall", frozenset({"read", "audit"}), "a-fixed-key")


@pytest.fixture(autouse=True)
def read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A miss is looked up again at once."""
    monkeypatch.setattr(module, "MISSED_SECONDS", -1.0)


class Instance:
    """What one front knows of sessions; each reads the tables by itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_away = False
        self.keys = KeyRing(lambda: self.read(api_keys.load_active), [FIXED])
        self.sessions = ConsoleSessions(self.connected, self.keys)

    def read(self, load: Any) -> Any:
        with self.connected() as connection:
            return load(connection)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        if self.is_away:
            raise StoreUnavailable("away")
        with connect(self.url) as connection:
            yield connection

    def forget(self) -> None:
        """As if a second had gone by."""
        self.sessions._stored.forget()
        self.keys._stored.forget()


@pytest.fixture
def instance(database_url: str) -> Instance:
    return Instance(database_url)


@pg.on_every_server
def test_a_session_is_known_to_all_instances_and_its_id_to_none(instance: Instance, database_url: str) -> None:
    other = Instance(database_url)

    async def live() -> None:
        assert await other.sessions.find("guessed") is None
        made = await instance.sessions.begin(key_hash(FIXED.key), FIXED.name)
        for each in (instance, other):
            found = await each.sessions.find(made)
            assert found is not None
            assert (found.key.name, found.may("audit"), found.may("admin")) == ("oncall", True, False)
            assert len(found.csrf) == 64
        with connect(database_url) as connection:
            row = connection.execute("SELECT console_sessions::text FROM console_sessions").fetchone()
            assert row is not None
            assert made not in row[0]
        assert await instance.sessions.find(made + "x") is None
        found = await other.sessions.find(made)
        assert found is not None
        await other.sessions.end(found)
        instance.forget()
        assert [await each.sessions.find(made) for each in (instance, other)] == [None, None]

    asyncio.run(live())


def test_a_session_ends_with_its_key_and_with_time(
    instance: Instance, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = api_keys.create(connection, "support", ["audit"])

    async def live() -> None:
        made = await instance.sessions.begin(key_hash(key), "support")
        assert await instance.sessions.find(made) is not None
        api_keys.revoke(connection, "support")
        instance.forget()
        assert await instance.sessions.find(made) is None
        monkeypatch.setattr(module, "SESSION_SECONDS", -1)
        over = await instance.sessions.begin(key_hash(FIXED.key), "oncall")
        assert await instance.sessions.find(over) is None
        monkeypatch.setattr(module, "SESSION_SECONDS", 60)
        await instance.sessions.begin(key_hash(FIXED.key), "oncall")

    asyncio.run(live())
    assert {each.key_name for each in console_sessions.load(connection).values()} == {"support", "oncall"}
    left = connection.execute("SELECT count(*) FROM console_sessions").fetchone()
    assert left == (2,)  # the one that had expired was forgotten


def test_while_the_store_is_away_sessions_stay_and_none_begins(instance: Instance) -> None:
    async def live() -> None:
        made = await instance.sessions.begin(key_hash(FIXED.key), "oncall")
        assert await instance.sessions.find(made) is not None
        instance.is_away = True
        instance.forget()
        assert await instance.sessions.find(made) is not None
        assert await instance.sessions.find("other") is None
        with pytest.raises(StoreUnavailable):
            await instance.sessions.begin(key_hash(FIXED.key), "oncall")

    asyncio.run(live())
