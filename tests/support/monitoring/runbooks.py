"""A page for each alert: what it means, what to look at, the way out. What people add below the mark is kept."""

from pathlib import Path

from ledger.alerts.definition import Definition
from ledger.alerts.definitions import DEFINITIONS
from tests.support.monitoring.checks import CHECKS
from tests.support.monitoring.checks_zh import CHECKS_ZH, FIRST
from tests.support.monitoring.rules import rule_name

MARK = "<!-- What is found when it is on is written below by hand, and kept. -->"


def page(definition: Definition, before: str) -> str:
    """The page; `before` is what it was, whose notes are kept."""
    _, mark, notes = before.partition(MARK)
    return _made(definition) + MARK + (notes if mark else "\n")


def index() -> str:
    """The list of all pages."""
    lines = [
        "# Runbooks",
        "",
        "A page for each alert, in the order of the documentation.",
        "",
        "| alert | severity | |",
    ]
    lines.append("|---|---|---|")
    lines += [
        f"| [`{each.name}`]({each.name}.md) | {each.severity} | {_named(each, each.title.en)} |" for each in DEFINITIONS
    ]
    return "\n".join(lines) + "\n"


def write(folder: Path) -> dict[Path, str]:
    """Every page by its path."""
    made = {folder / "README.md": index()}
    for definition in DEFINITIONS:
        path = folder / f"{definition.name}.md"
        made[path] = page(definition, path.read_text(encoding="utf-8") if path.exists() else "")
    return made


def _named(definition: Definition, title: str) -> str:
    """A title with placeholders for people."""
    return title.format(source="SOURCE", subject=definition.subject.upper())


def _made(definition: Definition) -> str:
    scope = "a source" if definition.of_source else "the service"
    subject = f", by {definition.subject}" if definition.subject else ""
    return "\n".join(
        [
            f"# `{definition.name}`",
            "",
            f"*{_named(definition, definition.title.en)}* · *{_named(definition, definition.title.zh)}*",
            "",
            (
                f"Severity {definition.severity}; of {scope}{subject}; "
                f"[rule](../prometheus/presence-ledger.rules.yml) `{rule_name(definition)}`."
            ),
            "",
            "## What it means",
            "",
            definition.meaning.en,
            "",
            definition.meaning.zh,
            "",
            "## What to look at",
            "",
            "1. `presence-ledger alerts`: since when, and on what it rests; `alerts acknowledge ID` tells the others.",
            *(f"{number}. {check}" for number, check in enumerate(CHECKS[definition.name], 2)),
            "",
            "查看什么：",
            "",
            *(f"{number}. {check}" for number, check in enumerate((FIRST, *CHECKS_ZH[definition.name]), 1)),
            "",
            "## The way out",
            "",
            definition.way_out.en,
            "",
            definition.way_out.zh,
            "",
            "## Settings",
            "",
            "| of `[alerts]` | default | |",
            "|---|---|---|",
            *(f"| `{each.name}` | {each.default:.15g} | {each.says} |" for each in definition.settings),
            "",
            "",
        ]
    )
