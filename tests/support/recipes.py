"""The recipes of `docs/push.md`, as they stand there."""

import re
from textwrap import dedent

from tests.support.command import REPOSITORY

PAGE = REPOSITORY / "docs" / "push.md"


def recipe(name: str, replacing: dict[str, str] | None = None) -> str:
    """A recipe's text; what it names that is another in a test is replaced, and must be there."""
    text = PAGE.read_text(encoding="utf-8")
    match = re.search(rf"<!-- recipe:{re.escape(name)} -->\n\n((?:    .*\n|\n)+)", text)
    assert match is not None, f"docs/push.md has no recipe {name}"
    found = dedent(match[1]).strip() + "\n"
    for old, new in (replacing or {}).items():
        assert old in found, f"the recipe {name} does not name {old}"
        found = found.replace(old, new)
    return found
