"""The commands `loss` and `blind`: which share of transitions webhooks lost, and when nobody could know."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import typer

from ledger.cli.arguments import parse_span, span_query
from ledger.cli.client import Json, client
from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, duration, print_json, print_line, print_prose
from ledger.cli.queries import Url
from ledger.cli.times import header, shown
from ledger.cli.words import joined, number_of, told
from ledger.text import visible

HOURS_SHOWN = 24

LOST_BY = {
    "gap": "found by a look",
    "sender": "found by a look, nothing had come",
    "late_offline": "told by a later offline",
    "count": "told by a later count",
    "returned": "told by a later online",
}
APART = {
    "restart": "WuKongIM restarted",
    "retired": "a node was retired",
    "node": "a node was down",
    "upstream_defect": "never told by this version",
    "blind": "nobody could know",
}
KINDS = {
    "service_stopped": "service stopped",
    "source_dark": "source dark",
    "node_down": "node down",
    "store_unavailable": "store away",
    "spooling": "spooled",
}

Since = Annotated[
    str | None, typer.Option("--from", metavar="INSTANT", help="From then on; by default a day before the end.")
]
Until = Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="Until then; by default until now.")]
Source = Annotated[str | None, typer.Option(metavar="NAME", help="This source alone.")]


def loss(
    context: typer.Context,
    since: Since = None,
    until: Until = None,
    source: Source = None,
    *,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show which share of transitions webhooks lost, how sure that is, and what is left of the budget.

    Example: presence-ledger loss --from yesterday
    """
    query = _query(since, until, source)
    with client(settings_from(context), url) as service:
        found = service.loss(query)
    if as_json:
        print_json(found)
        return
    for number, each in enumerate(found["items"]):
        if number:
            print_line()
        _print_loss(each)


def blind(
    context: typer.Context,
    since: Since = None,
    until: Until = None,
    source: Source = None,
    *,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show the times in which nobody could know who came and went: why, since when, until when.

    Example: presence-ledger blind --from yesterday
    """
    query = _query(since, until, source)
    with client(settings_from(context), url) as service:
        found = service.blind(query)
    if as_json:
        print_json(found)
    elif not found["items"]:
        print_prose(told("none: everything could be known all the time"))
    else:
        print_table((header("since"), header("until"), "lasted", "what", "where"), map(_blind_row, found["items"]))
        print_line()
        for total in found["totals"]:
            print_prose(_total(total))


def _query(since: str | None, until: str | None, source: str | None) -> dict[str, str]:
    query = span_query(*parse_span(since, until))
    return query if source is None else {**query, "source": source}


def _print_loss(of_source: Json) -> None:
    name = visible(of_source["source"])
    if not of_source["transitions"]:
        print_prose(told("{name}: no transition", name=name))
        return
    print_prose(
        told(
            "{name}: {share} lost, {lost} of {transitions}",
            name=name,
            share=percent(of_source["share"]),
            lost=f"{of_source['lost']:,}",
            transitions=number_of(of_source["transitions"], "transition"),
        )
    )
    sure = percent(of_source["interval"]["confidence"])
    print_prose("  " + told("{interval} with {sure} confidence", interval=_interval(of_source), sure=sure))
    for line in (_budget(of_source["budget"]), *_burn_rates(of_source["burn_rates"]), *_floor(of_source)):
        print_prose(f"  {line}")
    why = [*_named(of_source["lost_by"], LOST_BY, "lost"), *_named(of_source["apart"], APART, "apart")]
    _print_part(("", "transitions", "why"), why)
    _print_part(("node", "transitions", "lost", "share", "between"), map(_node_row, of_source["nodes"]))
    hours = [each for each in of_source["hours"] if each["lost"]]
    _print_part((header("hour"), "node", "transitions", "lost", "share"), map(_hour_row, hours[-HOURS_SHOWN:]))
    if len(hours) > HOURS_SHOWN:
        earlier = number_of(len(hours) - HOURS_SHOWN, "earlier hour")
        print_prose(told("and {hours} in which some were lost", hours=earlier))


def _print_part(columns: Sequence[str], rows: Iterator[Sequence[object]] | Sequence[Sequence[object]]) -> None:
    found = list(rows)
    if found:
        print_line()
        print_table(columns, found)


def _named(numbers: Mapping[str, int], words: Mapping[str, str], what: str) -> Iterator[Sequence[object]]:
    return ((told(what), number, told(words.get(name, name))) for name, number in numbers.items() if number)


def _node_row(node: Json) -> Sequence[object]:
    return node["node"], node["transitions"], node["lost"], percent(node["share"]), _interval(node)


def _hour_row(hour: Json) -> Sequence[object]:
    return _second(hour["hour"]), hour["node"], hour["transitions"], hour["lost"], percent(hour["share"])


def _interval(counts: Json) -> str:
    lower, upper = (percent(counts["interval"][end]) for end in ("lower", "upper"))
    return told("{lower} to {upper}", lower=lower, upper=upper)


def _budget(budget: Json) -> str:
    share, left = percent(1 - budget["objective"]), budget["left"]
    if left is None:
        return told("budget: {share} may be lost", share=share)
    if left >= 0:
        rest = told("{left} is left", left=percent(left))
    else:
        rest = told("{times} times it are lost", times=f"{1 - left:.1f}")
    days = budget["days"]
    return told(
        "budget: {share} may be lost; of that of the last {days} days {rest}", share=share, days=days, rest=rest
    )


def _burn_rates(rates: Sequence[Json]) -> Iterator[str]:
    for rate in rates:
        if rate["long"]:
            windows = [
                told("{rate} over {time}", rate=f"{rate[name] or 0:.1f}", time=duration(rate[f"{name}_seconds"]))
                for name in ("long", "short")
            ]
            most = f"{rate['threshold']:g}"
            alarm = told(": too fast (above {threshold})", threshold=most) if rate["burning"] else ""
            yield told("burn rate {windows}{alarm}", windows=joined(windows, ", "), alarm=alarm)


def _floor(of_source: Json) -> Iterator[str]:
    floor = of_source["detection_floor"]
    if not floor["looked_at"]:
        yield told("no node has an api_url: only what later webhooks bring to light is seen")
        return
    yield told(
        "of stays shorter than {stay} (vip {vip}) both webhooks may be lost unseen",
        stay=duration(floor["normal_seconds"]),
        vip=duration(floor["vip_seconds"]),
    )


def _blind_row(time: Json) -> Sequence[object]:
    place = "/".join(each for each in (time["source"], time["node"]) if each)
    until = told("goes on") if time["until"] is None else _second(time["until"])
    return _second(time["since"]), until, duration(time["seconds"]), _kind(time["kind"]), place


def _kind(kind: str) -> str:
    return told(KINDS.get(kind, kind))


def _second(instant: str) -> str:
    return shown(instant, places=0)


def _total(total: Json) -> str:
    name = visible(total["source"] or told("all sources"))
    kinds = [f"{_kind(kind)} {duration(seconds)}" for kind, seconds in total["by_kind"].items() if seconds]
    return told(
        "{name}: {time} in all ({kinds})", name=name, time=duration(total["seconds"]), kinds=joined(kinds, ", ")
    )


def percent(share: float | None) -> str:
    """Writes a share for people, with two digits that mean something: `0.0012 %`, `0.12 %`, `12 %`."""
    if share is None:
        return "-"
    value = 100 * share
    return f"{value:.2g} %" if 0 < abs(value) < 10 else f"{value:.0f} %"
