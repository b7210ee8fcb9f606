"""The pages of the documents: no link is dead, and the Chinese ones say of each section what the English ones do."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.command import REPOSITORY

PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "bench").glob("*.md")])
CHINESE = {
    REPOSITORY / "README.md": REPOSITORY / "README.zh-CN.md",
    **{
        REPOSITORY / "docs" / f"{name}.md": REPOSITORY / "docs" / "zh" / f"{name}.md"
        for name in ("install", "operations", "push", "audit", "reconciliation", "loss", "alerts", "console")
    },
}
BOTH = [pytest.param(*pair, id=pair[0].stem) for pair in CHINESE.items()]

HEADING = re.compile(r"^(#{1,4}) (.+)$")
ANCHOR = re.compile(r'^<a id="([^"]+)"></a>$')
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(r"^\s+(presence-ledger|curl|redis-cli|psql|eval|make|pip|sudo) .*$", re.MULTILINE)
GENERATED = re.compile(r"<!-- bench:(\w+) -->\n.*?<!-- end -->", re.DOTALL)
ROW = re.compile(r"^\| `(?P<key>[a-zA-Z_.]+)` \| (?P<default>[^|]*) \| [^|]+ \| [^|]*\|$", re.MULTILINE)


class Section(NamedTuple):
    """A heading's level, the name by which it is linked to, and what stands below it."""

    level: int
    anchor: str
    text: str


def slug(heading: str) -> str:
    """The name that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def sections(page: Path) -> list[Section]:
    """The page's sections; what is generated into it has none."""
    found: list[tuple[int, str, list[str]]] = []
    anchor, in_code = None, False
    for line in GENERATED.sub("", page.read_text(encoding="utf-8")).splitlines():
        in_code ^= line.startswith("```")
        if not in_code and (match := ANCHOR.match(line)):
            anchor = match[1]
        elif not in_code and (match := HEADING.match(line)):
            found.append((len(match[1]), anchor or slug(match[2]), []))
            anchor = None
        elif found:
            found[-1][2].append(line)
    return [Section(level, name, "\n".join(lines)) for level, name, lines in found]


def anchors(page: Path) -> set[str]:
    text = page.read_text(encoding="utf-8")
    named = {match[1] for line in text.splitlines() if (match := ANCHOR.match(line))}
    return named | {slug(match[2]) for line in text.splitlines() if (match := HEADING.match(line))}


def links(page: Path) -> Iterator[str]:
    """The relative links of a page."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if not line.startswith("    "):
            yield from (link for link in LINK.findall(CODE.sub("", line)) if not re.match(r"[a-z]+:", link))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_no_relative_link_is_dead(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


@pytest.mark.parametrize(("english", "chinese"), BOTH)
def test_each_language_links_to_the_other(english: Path, chinese: Path) -> None:
    assert chinese in {(english.parent / link).resolve() for link in links(english)}
    assert english in {(chinese.parent / link).resolve() for link in links(chinese)}


@pytest.mark.parametrize(("english", "chinese"), BOTH)
def test_both_languages_have_the_same_sections(english: Path, chinese: Path) -> None:
    def outline(page: Path) -> list[tuple[int, str]]:
        return [(each.level, each.anchor) for each in sections(page)[1:]]

    assert outline(chinese) == outline(english)


@pytest.mark.parametrize(("english", "chinese"), BOTH)
def test_both_languages_show_the_same_commands(english: Path, chinese: Path) -> None:
    for theirs, ours in zip(sections(english), sections(chinese), strict=True):
        if f"{english.name}#{ours.anchor})" in ours.text:
            continue  # the reader is sent to the English section for its code
        assert commands(ours.text) == commands(theirs.text), ours.anchor


def commands(text: str) -> list[str]:
    return [match.group().strip() for match in COMMAND.finditer(text)]


@pytest.mark.parametrize(("english", "chinese"), BOTH)
def test_the_chinese_page_leaves_no_name_out(english: Path, chinese: Path) -> None:
    """Whatever the English section names in the code's words, a setting, a route, a metric, a log's event."""
    for theirs, ours in zip(sections(english), sections(chinese), strict=True):
        if f"{english.name}#{ours.anchor})" in ours.text:
            continue
        assert names(theirs.text) <= names(ours.text), ours.anchor


def names(text: str) -> set[str]:
    """What stands in backticks, over the ends of lines."""
    return set(CODE.findall(" ".join(text.split())))


def test_the_chinese_tables_have_the_same_settings_and_defaults() -> None:
    english, chinese = (
        {row["key"]: row["default"] for row in ROW.finditer(page.read_text(encoding="utf-8"))}
        for page in (REPOSITORY / "docs" / "operations.md", CHINESE[REPOSITORY / "docs" / "operations.md"])
    )
    assert list(chinese) == list(english)
    for key, default in english.items():
        if default.strip("`").replace(".", "").isdigit() or default.startswith("`"):
            assert chinese[key] == default, key
