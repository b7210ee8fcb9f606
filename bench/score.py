"""How wrong is what we would have shown of recorded users, against what their clients really did?"""

import json
from typing import Any

from typer.testing import CliRunner

from bench._report import Bar, Options, Report, main
from ledger.cli.app import app
from tests.support.recordings import (
    ALONE,
    LATE_GOAL,
    LOOKS_PER_USER_MINUTE,
    RECORDINGS,
    SECONDS_SLACK,
    SHARE_SLACK,
    WITH_POLLS,
    Bounds,
    Column,
    Figures,
    figures_of,
    has_reference,
    lines_of,
    missed,
)

COLUMNS = (ALONE, WITH_POLLS)
NAMES = ("wrong", "late", "unknown", "wrong_at_end")
SHORT_LINES = 300


def measure(options: Options) -> Report:
    """Every recording (in the short form, those of fewer than 300 lines) through `replay`, without polls and with."""
    columns = [f"{column.title}{end}" for column in COLUMNS for end in ("", ", at most")]
    report = Report(
        "User-seconds `wrong` / `late` / `unknown` / users wrong at the end, of recordings of real servers, from "
        f"webhooks alone and with polls (`--policy {' '.join(WITH_POLLS.policy)}`), and what they may be at most (with "
        f"{SHARE_SLACK - 1:.0%} and {SECONDS_SLACK:g} s of slack)",
        "no database",
        ("recording", "users", "user-seconds", *columns, "looks per user and minute"),
    )
    names = [name for name in ALONE.bounds if not options.short or len(lines_of(name)) < SHORT_LINES]
    reached = {column.title: {name: _replay(name, column) for name in names} for column in COLUMNS}
    for name in names:
        figures = [reached[column.title][name] for column in COLUMNS]
        cells = [_cells(found._asdict(), column.bounds[name]) for column, found in zip(COLUMNS, figures, strict=True)]
        size = (str(figures[0].users), f"{figures[0].user_seconds:,.0f}")
        report.rows.append((name, *size, *cells[0], *cells[1], f"{figures[1].looks_per_user_minute:.1f}"))
    report.rows.append(_sums(names, reached))
    for column in COLUMNS:
        found = reached[column.title]
        over = {name: why for name in names if (why := missed(found[name], column.bounds[name]))}
        what = f"{column.title}: recordings over their bound, of {len(names)}"
        report.bars.append(Bar(what, len(over), 0, at_least=False))
        report.notes += [f"{column.title}: {name} misses {', '.join(why)}" for name, why in over.items()]
    polled = reached[WITH_POLLS.title]
    late = sum(each.late for name, each in polled.items() if has_reference(name))
    looks = max(each.looks_per_user_minute for each in polled.values())
    report.bars.append(
        Bar("with polls: `late` of all that have a reference", late, LATE_GOAL, at_least=False, unit="user-seconds")
    )
    report.bars.append(Bar("most looks per user and minute", looks, LOOKS_PER_USER_MINUTE, at_least=False))
    return report


def _sums(names: list[str], reached: dict[str, dict[str, Figures]]) -> tuple[str, ...]:
    """The last row: all recordings together."""
    cells: list[str] = []
    for column in COLUMNS:
        found = [reached[column.title][name] for name in names]
        figures = {figure: sum(getattr(each, figure) for each in found) for figure in NAMES}
        cells += _cells(figures, {figure: sum(column.bounds[name][figure] for name in names) for figure in NAMES})
    every = reached[ALONE.title].values()
    return (
        "sum",
        str(sum(each.users for each in every)),
        f"{sum(each.user_seconds for each in every):,.0f}",
        *cells,
        "",
    )


def _cells(figures: Bounds, bounds: Bounds) -> tuple[str, str]:
    return _shown(figures), _shown(bounds)


def _shown(figures: Bounds) -> str:
    wrong, late, unknown, at_end = (figures[name] for name in NAMES)
    return f"{wrong:,.1f} / {late:,.1f} / {unknown:,.1f} / {at_end:.0f}"


def _replay(name: str, column: Column) -> Figures:
    """Score what the command prints. Raises RuntimeError where it fails."""
    changed = [part for assignment in column.policy for part in ("--policy", assignment)]
    arguments = ["replay", str(RECORDINGS / f"{name}.jsonl"), "--json", *changed]
    result = CliRunner().invoke(app, arguments if column.polls else [*arguments, "--webhooks-only"])
    if result.exit_code != 0:
        raise RuntimeError(f"replay {name}: {result.output}")
    printed: dict[str, Any] = json.loads(result.stdout)
    return figures_of([json.loads(line) for line in lines_of(name)], printed)


if __name__ == "__main__":
    main("score", "reliability.md", measure)
