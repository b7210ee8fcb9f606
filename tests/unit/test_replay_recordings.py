"""Every recording of a real server through the rules: at most as wrong as webhooks alone must be."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.domain.policy import Policy
from ledger.ingest.replay import Replay, ReplayResult
from ledger.sources.wukongim.recording import read_header, read_webhooks

FIXTURES = Path(__file__).parents[1] / "fixtures"
RECORDINGS = FIXTURES / "wukongim"
BOUNDS: dict[str, dict[str, float]] = json.loads((FIXTURES / "webhooks_alone.json").read_text())

SHARE_SLACK, SECONDS_SLACK = 1.02, 1.0


def _scorer() -> Callable[[list[dict[str, Any]], dict[str, Any]], dict[str, Any]]:
    """`score` of the fixtures' script, which stands alone."""
    spec = importlib.util.spec_from_file_location("score", FIXTURES / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[list[dict[str, Any]], dict[str, Any]], dict[str, Any]] = module.score
    return found


score = _scorer()


def replayed(lines: list[str]) -> ReplayResult:
    header = read_header(lines[0])
    replay = Replay(header, Policy())
    for _ in replay.run(read_webhooks(lines[1:], header, None, all_deliveries=False)):
        pass
    return replay.result


def test_the_table_names_every_recording() -> None:
    found = {str(path.relative_to(RECORDINGS).with_suffix("")) for path in RECORDINGS.glob("*/*.jsonl")}
    assert found == BOUNDS.keys()


@pytest.mark.parametrize("name", BOUNDS)
def test_as_right_as_webhooks_alone_allow(name: str) -> None:
    lines = (RECORDINGS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    result = replayed(lines).as_dict()
    figures = score([json.loads(line) for line in lines], result["users"])

    bounds = BOUNDS[name]
    assert figures["late"] <= bounds["late"] * SHARE_SLACK + SECONDS_SLACK
    wrong_or_unknown = (bounds["wrong"] + bounds["unknown"]) * SHARE_SLACK + SECONDS_SLACK
    assert figures["wrong"] + figures["unknown"] <= wrong_or_unknown
    assert len(figures["wrong_at_end"]) <= bounds["wrong_at_end"]
