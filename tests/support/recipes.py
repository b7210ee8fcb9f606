"""The recipes of the docs, as they stand there: what a test runs is what people copy."""

import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

DOCS = Path(__file__).parents[2] / "docs"


def recipe(page: str, name: str, replacing: Mapping[str, str] | None = None) -> str:
    """The block after the comment `recipe:NAME`; what it names and a test has otherwise is replaced."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.search(rf"<!-- recipe: ?{re.escape(name)} -->\n((?: {{4,}}.*\n|\n)+)", text)
    assert found is not None, f"{page} has no recipe {name}"
    block = dedent(found[1]).strip() + "\n"
    for old, new in (replacing or {}).items():
        assert old in block, f"the recipe {name} does not name {old}"
        block = block.replace(old, new)
    return block
