"""Explanations of moments in the recordings, as `docs/audit.md` and its Chinese page show them."""

from pathlib import Path
from typing import NamedTuple

from bench._report import DOCS, replace_section
from ledger.explain.catalogue import catalogue
from ledger.explain.page import page
from ledger.languages import Language
from tests.support.explained import Replayed
from tests.support.recordings import WITH_POLLS

DOCUMENTS: dict[Language, Path] = {"en": DOCS / "audit.md", "zh": DOCS / "zh" / "audit.md"}
GRACE = (*WITH_POLLS.policy, "grace_seconds=2")


class Example(NamedTuple):
    """One moment of a recording: whose, at which second, and in which language it is explained."""

    title: str
    recording: str
    uid: str
    seconds: float
    language: Language = "en"
    policy: tuple[str, ...] = WITH_POLLS.policy
    all_deliveries: bool = False


INCIDENTS = {
    "incident_duplicates": [Example("", "v22/retries_then_delivered", "h0", 40.0, all_deliveries=True)],
    "incident_ghost": [
        Example("", "v22/slot_zero", "bob", 7.0),
        Example("", "v22/slot_zero", "u36", 9.5),
    ],
    "incident_crash": [
        Example("", "v22/crash_and_restart", "m1", 11.0),
        Example("", "v22/crash_and_restart", "m1", 14.0),
    ],
}

TEN = [
    Example("A new connection, heard of again later", "v12/crowd_a", "p-24", 58.0245),
    Example("离线，之后没有相反证据", "v22/same_device_replaced", "dave", 14.1492, "zh"),
    Example("A webhook that never came, found by a look", "v12/retries_then_delivered", "h-500", 4.8445),
    Example("查询确认的离线", "v12/retries_then_delivered", "h0", 38.0422, "zh", GRACE),
    Example("Within the grace period", "v12/crowd_a", "p-12", 20.0855, policy=GRACE),
    Example("A count of zero that may be older than what it ended", "v3/crowd_a", "p-39", 6.0285),
    Example("节点宕机期间", "v12/crowd_a", "p40", 33.0295, "zh"),
    Example("A node's restart, in a cluster", "v22/two_nodes", "t1", 34.0484),
    Example("Nobody had heard of them, and a look did not find them", "v12/basic", "nobody", 1.8876),
    Example("一个从不通知下线的用户", "v22/slot_zero", "bob", 2.2471, "zh"),
]


def printed(example: Example) -> str:
    """The page of an example."""
    replayed = Replayed(example.recording, example.policy, all_deliveries=example.all_deliveries)
    explanation = replayed.explain(example.uid, replayed.instant(example.seconds))
    return page(explanation, catalogue(example.language))


def sections(language: Language) -> dict[str, str]:
    """What stands between the markers of a language's document, by their names; the ten are in English's alone."""
    found = {
        name: "\n".join(_block(example._replace(language=language)) for example in examples)
        for name, examples in INCIDENTS.items()
    }
    if language != "en":
        return found
    ten = [f"### {example.title}\n\n`{example.recording}`, `{example.uid}`:\n\n{_block(example)}" for example in TEN]
    return found | {"explained": "\n".join(ten)}


def _block(example: Example) -> str:
    return f"```text\n{printed(example)}```\n"


def write() -> None:
    """Put them into the documents."""
    for language, document in DOCUMENTS.items():
        for name, text in sections(language).items():
            replace_section(document, name, text.rstrip())
