"""How wrong is what we show while everything goes wrong, against the rules of a usual business server?"""

from random import Random

from bench._chaos import Chaos, Figures, Outcome, ratio, run
from bench._postgres import server
from bench._report import Bar, Options, Report, main, number, progress
from bench._simulated import Reconciling, amounts, profile_for

USER_CHANGES_EVERY_SECONDS = 200
RESTART_EVERY_SECONDS = 100

LATE_SHARE, WRONG_SHARE = 0.1, 0.25
"""Of the reference's user-seconds: `late` of its `late`; `wrong` and `unknown` together of its `wrong`."""


def measure(options: Options) -> Report:
    """A run for each seed and profile: `--set users= seconds= seeds= profile=v2.2,v3 nodes= kills= scale= …`."""
    given, options = amounts(
        options,
        users="300" if options.short else "10000",
        seconds="8" if options.short else "600",
        seeds="1" if options.short else "3",
        profile="v2.2",
        nodes="2",
        kills="1" if options.short else "3",
        restarts="",
        rate="",
        start_online="0.5",
        scale="100" if options.short else "20",
        hold_seconds="5" if options.short else "20",
    )
    seconds, users = float(given["seconds"]), int(given["users"])
    draw = Random(options.seed)
    seeds = [draw.randrange(2**31) for _ in range(int(given["seeds"]))]
    runs = [
        Chaos(
            profile=profile_for(profile),
            nodes=int(given["nodes"]),
            users=users,
            seconds=seconds,
            rate=float(given["rate"] or users / USER_CHANGES_EVERY_SECONDS),
            start_online=float(given["start_online"]),
            restarts=int(given["restarts"] or max(1, round(seconds / RESTART_EVERY_SECONDS))),
            kills=int(given["kills"]),
            scale=float(given["scale"]),
            hold_seconds=float(given["hold_seconds"]),
            seed=seed,
            patience=float(options.pick(1, 5)),
        )
        for profile in given["profile"].split(",")
        for seed in seeds
    ]
    outcomes = []
    with server(options) as postgres:
        for place, chaos in enumerate(runs):
            progress(f"run {place + 1} of {len(runs)}: {chaos}")
            with postgres.database() as url:
                folder = postgres.folder / f"service-{place}"
                service = Reconciling(folder, url, chaos.profile, chaos.nodes, chaos.policy)
                outcomes.append(run(chaos, service, url))
        return _report(options, outcomes, postgres.describe())


def _report(options: Options, outcomes: list[Outcome], described: str) -> Report:
    chaos = outcomes[0].chaos
    tiers = ", ".join(f"{name} {seconds:g} s" for name, seconds in chaos.tiers.items())
    report = Report(
        f"User-seconds of {chaos.users:,} users, {chaos.nodes} nodes, {chaos.rate:g} changes a second, "
        f"{chaos.seconds:g} s. Of the webhooks 30 % dropped, as many duplicated, reordered and delayed; "
        f"{chaos.restarts} restarts of a node; query errors, slow answers, odd ones and lies of leader changes and "
        f"boots in spells; {chaos.kills} times kill -9 of the service. The periods of both are {chaos.scale:g} times "
        f"shorter than usual: our tiers {tiers} (the breaker holds for {chaos.hold_seconds:g} s, longer than a lie "
        f"lasts); the reference server's check every {300 / chaos.scale:g} s of 1,000 rows online for over "
        f"{60 / chaos.scale:g} s. Seed {options.seed}",
        described,
        ("profile", "seed", "rules", "user-seconds", "wrong", "late", "unknown", "wrong at the end"),
    )
    for outcome in outcomes:
        report.rows.append(_row(outcome, "ours", outcome.ours))
        report.rows.append(_row(outcome, "reference", outcome.reference))
    report.bars += _bars(outcomes)
    report.notes += [_note(outcome) for outcome in outcomes]
    return report


def _row(outcome: Outcome, rules: str, figures: Figures) -> tuple[str, ...]:
    chaos = outcome.chaos
    numbers = (figures.user_seconds, figures.wrong, figures.late, figures.unknown)
    return (
        chaos.profile,
        str(chaos.seed),
        rules,
        *(f"{value:,.0f}" for value in numbers),
        f"{figures.wrong_at_end:,} users",
    )


def _bars(outcomes: list[Outcome]) -> list[Bar]:
    """Of the worst run each. A few seconds are too few for shares: the short form asks whether all comes right."""
    late = [ratio(o.ours.late, o.reference.late) for o in outcomes]
    wrong = [ratio(o.ours.wrong + o.ours.unknown, o.reference.wrong) for o in outcomes]
    right = [o.right_after for o in outcomes]
    what = "wrong and unknown, as a share of the reference's wrong"
    return [
        Bar("late, as a share of the reference's", max(late), LATE_SHARE, at_least=False, speed=True),
        Bar(what, max(wrong), WRONG_SHARE, at_least=False, speed=True),
        Bar(
            "after the calm, until everybody is right",
            max(right),
            outcomes[0].chaos.longest_tier_seconds,
            at_least=False,
            unit="s",
            speed=True,
        ),
        Bar("users wrong then", max(len(o.wrong_left) for o in outcomes), 0, at_least=False),
        Bar("answers that the ledger's events do not give", sum(o.misfolded for o in outcomes), 0, at_least=False),
        Bar(
            "rows of a projection that a fresh fold of the ledger does not give",
            sum(held.different for o in outcomes for held in o.rebuilt),
            0,
            at_least=False,
        ),
        Bar("webhooks taken", min(o.webhooks for o in outcomes), 1, at_least=True),
    ]


def _note(outcome: Outcome) -> str:
    ours, theirs = outcome.ours, outcome.reference
    both = ours.wrong + ours.unknown
    minutes = outcome.chaos.users * outcome.chaos.seconds / 60
    return (
        f"{outcome.chaos.profile}, seed {outcome.chaos.seed}: late {ratio(ours.late, theirs.late):.3f} of the "
        f"reference's; wrong and unknown {ratio(both, theirs.wrong):.3f} of its wrong, "
        f"{ratio(both, theirs.wrong + theirs.unknown):.3f} of its wrong and unknown, {ratio(both, theirs.late):.3f} of "
        f"its late; {outcome.looked / minutes:.1f} looks per user and minute, {outcome.corrected:,} corrections, the "
        f"breaker opened {outcome.kinds.get('breaker_opened.v1', 0)} times; the reference asked about "
        f"{outcome.reference_asked:,} rows; everybody right {number(outcome.right_after)} s after the calm; no service "
        f"for {outcome.dead_seconds:.1f} s; rows of projections rebuilt: "
        + ", ".join(f"{held.projection} {held.rows:,}" for held in outcome.rebuilt)
    )


if __name__ == "__main__":
    main("chaos", "performance.md", measure)
