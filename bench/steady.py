"""Do the tests pass every time, on a busy machine too? `python -m bench.steady [--runs 3] [--times 10] [--busy 2]`.

Runs of `make test` in a row, the last of them alongside busy processes; then the unit, property and acceptance tests so
many times each, every second time alongside such. It takes hours, so that either may be run alone (`--times 0`, `--runs
0`); exits 1 where one fails, and keeps what that one printed.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench._report import DOCS, machine, progress, replace_section

REPOSITORY = Path(__file__).parents[1]
BUSY = "while True: pass"
GROUPS = ("unit", "property", "acceptance")


class Run(NamedTuple):
    """One run of a target of the Makefile: alongside so many busy processes, how it ended, how long it took."""

    target: str
    busy: int
    passed: bool
    seconds: float
    last_line: str


def main() -> None:
    """Run everything asked for and print a line for each; exits 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.steady")
    parser.add_argument("--runs", type=int, default=3, help="of `make test`, the last one alongside busy processes")
    parser.add_argument("--times", type=int, default=10, help="of each group of tests, every second one alongside such")
    parser.add_argument("--groups", nargs="*", default=GROUPS, choices=GROUPS, help="of tests; all by default")
    parser.add_argument("--busy", type=int, default=2, help="how many busy processes")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    given = parser.parse_args()
    runs = []
    for target, busy in _wanted(given.runs, given.times, given.groups, given.busy):
        progress(f"make {target}{f' alongside {busy} busy processes' if busy else ''} …")
        runs.append(_run(target, busy))
        progress(f"make {target}: {_verdict(runs[-1])} after {runs[-1].seconds:,.0f} s: {runs[-1].last_line}")
    for section, whole in (("steady", True), ("steady-groups", False)):
        if some := [run for run in runs if (run.target == "test") is whole]:
            text = _table(some)
            print(f"\n{text}")
            if given.write:
                replace_section(DOCS / "reliability.md", section, text)
    sys.exit(0 if runs and all(run.passed for run in runs) else 1)


def _wanted(runs: int, times: int, groups: Sequence[str], busy: int) -> Iterator[tuple[str, int]]:
    for number in range(runs):
        yield "test", busy if number == runs - 1 else 0
    for group in groups:
        for number in range(times):
            yield group, busy if number % 2 else 0


def _run(target: str, busy: int) -> Run:
    began = time.monotonic()
    with _busy_processes(busy):
        done = subprocess.run(
            ["make", "--no-print-directory", target], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
    seconds = time.monotonic() - began
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode != 0:
        with tempfile.NamedTemporaryFile("w", prefix=f"steady-{target}-", suffix=".log", delete=False) as kept:
            kept.write(f"{done.stdout}\n{done.stderr}")
        progress(f"what it printed is in {kept.name}")
    told = next((line.strip(" =") for line in reversed(lines) if " passed" in line or " failed" in line), "")
    return Run(target, busy, done.returncode == 0, seconds, told)


@contextmanager
def _busy_processes(number: int) -> Iterator[None]:
    """So many processes that do nothing but use a processor."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(number)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _verdict(run: Run) -> str:
    return "held" if run.passed else "MISSED"


def _table(runs: Sequence[Run]) -> str:
    lines = ["| run | alongside | tests | seconds | |", "|---|---|---|---|---|"]
    for run in runs:
        alongside = f"{run.busy} busy processes" if run.busy else "nothing"
        lines.append(f"| `make {run.target}` | {alongside} | {run.last_line} | {run.seconds:,.0f} | {_verdict(run)} |")
    passed = sum(run.passed for run in runs)
    verdict = "held" if runs and passed == len(runs) else "MISSED"
    return "\n".join([*lines, "", f"{passed} of {len(runs)} runs passed: {verdict}. Measured {machine()}."])


if __name__ == "__main__":
    main()
