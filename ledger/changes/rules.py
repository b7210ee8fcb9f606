"""How the rules by which users are shown differ between two moments: for everybody in a source, or by its darkness."""

from collections.abc import Iterator

from ledger.changes.step import SourceChange
from ledger.domain.observation import Instant
from ledger.domain.visible import shown_by
from projections.models.shown import Rules


def changed_sources(before: Rules, after: Rules) -> set[str]:
    """The sources whose users may be shown otherwise by the later rules, for another reason than darkness."""
    if before.position == after.position:
        return set()
    return {
        name
        for name, source in after.sources.items()
        if name not in before.sources or shown_by(before.sources[name]) != shown_by(source)
    }


def darkness(before: Rules, after: Rules, at: Instant) -> Iterator[SourceChange]:
    """The sources that are dark since another instant than by the earlier rules, or, at that instant, no longer."""
    if before.position == after.position:
        return
    for name, source in after.sources.items():
        earlier = before.sources.get(name)
        was = None if earlier is None else earlier.dark_since
        if source.dark_since is not None and source.dark_since != was:
            yield SourceChange(name, "dark", source.dark_since)
        elif source.dark_since is None and was is not None:
            yield SourceChange(name, "lit", at)


def is_dark(rules: Rules, name: str) -> bool:
    """Whether nothing is known of a source."""
    return name in rules.sources and rules.sources[name].dark_since is not None


def some_dark(rules: Rules) -> bool:
    """Whether nothing is known of some source."""
    return any(source.dark_since is not None for source in rules.sources.values())
