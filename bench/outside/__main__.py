"""Is what people met from outside right now? `python -m bench.outside [CHAPTER…] [--short] [--case 4b] [--write]`."""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Iterator, Sequence

from bench._report import DOCS, machine, progress, replace_section
from bench.outside import __path__
from bench.outside._cases import Case, Chapter, Outcome, attempt

CHAPTERS = sorted(each.name for each in pkgutil.iter_modules(__path__) if not each.name.startswith("_"))
"""The modules of this package that hold cases, one a subject."""

LONGEST_SEEN = 110


def main() -> None:
    """Try the cases asked for; exits 1 where one is not right."""
    parser = argparse.ArgumentParser(prog="python -m bench.outside")
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help=f"{', '.join(CHAPTERS)}; all of them by default")
    parser.add_argument("--short", action="store_true", help="the cases that take seconds, for the tests")
    parser.add_argument("--case", action="append", default=[], metavar="LETTER", help="this case alone, such as 4b")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    given = parser.parse_args()
    if unknown := set(given.chapters) - set(CHAPTERS):
        parser.error(f"no such chapter: {', '.join(sorted(unknown))}; there are {', '.join(CHAPTERS)}")
    outcomes = []
    for case in _wanted(given.chapters or CHAPTERS, given.case, given.short):
        progress(f"{case.letter}: {case.right} …")
        outcomes.append(attempt(case, given.short))
        progress(f"{case.letter}: {'held' if outcomes[-1].held else 'MISSED'}: {outcomes[-1].seen}")
    text = _table(outcomes)
    print(f"\n{text}")
    if given.write:
        replace_section(DOCS / "reliability.md", "outside", text)
    sys.exit(0 if outcomes and all(each.held for each in outcomes) else 1)


def _wanted(chapters: Sequence[str], letters: Sequence[str], short: bool) -> Iterator[Case]:
    for name in chapters:
        chapter: Chapter = importlib.import_module(f"bench.outside.{name}").CHAPTER
        for case in chapter.cases:
            if (not letters or case.letter in letters) and (case.in_short or not short):
                yield case


def _table(outcomes: Sequence[Outcome]) -> str:
    lines = ["| case | right is | seen | |", "|---|---|---|---|"]
    for case, held, seen in outcomes:
        cells = (case.letter, case.right, seen[:LONGEST_SEEN], "held" if held else "MISSED")
        lines.append("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |")
    right = sum(each.held for each in outcomes)
    verdict = "held" if right == len(outcomes) else "MISSED"
    return "\n".join([*lines, "", f"{right} of {len(outcomes)} cases: {verdict}. Measured {machine()}."])


if __name__ == "__main__":
    main()
