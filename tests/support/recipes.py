"""Recipes of the docs, as somebody would copy them, so that a test can try what is shown."""

import re
from pathlib import Path
from textwrap import dedent

DOCS = Path(__file__).parents[2] / "docs"
RECIPE = re.compile(r"<!-- recipe: (?P<name>[\w-]+) -->\n(?P<text>(?:(?: {4,}.*)?\n)+)")


def recipe(page: str, name: str) -> str:
    """The block that follows the comment `recipe: name` of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    [found] = [found["text"] for found in RECIPE.finditer(text) if found["name"] == name]
    return dedent(found)
