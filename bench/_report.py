"""What a benchmark found: a table, bars held or missed, and its place in the documentation."""

import argparse
import os
import platform
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True)
class Options:
    """How a benchmark was called."""

    short: bool
    database_url: str
    """Of a server to measure on; empty for an embedded one in a scratch folder."""
    profile: bool
    seed: int
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the embedded PostgreSQL, where they are to differ from the product's."""
    citus: str = ""
    """URL of a database on a Citus coordinator, in which distributed ledgers are measured; empty: none."""

    def pick(self, full: int, short: int) -> int:
        """An amount, by the length of the run."""
        return short if self.short else full


class Bar(NamedTuple):
    """A figure and its bound."""

    what: str
    value: float
    bound: float
    at_least: bool
    unit: str = ""
    speed: bool = False
    """Whether a busy machine, or luck, changes the figure: a short form shows it and is not held to it."""

    @property
    def held(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        return f"{self.told()}: {'held' if self.held else 'MISSED'}"

    def told(self) -> str:
        """The figure and its bound, without a verdict."""
        side = "at least" if self.at_least else "at most"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.what}: {number(self.value)}{unit}, {side} {number(self.bound)}{unit}"


@dataclass
class Report:
    """The outcome; `server` is what the database says it is."""

    title: str
    server: str
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return all(bar.held for bar in self.bars)

    def leave_speed_out(self) -> None:
        """Bars of speed become notes: what is left is right or wrong on any machine."""
        self.notes = [f"{bar.told()} (not held to in the short form)" for bar in self.bars if bar.speed] + self.notes
        self.bars = [bar for bar in self.bars if not bar.speed]

    def markdown(self) -> str:
        """The table as documentation and terminal show it."""
        cells = [list(self.header), *(list(row) for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.header))]
        lines = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
            for row in cells
        ]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        parts = [f"{self.title}.", "\n".join(lines)]
        said = [*(str(bar) for bar in self.bars), *self.notes]
        if said:
            parts.append("\n".join(f"- {line}" for line in said))
        parts.append(f"Measured {machine()}, {self.server}.")
        return "\n\n".join(parts)


def main(name: str, document: str, measure: Callable[[Options], Report]) -> None:
    """Run a benchmark as its script's arguments ask; exits 1 where a bar is missed.

    `document` is the file of docs/ that keeps its table between `<!-- bench:NAME -->` and `<!-- end -->`.
    """
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}")
    parser.add_argument("--short", action="store_true", help="small amounts and no bar of speed, for the tests")
    parser.add_argument("--database-url", default="", help="a PostgreSQL to measure on, whose role may make databases")
    parser.add_argument("--citus", default="", metavar="URL", help="a database on a Citus coordinator, to use up")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{document}")
    parser.add_argument("--profile", action="store_true", help="show where the time goes, which costs some of it")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)), help="of what happens at random")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="another setting of the embedded PostgreSQL"
    )
    given = parser.parse_args()
    settings = dict(each.split("=", 1) for each in given.set)
    options = Options(given.short, given.database_url, given.profile, given.seed, settings, given.citus)
    report = measure(options)
    if options.short:
        report.leave_speed_out()
    text = report.markdown()
    print(f"\n{text}")
    if given.write:
        replace_section(DOCS / document, name, text)
    sys.exit(0 if report.held else 1)


def replace_section(document: Path, name: str, text: str) -> None:
    """Put a text between the document's markers of that name. Raises ValueError where it has none."""
    old = document.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- bench:{re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    new, replaced = pattern.subn(lambda match: f"{match[1]}{text}\n{match[2]}", old)
    if not replaced:
        raise ValueError(f"{document} has no section for bench:{name}")
    document.write_text(new, encoding="utf-8")


def machine() -> str:
    """The day, the cores and the Python that a figure belongs to."""
    cores = len(os.sched_getaffinity(0))
    return f"{datetime.now(UTC):%Y-%m-%d} on {cores} cores ({platform.machine()}), Python {platform.python_version()}"


def number(value: float) -> str:
    """A figure with the digits that mean something."""
    if value >= 100 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least that share of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def progress(text: str) -> None:
    """A line for those who wait."""
    print(text, file=sys.stderr, flush=True)
