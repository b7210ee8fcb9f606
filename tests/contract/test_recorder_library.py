"""The library's own published test cases of recorders and factories, run against ours."""

from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.tests.persistence import ApplicationRecorderTestCase, NonInterleavingNotificationIDsBaseCase
from eventsourcing.utils import Environment

from ledger.store.ledger import DATABASE_URL, SEAL_KEY, Ledger, LedgerFactory
from ledger.store.mapper import EventMapper
from ledger.store.recorder import LedgerRecorder
from tests.support import pg
from tests.support.ledgers import opened


class OnServer:
    """Gives the library's cases a recorder on a database of their own; they know nothing of fixtures."""

    server: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _ledger(self) -> Iterator[None]:
        with pg.new_database(pg.server_url(self.server)) as url, opened(url, pool_size=16) as ledger:
            self.ledger = ledger
            yield

    def create_recorder(self) -> LedgerRecorder:
        return self.ledger.events_recorder

    def new_originator_id(self) -> UUID | str:
        return str(uuid4())


class TestApplicationRecorderEmbedded(OnServer, ApplicationRecorderTestCase[LedgerRecorder]):
    server = "embedded"


class TestApplicationRecorderExternal(OnServer, ApplicationRecorderTestCase[LedgerRecorder]):
    server = "external"


class TestNonInterleavingEmbedded(OnServer, NonInterleavingNotificationIDsBaseCase):
    server = "embedded"


class TestNonInterleavingExternal(OnServer, NonInterleavingNotificationIDsBaseCase):
    server = "external"


# Imported, they would be collected here as well.
del ApplicationRecorderTestCase, NonInterleavingNotificationIDsBaseCase


def test_the_library_finds_our_factory_by_its_topic(database_url: str) -> None:
    environment = Environment("ledger", {**Ledger.env, DATABASE_URL: database_url, SEAL_KEY: "a-seal-key"})
    factory: InfrastructureFactory[Any] = InfrastructureFactory.construct(environment)
    try:
        assert type(factory) is LedgerFactory
        assert type(factory.mapper()) is EventMapper
        assert type(factory.application_recorder()) is LedgerRecorder
    finally:
        factory.close()


def test_the_ledger_is_an_application_of_the_library(database_url: str) -> None:
    with opened(database_url) as ledger:
        assert isinstance(ledger, Application)
        assert ledger.recorder is ledger.events_recorder
        assert ledger.mapper is ledger.events_mapper
