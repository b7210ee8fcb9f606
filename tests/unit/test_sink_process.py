"""The orders of the sinks' process, which kinds there are, and the sinks' figures."""

from pathlib import Path

import msgspec
import pytest

from ledger.domain.profile import Profile
from ledger.service.processes import _sink_orders
from ledger.settings.load import load
from ledger.sinks import orders

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
