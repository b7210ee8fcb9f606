"""A language's catalogue: a sentence for each code, words for what is named by codes, and how facts are written."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, tzinfo
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from ledger.domain.instants import to_datetime
from ledger.domain.observation import Instant
from ledger.domain.statement import Explanation, Param, Statement, is_instant
from ledger.languages import Language
from ledger.text import printable

Template: TypeAlias = str | Mapping[str, str]
"""One sentence, or `one` and `other`, by the first number among its facts."""


class Catalogue:
    """The sentences of one language, their instants in `zone`; None is the machine's own."""

    def __init__(self, language: Language, content: Mapping[str, Any], zone: tzinfo | None = UTC) -> None:
        self.language = language
        self.zone = zone
        self.about: Mapping[str, str] = content["about"]
        self.words: Mapping[str, Mapping[str, str]] = content["words"]
        self.templates: Mapping[str, Template] = content["statements"]

    def sentence(self, explanation: Explanation, statement: Statement) -> str:
        """A statement in words. The user and the instant may be named in each."""
        day = self._in_full(explanation.at)[:10]
        written = {name: self._written(name, value, day) for name, value in statement.params.items()}
        facts = {"uid": printable(explanation.uid), "at": self._in_full(explanation.at), **written}
        return self._template(statement).format_map(facts)

    def _template(self, statement: Statement) -> str:
        template = self.templates[statement.code]
        if isinstance(template, str):
            return template
        number = next(statement.params[name] for name in COUNTED if name in statement.params)
        return template["one" if number == 1 else "other"]

    def _written(self, name: str, value: Param, day: str) -> str:
        if is_instant(name):
            # Without the day where it is the explained instant's.
            return self._in_full(int(value)).removeprefix(f"{day}T")
        if name == "rows":
            return self.words[name]["join"].join(map(self._row, str(value).split()))
        words = self.words.get(name)
        if words is not None:
            return words.get(str(value)) or words.get("other", "{value}").format(value=value)
        return f"{value:,.12g}" if isinstance(value, float) else printable(str(value))

    def _in_full(self, instant: Instant) -> str:
        """To the second, or to the millisecond where it is none."""
        local = to_datetime(instant).astimezone(self.zone)
        places = "milliseconds" if local.microsecond >= 1000 else "seconds"
        return local.isoformat(timespec=places).replace("+00:00", "Z")

    def _row(self, text: str) -> str:
        """What a poll's event keeps of a user: `flag:number` of a device, or `node/connId:flag` of a connection."""
        words = self.words["rows"]
        if (held := _HELD.fullmatch(text)) is not None:
            flag = held["device_flag"]
            device = "" if flag is None else self._written("device_flag", flag, "")
            return words["unlabelled" if flag is None else "held"].format(
                **(held.groupdict() | {"device_flag": device})
            )
        if (counted := _COUNTED.fullmatch(text)) is not None:
            device = self._written("device_flag", counted["device_flag"], "")
            return words["one" if counted["number"] == "1" else "other"].format(
                device_flag=device, number=counted["number"]
            )
        return printable(text)


_HELD = re.compile(r"(?P<node>\S+)/(?P<conn_id>\d+)(:(?P<device_flag>\d+))?", re.ASCII)
_COUNTED = re.compile(r"(?P<device_flag>\d+):(?P<number>\d+)", re.ASCII)

COUNTED = ("number", "ended", "looks")
"""The facts by which `one` and `other` are chosen."""


@cache
def catalogue(language: Language, zone: tzinfo | None = UTC) -> Catalogue:
    """The catalogue of a language, which tells instants in this zone; None is the machine's own."""
    text = (files(__package__) / f"{language}.json").read_text(encoding="utf-8")
    return Catalogue(language, json.loads(text), zone)
