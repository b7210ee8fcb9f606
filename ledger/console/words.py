"""The console's words: a sentence for each key in each language, and which language a reader is shown."""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from markupsafe import Markup, escape

from ledger.explain.negotiation import negotiate_language
from ledger.languages import Language, language_of
from ledger.text import printable, visible

_FACT = re.compile(r"\\\{(\w+)\\\}")

TAGS: Mapping[Language, str] = {"en": "en", "zh": "zh-CN"}
"""What `lang` of a page says."""


class Words:
    """The sentences of one language."""

    def __init__(self, language: Language, sentences: Mapping[str, str]) -> None:
        self.language = language
        self.tag = TAGS[language]
        self.sentences = sentences

    def __call__(self, key: str, /, **facts: Any) -> Markup:
        """A sentence with its facts, as visible text unless they are markup of ours. Raises KeyError."""
        sentence = escape(self.sentences[key])
        return sentence.format(**{name: _shown(fact) for name, fact in facts.items()}) if facts else sentence

    def named(self, group: str, code: object) -> Markup:
        """What a code of a group is called; the code itself where it has no name yet."""
        return escape(self.sentences.get(f"{group}.{code}", printable(str(code).replace("_", " "))))

    def said(self, text: str) -> str:
        """A sentence that the API has in English alone, in this language where we have it."""
        for pattern, template in _said() if self.language == "zh" else ():
            if (found := pattern.fullmatch(text)) is not None:
                return template.format(**found.groupdict())
        return text

    def counted(self, key: str, number: int, **facts: Any) -> Markup:
        """The sentence for that many: `key.one` or `key.other`."""
        return self(f"{key}.{'one' if number == 1 else 'other'}", number=f"{number:,}", **facts)


def _shown(fact: Any) -> Any:
    return visible(fact) if isinstance(fact, str) and not isinstance(fact, Markup) else fact


@cache
def _said() -> list[tuple[re.Pattern[str], str]]:
    """What any filling of an English sentence matches, and the Chinese one."""
    sentences = json.loads((files(__package__) / "words" / "said.zh.json").read_text(encoding="utf-8"))
    return [(re.compile(_FACT.sub(r"(?P<\1>.+?)", re.escape(each))), chinese) for each, chinese in sentences.items()]


@cache
def words(language: Language) -> Words:
    """The words of a language."""
    text = (files(__package__) / "words" / f"{language}.json").read_text(encoding="utf-8")
    return Words(language, json.loads(text))


def choose(asked: str | None, remembered: str | None, accepted: str | None) -> Language:
    """The language that the address asks for, else the one remembered, else the best that the browser accepts."""
    for wanted in (asked, remembered):
        if (language := language_of(wanted or "")) is not None:
            return language
    return negotiate_language(accepted)
