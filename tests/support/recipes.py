"""The recipes of the docs, as they stand there: what a test runs is what people copy."""

import re
import textwrap
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def recipe(document: str, name: str) -> str:
    """The lines between `<!-- recipe:NAME -->` and `<!-- end -->`, without what they are indented by."""
    text = (DOCS / document).read_text(encoding="utf-8")
    found = re.search(rf"<!-- recipe:{re.escape(name)} -->\n(.*?)\n *<!-- end -->", text, re.DOTALL)
    assert found is not None, f"{document} has no recipe {name}"
    return textwrap.dedent(found[1])
