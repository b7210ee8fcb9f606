"""An explanation as a page for people: the answer, how sure it is, and then, section by section, what speaks for it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from ledger.domain.statement import Explanation
from ledger.explain.catalogue import Catalogue

CITED = 6
"""Positions cited one by one; of more only the first, the last and their number."""


class Sentence(NamedTuple):
    """One sentence of a page, what it is about, and the positions that it cites."""

    about: str
    sentence: str
    positions: Sequence[int]


def page(explanation: Explanation, catalogue: Catalogue) -> str:
    """The whole page, ending in a line break."""
    told = (
        Sentence(each.about, catalogue.sentence(explanation, each), each.positions) for each in explanation.statements
    )
    return laid_out(told, catalogue.about)


def laid_out(told: Iterable[Sentence], titles: Mapping[str, str]) -> str:
    """A page of these sentences, in sections with these titles."""
    return "\n".join(_lines(told, titles)) + "\n"


def _lines(told: Iterable[Sentence], titles: Mapping[str, str]) -> Iterator[str]:
    for about, sentences in groupby(told, key=lambda each: each.about):
        indent = ""
        if about not in ("status", "confidence"):
            indent = "  "
            yield ""
            yield titles.get(about, about)
        for each in sentences:
            yield f"{indent}{each.sentence} {cited(each.positions)}".rstrip()


def cited(positions: Sequence[int]) -> str:
    """`[4711, 4713]`; `[4711 … 5012, 87]` of 87 of them; nothing where there is none."""
    if not positions:
        return ""
    if len(positions) > CITED:
        return f"[{positions[0]} … {positions[-1]}, {len(positions)}]"
    return f"[{', '.join(map(str, positions))}]"
