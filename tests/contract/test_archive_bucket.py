"""The archive in a bucket of S3-compatible storage: the same as in a folder, and what is refused is told."""

from collections.abc import Iterator

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.archive_folder import Bucket
from ledger.ingest import erasing, unarchiving
from ledger.ingest.erasing import Order
from ledger.service import archive_process
from ledger.service.archive_process import ArchiveOrders, ArchiveOutcome
from ledger.store.archive import storage as storages
from ledger.store.archive import strangers, table
from ledger.store.archive.manifest import ArchiveDamaged, ArchiveUnwritable
from ledger.store.archive.strangers import ArchiveUnlisted
from ledger.store.ledger import Ledger
from projections.queries.archived import Archive
from tests.support.archived import archive, rows
from tests.support.buckets import Storage, serving
from tests.support.ledgers import SEAL_KEY
from tests.support.tampering import verified

pytestmark = pytest.mark.usefixtures("lived")


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "of-a-test"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_EC2_METADATA_DISABLED", "true"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(storages, "ATTEMPTS", 1)
    with serving() as found:
        yield found


@pytest.fixture
def bucket(storage: Storage) -> Bucket:
    return storage.bucket("ledger", "of the/archive")


def names(storage: Storage, bucket: Bucket) -> list[str]:
    return sorted(key.removeprefix(f"{bucket.path}/") for key in storage.objects if key != bucket.path)


def test_it_is_written_read_verified_erased_and_put_back(
    ledger: Ledger, database_url: str, storage: Storage, bucket: Bucket, connection: Connection[TupleRow]
) -> None:
    before = rows(ledger)
    orders = ArchiveOrders(database_url, SEAL_KEY.text, str(bucket), -1.0, [], "info", "auto")
    assert archive_process.run(orders) == ArchiveOutcome(3, 149)
    assert names(storage, bucket) == [each.name for each in table.read(connection)]
    asked = Archive(ledger, database_url, bucket).rows_after(0, 10_000)
    assert asked.answer[: len(before)] == before
    found = verified(database_url, archive=bucket)
    assert (found.is_intact, found.files) == (True, 3)
    replaced = names(storage, bucket)
    erasing.erase(ledger, "ann", Order("as they had asked", "ops"), [SEAL_KEY], 1, bucket)
    assert (len(names(storage, bucket)), {*replaced}.intersection(names(storage, bucket))) == (3, set())
    assert not any(b"user:ann" in content for content in storage.objects.values())
    assert verified(database_url, archive=bucket).is_intact
    storage.objects[f"{bucket.path}/{replaced[0]}"] = b""
    assert strangers.found(connection, bucket) == [replaced[0]]
    storage.refuses = {"GET": (403, "AccessDenied")}
    with pytest.raises(ArchiveUnlisted, match=r"cannot be listed: .*ACCESS_DENIED"):
        strangers.found(connection, bucket)
    storage.refuses = {}
    done = list(unarchiving.restore(ledger, database_url, bucket, lambda *_: None))
    assert (len(done), names(storage, bucket)) == (3, [replaced[0]])
    assert verified(database_url).is_intact


def test_what_is_refused_leaves_everything_in_the_database(
    ledger: Ledger, database_url: str, storage: Storage, bucket: Bucket
) -> None:
    for method in ("POST", "PUT"):
        storage.refuses = {method: (403, "AccessDenied")}
        with pytest.raises(ArchiveUnwritable, match=rf"{bucket.name}/.* cannot be written: .*ACCESS_DENIED"):
            archive(ledger, database_url, bucket)
        assert verified(database_url).is_intact
    storage.refuses = {}
    assert len(archive(ledger, database_url, bucket)) == 3


def test_an_object_that_is_missing_or_altered_is_named(
    ledger: Ledger, database_url: str, storage: Storage, bucket: Bucket
) -> None:
    archive(ledger, database_url, bucket, partitions=1)
    [name] = names(storage, bucket)
    key = f"{bucket.path}/{name}"
    whole = storage.objects.pop(key)
    asking = Archive(ledger, database_url, bucket)
    with pytest.raises(ArchiveDamaged, match=rf"{name}, of positions 1 to 49, is missing in s3://ledger/of%20the/arch"):
        asking.rows_after(0, 10)
    storage.objects[key] = whole[:-1]
    with pytest.raises(ArchiveDamaged, match=r"has [0-9,]+ bytes and not"):
        asking.rows_after(0, 10)
    storage.objects[key] = whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]
    found = verified(database_url, archive=bucket).altered
    assert found is not None
    assert "is not as it was written" in found.what
    storage.objects[key] = whole
    storage.refuses = {"HEAD": (403, "AccessDenied")}
    with pytest.raises(ArchiveDamaged, match=r"cannot be read: .*ACCESS_DENIED"):
        asking.rows_after(0, 10)


def test_what_is_not_written_to_its_end_is_not_there(storage: Storage, bucket: Bucket) -> None:
    there = storages.of(bucket)
    there.make()

    def half() -> None:
        with there.new("x") as write:
            write(memoryview(b"half"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert names(storage, bucket) == []
    assert there.names() == []
    there.remove("x")
    with pytest.raises(FileNotFoundError):
        there.size("x")
