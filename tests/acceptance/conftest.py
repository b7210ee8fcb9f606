"""A running service that the tests of a module share, with the usual settings or those that the module gives.

The service is measured for coverage, and not what asks it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.external import ExternalPostgres
from tests.support.service import Api, Service, new_service
from tests.support.streams import FrontedService, fronted


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("no_cover")


@pytest.fixture(scope="module")
def service_settings() -> dict[str, Any]:
    """What a module's service is given besides its database; a module overrides it."""
    return {}


@pytest.fixture(scope="module")
def service(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory, service_settings: dict[str, Any]
) -> Iterator[Service]:
    """An instance on a database of the module's own."""
    folder = tmp_path_factory.mktemp("service")
    with new_service(
        folder, folder / "data", database_url=module_database_url, measured=True, **service_settings
    ) as service:
        yield service.start()


@pytest.fixture(scope="module")
def fronted_service(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory, service_settings: dict[str, Any]
) -> Iterator[FrontedService]:
    """The same with a front; a module that wants it has its `service` be this one."""
    folder = tmp_path_factory.mktemp("service")
    with fronted(
        folder, folder / "data", database_url=module_database_url, measured=True, **service_settings
    ) as service:
        yield service.start()


@pytest.fixture(scope="module")
def api(service: Service) -> Iterator[Api]:
    """A client of it that may do everything."""
    with Api(service) as api:
        yield api


@pytest.fixture
def external(data_dir: Path) -> Iterator[ExternalPostgres]:
    """A PostgreSQL of the operator's, durable, with an empty database `ledger`."""
    server = ExternalPostgres(data_dir)
    try:
        with psycopg.connect(server.start(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE ledger")
        yield server
    finally:
        server.kill()
