"""Taking settings anew: whatever fails, fails before anything has changed, and is logged with who wanted it."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.errors import LedgerError, SettingsError, StoreUnavailable
from ledger.service.reload import Reload
from ledger.settings import Settings
from ledger.settings.load import load


class Failing:
    """In place of the announcements."""

    async def change(self, _: Any) -> None:
        raise StoreUnavailable("PostgreSQL does not answer")


def settings(folder: Path, text: str) -> Settings:
    (folder / "presence-ledger.toml").write_text(text, encoding="utf-8")
    return load(environ={}, folder=folder)


def reload_of(folder: Path, monkeypatch: pytest.MonkeyPatch, new: str) -> tuple[Reload, Any]:
    before = settings(folder, "")
    (folder / "presence-ledger.toml").write_text(new, encoding="utf-8")
    state = SimpleNamespace(services=SimpleNamespace(settings=before))
    parts: Any = SimpleNamespace(announcing=Failing())
    monkeypatch.setattr(Reload, "_agree", lambda *_: ([], {}))
    app: Any = SimpleNamespace(state=state)
    return Reload(app, parts, lambda: load(environ={}, folder=folder)), state


@pytest.mark.parametrize(
    ("new", "error", "reason"),
    [
        ("nonsense = 1", SettingsError, "presence-ledger.toml, line 1: nonsense is an unknown key"),
        ('[[notify]]\nname = "n"\nurl = "nobody-knows://x"', SettingsError, "line 3: notify[0].url is not an address"),
        ("[policy]\ngrace_seconds = 3", StoreUnavailable, "PostgreSQL does not answer"),
    ],
)
def test_what_fails_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: str, error: type[LedgerError], reason: str
) -> None:
    reload, state = reload_of(tmp_path, monkeypatch, new)
    before = state.services
    with capture_logs() as logs, pytest.raises(error):
        asyncio.run(reload("API key ops"))
    assert state.services is before
    [line] = logs
    assert (line["event"], line["by"], line["log_level"]) == ("reload_refused", "API key ops", "error")
    assert reason in line["reason"]


def test_none_is_taken_once_the_service_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def live() -> None:
        reload, _ = reload_of(tmp_path, monkeypatch, "")
        await reload.end()
        await reload("SIGHUP")

    with pytest.raises(LedgerError, match="the service is stopping"):
        asyncio.run(live())


def test_one_whose_asker_has_gone_comes_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of it in force would be worse than either."""

    async def live() -> list[str]:
        reload, _ = reload_of(tmp_path, monkeypatch, "")
        done = list[str]()
        began, goes_on = asyncio.Event(), asyncio.Event()

        async def change(_: Any) -> None:
            began.set()
            await goes_on.wait()

        async def put_in_force(*_: Any) -> None:
            done.append("in force")

        monkeypatch.setattr(reload._parts.announcing, "change", change)
        monkeypatch.setattr(reload, "_put_in_force", put_in_force)
        asker = asyncio.create_task(reload("API key ops"))
        await began.wait()
        asker.cancel()
        await asyncio.gather(asker, return_exceptions=True)
        goes_on.set()
        await reload.end()
        return done

    assert asyncio.run(live()) == ["in force"]
