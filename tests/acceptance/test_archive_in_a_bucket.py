"""Old events of a running service that leave for S3-compatible storage: the same as with a folder."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.archived import age, live
from tests.support.buckets import Storage, serving
from tests.support.ledgers import opened
from tests.support.service import MAIN, Api, Service, new_service, wait_for

RETENTION = '\n[retention]\nevents_days = 1\narchive_dir = "{url}"\n'


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with pytest.MonkeyPatch.context() as environment, serving() as found:
        environment.setenv("AWS_ACCESS_KEY_ID", "of-a-test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield found


@pytest.fixture(scope="module")
def service(storage: Storage, module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of a ledger of ten days ago, in small partitions."""
    with opened(module_database_url) as ledger:
        live(ledger, module_database_url)
    age(module_database_url, 10)
    folder = tmp_path_factory.mktemp("service")
    tables = MAIN + RETENTION.format(url=storage.bucket("ledger", "of the/archive"))
    with new_service(folder, folder / "data", database_url=module_database_url, tables=tables) as service:
        yield service.start()


def files(storage: Storage) -> list[str]:
    """What is there but for an object that stands for the folder."""
    return sorted(name for name, content in storage.objects.items() if content)


def test_it_is_asked_as_before(service: Service, api: Api, storage: Storage) -> None:
    def asked() -> list[Any]:
        pages = [api.get(f"/v1/users/ann/{what}", limit=1000)["items"] for what in ("events", "timeline", "sessions")]
        return [*pages, api.get("/v1/users/ann/presence", at=at, known_at=at)]

    at = api.get("/v1/users/ann/events", limit=1)["items"][0]["recorded_at"]
    before = asked()
    # Nothing leaves while the projector is behind.
    wait_for(lambda: service.command("archive").returncode == 0 and len(files(storage)) == 3, service.log)
    assert {name.rpartition("/")[0] for name in files(storage)} == {"ledger/of the/archive"}
    assert asked() == before
    assert not (service.data_dir / "archive").exists()
    told = service.command("archive", "verify")
    assert (told.returncode, told.stdout.startswith("intact: 3 files, ")) == (0, True)

    name = files(storage)[0]
    kept = storage.objects.pop(name)
    answer = api.http.get("/v1/users/ann/presence", params={"at": at})
    assert (answer.status_code, answer.json()["title"]) == (503, "Archive damaged")
    assert name.rpartition("/")[2] in answer.json()["detail"]
    assert service.command("archive", "verify").returncode == 1
    # The present needs none of them.
    assert api.http.get("/v1/users/ann/presence").status_code == 200
    storage.objects[name] = kept

    assert service.command("archive", "restore").returncode == 0
    assert files(storage) == []
    assert service.command("verify").returncode == 0
    assert asked() == before
