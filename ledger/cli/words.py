"""Sentences in the reader's language. English stands in the code; `zh.json` has the Chinese of each template.

`lines` are templates that `told` fills, `nouns` what is counted, `codes` the API's own words, and `errors` whole
sentences, wherever they were made: `translated` finds the template that an English one was made by. What no catalogue
has stays English.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from ledger.cli.reader import reader
from ledger.text import counted

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def told(template: str, /, **facts: object) -> str:
    """A template, filled, in the reader's language."""
    if reader().language == "zh":
        template = catalogue()["lines"].get(template, template)
    return template.format_map(facts) if facts else template


def number_of(number: int, noun: str, nouns: str | None = None) -> str:
    """`1 event`, `2,000 events`, `2,000 条事件`."""
    measured = catalogue()["nouns"].get(noun) if reader().language == "zh" else None
    return f"{number:,} {measured}" if measured else counted(number, noun, nouns)


def word(code: str) -> str:
    """A word of the API as people read it: `upstream_defect` is `upstream defect`, a rule in Chinese keeps its name."""
    if reader().language == "zh":
        found: str = catalogue()["codes"].get(code, code)
        return found
    return code.replace("_", " ")


def name_of(code: str) -> str:
    """The same, of a word that English leaves as the API has it: a status, a reason, a verdict."""
    return word(code) if reader().language == "zh" else code


def joined(parts: list[str], separator: str = "; ") -> str:
    """Parts of a sentence, or a list with `, `, as the language joins them."""
    return {"; ": "；", ", ": "、"}[separator].join(parts) if reader().language == "zh" else separator.join(parts)


def translated(text: str) -> str:
    """An English text, line by line, in the reader's language, as far as the catalogue has its sentences."""
    if reader().language != "zh":
        return text
    return "\n".join(map(_translated_line, text.split("\n")))


@cache
def catalogue() -> Mapping[str, Any]:
    """What Chinese says for each template."""
    found: Mapping[str, Any] = json.loads((files(__package__) / "zh.json").read_text(encoding="utf-8"))
    return found


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    return [(_pattern(english), chinese) for english, chinese in catalogue()["errors"].items()]


def _pattern(template: str) -> re.Pattern[str]:
    """What any filling of a template matches."""
    parts = _PLACEHOLDER.split(template)
    return re.compile(
        "".join(f"(?P<{part}>.+?)" if number % 2 else re.escape(part) for number, part in enumerate(parts))
    )


def _translated_line(line: str) -> str:
    """A sentence, and within it what is itself one: the facts named `said…`."""
    for pattern, chinese in _patterns():
        if (match := pattern.fullmatch(line)) is not None:
            facts = {
                name: _translated_line(value) if name.startswith("said") else value
                for name, value in match.groupdict().items()
            }
            return chinese.format_map(facts)
    return line
