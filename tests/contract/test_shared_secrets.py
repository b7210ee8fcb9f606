"""What instances of one ledger must have in common: who makes secrets, who is refused, and how they are rotated."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from ledger.errors import StoreUnavailable
from ledger.service.reload import Reload
from ledger.settings import Settings
from ledger.settings.load import load
from ledger.store import shared_secrets
from ledger.store.data_folder import DataFolder
from ledger.store.shared_secrets import SecretsElsewhere
from tests.support import ledgers, pg

FIRST, SECOND = "first-seal-key-of-these-tests-ledgers", "second-seal-key-of-these-tests-ledgers"
SOURCE = "webhook_secret of the source main"

Start = Callable[..., list[str]]


@pytest.fixture
def url() -> Iterator[str]:
    with pg.new_database(pg.server_url("embedded")) as url:
        yield url


@pytest.fixture
def start(url: str, tmp_path: Path) -> Start:
    """Starts an instance with a data folder of that name, as far as its secrets go."""

    def start(folder: str, *, embedded: bool = False, **settings: str) -> list[str]:
        environ = {f"PRESENCE_LEDGER_{name.upper()}": value for name, value in settings.items()}
        environ["PRESENCE_LEDGER_DATA_DIR"] = str(tmp_path / folder)
        if not embedded:
            environ["PRESENCE_LEDGER_DATABASE_URL"] = url
        with psycopg.connect(url, autocommit=True) as connection:
            return agree(connection, load(environ=environ, folder=tmp_path))

    return start


def agree(connection: psycopg.Connection, settings: Settings) -> list[str]:
    folder = DataFolder(settings.data_dir)
    folder.create()
    return shared_secrets.agree(connection, settings, folder, settings.sources)


def secret(name: str) -> dict[str, str]:
    return {"sources_0_webhook_secret": name}


def refusal(start: Start, folder: str, **settings: str) -> str:
    with pytest.raises(SecretsElsewhere) as error:
        start(folder, **settings)
    return str(error.value)


def test_the_first_instance_makes_them_and_goes_on_with_them(start: Start, tmp_path: Path) -> None:
    assert start("a") == []
    made = {file.name: file.read_text() for file in (tmp_path / "a").iterdir()}
    assert made.keys() == {"seal.key", "webhook-main.secret"}
    assert start("a") == []
    assert {file.name: file.read_text() for file in (tmp_path / "a").iterdir()} == made


def test_another_one_without_any_is_refused_and_told_which_it_lacks(start: Start, tmp_path: Path) -> None:
    start("a")
    said = refusal(start, "b")
    assert f"Set seal_keys, {SOURCE}, as on the other instances." in said
    assert list((tmp_path / "b").iterdir()) == []
    # Only what it lacks is named; and what it is given by the settings is believed.
    key = (tmp_path / "a" / "seal.key").read_text().strip()
    assert f"Set {SOURCE}, as" in refusal(start, "b", seal_keys=key)
    webhook = (tmp_path / "a" / "webhook-main.secret").read_text().strip()
    assert "Set seal_keys, as" in refusal(start, "b", **secret(webhook))
    assert start("b", seal_keys=key, **secret(webhook)) == []
    assert start("a") == []


def test_one_that_keeps_others_is_refused(start: Start, tmp_path: Path) -> None:
    start("a")
    for name in ("seal.key", "webhook-main.secret"):
        (tmp_path / "b").mkdir(exist_ok=True)
        (tmp_path / "b" / name).write_text("kept-by-another-ledger-than-this-one\n")
    assert f"Set seal_keys, {SOURCE}, as" in refusal(start, "b")


def test_of_two_that_start_at_once_one_makes_them(start: Start) -> None:
    def attempt(folder: str) -> bool:
        try:
            start(folder)
        except SecretsElsewhere:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(attempt, "abcd")) == 1


def test_a_ledger_sealed_before_secrets_were_known_is_not_sealed_with_another_key(start: Start, url: str) -> None:
    with ledgers.opened(url) as ledger:
        ledgers.configure(ledger)
    assert "Set seal_keys, as" in refusal(start, "a")
    assert start("a", seal_keys=ledgers.SEAL_KEY.text) == []


def test_the_webhook_secret_is_rotated_by_the_settings(start: Start) -> None:
    def with_secrets(folder: str, secrets: str) -> list[str]:
        return start(folder, seal_keys=FIRST, **secret(secrets))

    assert with_secrets("a", "old-secret") == []
    # Instance by instance: the new one in front, then without the old one.
    assert with_secrets("a", "new-secret,old-secret") == []
    assert with_secrets("b", "new-secret,old-secret") == []
    assert with_secrets("a", "new-secret") == []
    assert with_secrets("b", "new-secret") == []
    # At once, as after a leak: that is done, and said.
    assert with_secrets("a", "other-secret") == ["webhook_secret main"]


def test_the_seal_key_is_rotated_by_the_settings(start: Start, tmp_path: Path) -> None:
    start("a")
    kept = (tmp_path / "a" / "seal.key").read_text().strip()
    webhook = (tmp_path / "a" / "webhook-main.secret").read_text().strip()
    assert start("a", seal_keys=SECOND) == []
    assert start("b", seal_keys=f"{SECOND},{kept}", **secret(webhook)) == []
    assert start("a", seal_keys=SECOND) == []
    assert "Set seal_keys" in refusal(start, "c", **secret(webhook))


def test_where_the_seal_key_is_lost_a_new_one_is_set_and_the_kept_webhook_secret_stays(
    start: Start, tmp_path: Path
) -> None:
    start("a")
    (tmp_path / "a" / "seal.key").unlink()
    # Without it nobody can tell whether the webhook secret is the right one, either.
    assert f"Set seal_keys, {SOURCE}, as" in refusal(start, "a")
    assert start("a", seal_keys=SECOND) == ["seal_keys"]
    assert start("a", seal_keys=SECOND) == []
    assert f"Set {SOURCE}, as" in refusal(start, "b", seal_keys=SECOND)


def test_another_key_in_the_settings_of_a_second_instance_is_told_of(start: Start) -> None:
    """It may be a rotation at once, so it is taken; a mistake must not pass in silence."""
    given = secret("some-webhook-secret")
    assert start("a", seal_keys=FIRST, **given) == []
    assert start("b", seal_keys=SECOND, **given) == ["seal_keys"]
    assert start("a", seal_keys=f"{SECOND},{FIRST}", **given) == []


def test_an_embedded_database_has_one_instance_which_is_right(start: Start, tmp_path: Path) -> None:
    start("a", embedded=True)
    # Restored elsewhere: its secrets are made from scratch.
    assert start("b", embedded=True) == []
    assert (tmp_path / "b" / "seal.key").exists()


def test_a_reload_that_is_refused_leaves_what_is_known_as_it_was(url: str, start: Start, tmp_path: Path) -> None:
    start("a", **secret("first-webhook-secret"))
    environ = {"PRESENCE_LEDGER_DATABASE_URL": url, "PRESENCE_LEDGER_DATA_DIR": str(tmp_path / "a")}

    def read(webhook: str) -> Settings:
        return load(environ=environ | {"PRESENCE_LEDGER_SOURCES_0_WEBHOOK_SECRET": webhook}, folder=tmp_path)

    class Refusing:
        async def change(self, _: Any) -> None:
            raise StoreUnavailable("PostgreSQL does not answer")

    app: Any = SimpleNamespace(state=SimpleNamespace(services=SimpleNamespace(settings=read("first-webhook-secret"))))
    parts: Any = SimpleNamespace(
        announcing=Refusing(), database_url=url, folder=DataFolder(read("first-webhook-secret").data_dir)
    )
    before = known(url)
    with capture_logs() as logs, pytest.raises(StoreUnavailable):
        asyncio.run(Reload(app, parts, lambda: read("second-webhook-secret"))("SIGHUP"))
    assert known(url) == before
    assert [line["event"] for line in logs] == ["reload_refused"]


def known(url: str) -> Any:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT * FROM known_secrets ORDER BY name").fetchall()
