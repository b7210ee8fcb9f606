"""The orders of the sinks' process, which kinds there are, and the sinks' figures."""

from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ledger.domain.observation import SECOND
from ledger.domain.profile import Profile
from ledger.http.sink_figures import SinkFigures
from ledger.service.processes import _sink_orders
from ledger.settings.load import load
from ledger.sinks import orders
from ledger.working_state.sinks import Checkpoint, SinkRow

SETTINGS = """
[[sources]]
name = "main"
profile = "v3"
  [[sources.nodes]]
  name = "n1"
  api_url = "http://127.0.0.1:5001"
  token = "t"
[[sinks]]
name = "app"
kind = "webhook"
url = "https://app.example/presence"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
[[sinks]]
name = "clients"
kind = "wukongim"
[[sinks]]
name = "hot"
kind = "redis"
url = "redis://127.0.0.1/0"
"""


def test_orders_bring_every_sink_and_source(tmp_path: Path) -> None:
    (tmp_path / "presence-ledger.toml").write_text(SETTINGS)
    settings = load(environ={}, folder=tmp_path)
    line = msgspec.json.encode(_sink_orders(settings, "postgresql://h/d"), enc_hook=str).decode()
    decoded = orders.decode(line)
    assert decoded.sinks == list(settings.sinks)
    assert decoded.sources == list(settings.sources)
    assert decoded.sources[0].profile is Profile.V3


def test_paths_come_back_as_paths() -> None:
    assert orders._decoded(Path, "/ca.pem") == Path("/ca.pem")
    with pytest.raises(NotImplementedError):
        orders._decoded(set, "x")


def test_figures_are_of_the_sinks_that_are_known() -> None:
    figures = SinkFigures()
    registry = CollectorRegistry()
    registry.register(figures)
    assert b'sink="app"' not in generate_latest(registry)
    place = Checkpoint("e", 90, 0, 0, 0)
    app = SinkRow("app", place, 0, None, None, 7, 2, 3 * SECOND, None, None, 40 * SECOND)
    held = SinkRow("held", place, 0, 1, None, 0, 0, None, None, None, None)
    figures.show([app, held], 100, 100 * SECOND)
    text = generate_latest(registry).decode()
    for line in (
        'presence_ledger_sink_lag_events{sink="app"} 10.0',
        'presence_ledger_sink_failing_seconds{sink="app"} 60.0',
        'presence_ledger_sink_failing_seconds{sink="held"} 0.0',
        'presence_ledger_sink_held{sink="held"} 1.0',
        'presence_ledger_sink_last_success_timestamp_seconds{sink="app"} 3.0',
        'presence_ledger_sink_changes_total{sink="app"} 7.0',
        'presence_ledger_sink_failures_total{sink="app"} 2.0',
    ):
        assert line in text
    assert 'last_success_timestamp_seconds{sink="held"}' not in text
