"""For the commands: a service that answers by script, and what calls a command that asks it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from tests.support.scripted import ScriptedService, scripted_service


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
