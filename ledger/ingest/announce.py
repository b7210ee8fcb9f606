"""The service's own part in the record: its start, its stop, and the configuration that the rules read from here on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ledger.domain.events import Configured, ServiceStarted, ServiceStopped
from ledger.domain.observation import Instant
from ledger.domain.policy import RULES_VERSION, Policy
from ledger.domain.profile import Profile
from ledger.ingest.append import append
from ledger.ingest.draft import Draft
from ledger.store.ledger import Ledger
from ledger.store.mapper import Recorded


class Configuration(NamedTuple):
    """What the rules read of one source's settings."""

    policy: Policy
    profile: Profile
    nodes: dict[str, Profile]


def announce_start(
    ledger: Ledger, instance: str, version: str, configurations: Mapping[str, Configuration], at: Instant
) -> None:
    """Record the start in each source's stream, and its configuration where that or the rules are not the newest."""

    def events(draft: Draft) -> Iterator[Recorded]:
        for name, wanted in configurations.items():
            source = draft.source(name)
            known = Configuration(source.policy, source.profile, source.node_profiles)
            is_news = source.version == 0 or (known, source.rules_version) != (wanted, RULES_VERSION)
            yield draft.append_to_source(name, ServiceStarted(at=at, instance=instance, software_version=version))
            if is_news:
                event = Configured(at=at, instance=instance, rules_version=RULES_VERSION, **wanted._asdict())
                yield draft.append_to_source(name, event)

    append(ledger, dict.fromkeys(configurations), (), events)


def announce_stop(ledger: Ledger, instance: str, names: Sequence[str], at: Instant) -> None:
    """Record an orderly stop in each source's stream."""

    def events(draft: Draft) -> Iterator[Recorded]:
        for name in names:
            yield draft.append_to_source(name, ServiceStopped(at=at, instance=instance))

    append(ledger, dict.fromkeys(names), (), events)
