"""What do looks in turn cost an IM server, by users and tiers? From the rules themselves, without a server."""

from bench._report import Bar, Options, Report, main
from ledger.domain.drift import SILENCED_SLOT, SLOTS, is_silenced
from ledger.domain.look import next_due
from ledger.domain.observation import SECOND
from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Tier
from ledger.reconcile.row_poller import IN_TURN_SECONDS
from ledger.sources.wukongim.client import CHUNK_USERS

SIZES = ((1_000, 10_000), (10_000, 100_000), (100_000, 1_000_000), (300_000, 3_000_000), (1_000_000, 10_000_000))
"""(online, known besides)"""


def measure(_: Options) -> Report:
    """Users a second that fall due, and the calls that ask about them, with the default policy."""
    report = Report(
        "Looks in turn with the default policy, a second: users asked about and calls, all nodes together; besides "
        "these one probe a second for each node, and looks out of turn",
        "no database",
        ("profile", "online", "known, offline", "users a second", "calls a second", "of one node's budget"),
    )
    largest = 0.0
    for profile in (Profile.V2_2, Profile.V3):
        for online, offline in SIZES:
            silenced = online / SLOTS if is_silenced("bob", profile) else 0.0
            users = (online - silenced) * _rate("normal") + silenced * _rate("vip") + offline * _rate("cold")
            # What falls due is gathered for a moment.
            calls = max(users / CHUNK_USERS, min(users, 1 / IN_TURN_SECONDS))
            share = max(users / DEFAULT_POLICY.budget_users, calls / DEFAULT_POLICY.budget_calls)
            report.rows.append(
                (profile, f"{online:,}", f"{offline:,}", f"{users:,.0f}", f"{calls:.1f}", f"{share:.0%}")
            )
            largest = max(largest, share if online == SIZES[-2][0] else 0.0)
    report.bars.append(Bar(f"share of one node's budget with {SIZES[-2][0]:,} online", largest, 1.0, at_least=False))
    report.notes.append(
        f"v2.1 and v2.2 silence users of slot {SILENCED_SLOT} of {SLOTS}, who are of the tier vip while online."
    )
    report.notes.append("Where more than 5,000 users are due at once and all nodes have `/connz`, one call of it each.")
    return report


def _rate(tier: Tier) -> float:
    """Looks a second at one user of the tier."""
    return SECOND / next_due(tier, DEFAULT_POLICY, 0)


if __name__ == "__main__":
    main("cost", "performance.md", measure)
