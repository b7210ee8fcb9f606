"""An explanation as a page for people: the answer, how sure it is, and then, section by section, what speaks for it."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from ledger.domain.statement import Explanation
from ledger.explain.catalogue import Catalogue

CITED = 6
"""Positions cited one by one; of more only the first, the last and their number."""


def page(explanation: Explanation, catalogue: Catalogue) -> str:
    """The whole page, ending in a line break."""
    return "\n".join(_lines(explanation, catalogue)) + "\n"


def _lines(explanation: Explanation, catalogue: Catalogue) -> Iterator[str]:
    for about, statements in groupby(explanation.statements, key=lambda statement: statement.about):
        if about not in ("status", "confidence"):
            yield ""
            yield catalogue.about[about]
        indent = "" if about in ("status", "confidence") else "  "
        for statement in statements:
            yield f"{indent}{catalogue.sentence(explanation, statement)} {cited(statement.positions)}".rstrip()


def cited(positions: Sequence[int]) -> str:
    """`[4711, 4713]`; `[4711 … 5012, 87]` of 87 of them; nothing where there is none."""
    if not positions:
        return ""
    if len(positions) > CITED:
        return f"[{positions[0]} … {positions[-1]}, {len(positions)}]"
    return f"[{', '.join(map(str, positions))}]"
