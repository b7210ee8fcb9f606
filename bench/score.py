"""How wrong is what we would have shown of recorded users, against what their clients really did?"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from bench._report import Bar, Options, Report, main
from ledger.cli.app import app

FIXTURES = Path(__file__).parents[1] / "tests" / "fixtures"
RECORDINGS = FIXTURES / "wukongim"
SHARE_SLACK, SECONDS_SLACK = 1.02, 1.0

Figures = dict[str, Any]


def measure(options: Options) -> Report:
    """Every recording (in the short form, those of fewer than 300 lines) through `replay --webhooks-only`."""
    bounds: dict[str, dict[str, float]] = json.loads((FIXTURES / "webhooks_alone.json").read_text(encoding="utf-8"))
    score = _scorer()
    report = Report(
        "User-seconds `wrong` / `late` / `unknown` / users wrong at the end, of recordings of real servers, from "
        f"webhooks alone, and what they may be at most (with {SHARE_SLACK - 1:.0%} and {SECONDS_SLACK:g} s of slack)",
        "no database",
        ("recording", "users", "user-seconds", "reached", "at most"),
    )
    reached: list[Figures] = []
    missed = []
    for name, bound in bounds.items():
        lines = [json.loads(line) for line in (RECORDINGS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        if options.short and len(lines) >= 300:
            continue
        figures = score(lines, _replay(RECORDINGS / f"{name}.jsonl"))
        figures["wrong_at_end"] = len(figures["wrong_at_end"])
        reached.append(figures)
        if not _within(figures, bound):
            missed.append(name)
        cells = (str(figures["users"]), f"{figures['user_seconds']:,.0f}", _shown(figures), _shown(bound))
        report.rows.append((name, *cells))
    sums = {name: sum(figures[name] for figures in reached) for name in ("users", "user_seconds", *_FIGURES)}
    chosen = [bound for (name, bound) in bounds.items() if any(row[0] == name for row in report.rows)]
    most = {name: sum(bound[name] for bound in chosen) for name in _FIGURES}
    report.rows.append(("sum", f"{sums['users']:.0f}", f"{sums['user_seconds']:,.0f}", _shown(sums), _shown(most)))
    report.bars.append(Bar(f"recordings over their bound, of {len(reached)}", len(missed), 0, at_least=False))
    report.notes += missed
    return report


_FIGURES = ("wrong", "late", "unknown", "wrong_at_end")


def _within(figures: Figures, bound: dict[str, float]) -> bool:
    both = figures["wrong"] + figures["unknown"], bound["wrong"] + bound["unknown"]
    seconds = ((figures["late"], bound["late"]), both)
    return figures["wrong_at_end"] <= bound["wrong_at_end"] and all(
        value <= most * SHARE_SLACK + SECONDS_SLACK for value, most in seconds
    )


def _shown(figures: Figures | dict[str, float]) -> str:
    wrong, late, unknown, at_end = (figures[name] for name in _FIGURES)
    return f"{wrong:,.1f} / {late:,.1f} / {unknown:,.1f} / {at_end:.0f}"


def _replay(recording: Path) -> dict[str, Any]:
    """The users as the command prints them. Raises RuntimeError where it fails."""
    result = CliRunner().invoke(app, ["replay", str(recording), "--webhooks-only", "--json"])
    if result.exit_code != 0:
        raise RuntimeError(f"replay {recording}: {result.output}")
    users: dict[str, Any] = json.loads(result.stdout)["users"]
    return users


def _scorer() -> Callable[[list[Figures], dict[str, Any]], Figures]:
    """`score` of the fixtures' script, which stands alone."""
    spec = importlib.util.spec_from_file_location("score", FIXTURES / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[list[Figures], dict[str, Any]], Figures] = module.score
    return found


if __name__ == "__main__":
    main("score", "reliability.md", measure)
