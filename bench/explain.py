"""Does every explanation of every transition in the recordings say what the events that it cites say?"""

import statistics
import sys
import time
from collections import Counter
from typing import NamedTuple

from bench import _explained
from bench._report import Bar, Options, Report, main
from tests.support.explained import Replayed
from tests.support.recordings import ALONE, WITH_POLLS, lines_of

SHORT_LINES = 300
SHOWN = 20


class Way(NamedTuple):
    """One way of replaying the recordings."""

    title: str
    policy: tuple[str, ...] = WITH_POLLS.policy
    all_deliveries: bool = False


WAYS = (
    Way("with polls"),
    Way("with polls, a grace period of 2 s", (*WITH_POLLS.policy, "grace_seconds=2")),
    Way("with polls, refused and cut webhooks taken, too", all_deliveries=True),
)


class Found(NamedTuple):
    """What the explanations of one way came to."""

    transitions: int
    events: int
    statements: int
    cited: int
    spent: list[float]
    false: list[str]
    codes: Counter[str]
    levels: Counter[str]


def measure(options: Options) -> Report:
    """Every transition of every recording (in the short form, of those of fewer than 300 lines), and just before it."""
    report = Report(
        "Explanations of every transition in the recordings of real servers and of the microsecond before it; each "
        "statement is held against the events that it cites, by a checker that shares nothing with what makes them",
        "no database",
        ("replayed", "events", "transitions", "explained", "statements", "events cited", "median, ms", "false"),
    )
    names = [name for name in ALONE.bounds if not options.short or len(lines_of(name)) < SHORT_LINES]
    levels: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    false: list[str] = []
    explained = 0
    for way in WAYS:
        found = _explain(names, way)
        levels += found.levels
        codes += found.codes
        false += found.false
        explained += len(found.spent)
        numbers = (found.events, found.transitions, len(found.spent), found.statements, found.cited)
        median = f"{statistics.median(found.spent) * 1000:.2f}"
        report.rows.append((way.title, *(f"{number:,}" for number in numbers), median, str(len(found.false))))
    report.bars.append(Bar("explanations that say anything false", len(false), 0, at_least=False))
    report.bars.append(Bar("explanations", explained, 1, at_least=True))
    report.notes.append(f"recordings: {len(names)}; different statements made: {len(codes)}")
    report.notes.append(f"confidence: {', '.join(f'{level} {number:,}' for level, number in levels.most_common())}")
    report.notes += false[:SHOWN]
    return report


def _explain(names: list[str], way: Way) -> Found:
    found = Found(0, 0, 0, 0, [], [], Counter(), Counter())
    transitions = events = statements = cited = 0
    for name in names:
        replayed = Replayed(name, way.policy, all_deliveries=way.all_deliveries)
        events += replayed.history.head()
        transitions += sum(1 for _ in replayed.transitions())
        for moment in replayed.moments():
            begun = time.perf_counter()
            explanation = replayed.explain(moment.uid, moment.at)
            found.spent.append(time.perf_counter() - begun)
            found.levels[explanation.confidence] += 1
            found.codes.update(statement.code for statement in explanation.statements)
            statements += len(explanation.statements)
            cited += sum(len(statement.positions) for statement in explanation.statements)
            found.false.extend(f"{name}: {what}" for what in replayed.wrong_with(moment, explanation)[:1])
    return found._replace(transitions=transitions, events=events, statements=statements, cited=cited)


if __name__ == "__main__":
    if "--write" in sys.argv:
        _explained.write()
    main("explain", "reliability.md", measure)
