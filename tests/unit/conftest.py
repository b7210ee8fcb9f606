"""For the commands: a service that answers by script, and what calls a command that asks it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from ledger.cli.reader import meet
from tests.support.command import READERS
from tests.support.scripted import ScriptedService, scripted_service


@pytest.fixture(autouse=True)
def _read_in_english_and_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever runs the tests, wherever: what is printed is the same."""
    for name in READERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    meet(())
    yield
    meet(())


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    """It answers nothing yet, `{}`."""
    with scripted_service() as service:
        yield service


@pytest.fixture
def ask(service: ScriptedService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Calls a command in a folder whose service is the scripted one, with an admin key in its data folder."""
    monkeypatch.chdir(tmp_path)
    return service.command_in(tmp_path)
