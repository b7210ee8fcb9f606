"""A running service for the tests of a module that are content with the usual one."""

from collections.abc import Iterator

import pytest

from tests.support.service import Api, Service, new_service


@pytest.fixture(scope="module")
def service(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An instance on a database of the module's own."""
    folder = tmp_path_factory.mktemp("service")
    with new_service(folder, folder / "data", database_url=module_database_url) as service:
        yield service.start()


@pytest.fixture(scope="module")
def api(service: Service) -> Iterator[Api]:
    """A client of it that may do everything."""
    with Api(service) as api:
        yield api
