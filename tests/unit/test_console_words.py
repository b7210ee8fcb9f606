"""The console's words: each key in both languages, with the same facts, and each that a template asks for."""

import json
import re
from pathlib import Path
from string import Formatter
from typing import Any, get_args

import pytest

from ledger import console
from ledger.console.rendering import duration, instants
from ledger.console.words import choose, words
from ledger.domain import reconciliation_events as reconciliation
from ledger.domain.blind import BlindKind
from ledger.domain.events import Status, Verdict
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.domain.statement import Level
from ledger.domain.status import Reason
from ledger.http.sink_answers import SinkState
from ledger.http.source_answers import Health, WebhookCounts
from ledger.http.story_answers import ENTRIES
from ledger.reconcile import plan
from ledger.store.mapper import CURRENT_KINDS
from ledger.working_state import canaries
from ledger.working_state.runs import RunCountsBody
from projections.models.session_bounds import Sure

FOLDER = Path(console.__file__).parent
DOCS = Path(__file__).parents[2] / "docs"
EN, ZH = words("en").sentences, words("zh").sentences


def facts(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


def asked_for() -> set[str]:
    """The keys that stand as they are in templates and modules."""
    found: set[str] = set()
    for file in (*FOLDER.rglob("*.html"), *FOLDER.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        found |= set(re.findall(r"""\b(?:t|words|spoken)\(["']([a-z_.0-9]+)["'][,)]""", text))
        found |= {f"{key}.{form}" for key in re.findall(r'counted\("([a-z_.]+)"', text) for form in ("one", "other")}
        found |= set(re.findall(r'Refused\([^")]+, "([a-z_.]+)"', text))
    return found


def test_both_languages_have_the_same_keys_in_the_same_order() -> None:
    assert list(EN) == list(ZH)


def test_both_sentences_take_the_same_facts() -> None:
    assert {key: facts(text) for key, text in EN.items()} == {key: facts(text) for key, text in ZH.items()}
    assert all(EN.values())
    assert all(ZH.values())


@pytest.mark.parametrize(("page", "sentences"), [("console.md", EN), ("zh/console.md", ZH)])
def test_the_manual_calls_what_is_on_pages_as_they_do(page: str, sentences: dict[str, str]) -> None:
    called = re.findall(r"\*\*([^*]+)\*\*", (DOCS / page).read_text(encoding="utf-8"))
    assert called
    assert set(called) - set(sentences.values()) == set()


def test_what_templates_ask_for_is_there() -> None:
    assert asked_for() - set(EN) == set()


@pytest.mark.parametrize(
    ("group", "codes"),
    [
        ("status", get_args(Status)),
        ("reason", get_args(Reason)),
        ("verdict", get_args(Verdict)),
        ("confidence", get_args(Level)),
        ("event", [kind.rpartition(".")[0] for kind in CURRENT_KINDS]),
        ("entry", ENTRIES),
        ("attribution", get_args(reconciliation.Attribution)),
        ("drift", get_args(reconciliation.DriftKind)),
        ("outcome", get_args(reconciliation.Outcome)),
        ("scope", get_args(reconciliation.RunScope)),
        ("tier", get_args(reconciliation.Tier)),
        ("blind", get_args(BlindKind)),
        ("follower", get_args(SinkState)),
        ("health", get_args(Health)),
        ("webhooks", WebhookCounts.__struct_fields__),
        ("runs", RunCountsBody.__struct_fields__),
        ("sure", get_args(Sure)),
        ("canary", get_args(canaries.Outcome)),
    ],
)
def test_each_code_that_is_shown_has_a_name(group: str, codes: Any) -> None:
    assert [code for code in codes if f"{group}.{code}" not in EN] == []


def test_the_language_is_that_of_the_address_then_of_the_cookie_then_of_the_browser() -> None:
    assert choose("zh-CN", "en", "en") == "zh"
    assert choose("ZH_hans", None, None) == "zh"
    assert choose("xx", "zh", "en") == "zh"
    assert choose(None, None, "zh-TW, en;q=0.5") == "zh"
    assert choose(None, "", None) == "en"


def test_facts_are_text_and_numbers_are_grouped() -> None:
    said = words("en")("story.by", by="<b>")
    assert said == "by &lt;b&gt;"
    assert words("en")("story.by", by="two\nlines\u202e") == "by two\nlines\\u202e"
    assert words("en").counted("bytes", 1) == "1 byte"
    assert words("zh").counted("bytes", 12_345) == "12,345 字节"
    assert words("en").named("verdict", "brand_new") == "brand new"


def test_what_the_api_says_in_english_alone_has_its_chinese() -> None:
    """`tests/unit/test_http_sources.py` holds it against what the API says."""
    sentences = json.loads((FOLDER / "words" / "said.zh.json").read_text(encoding="utf-8"))
    for english, chinese in sentences.items():
        assert facts(chinese) | {"reason", "what"} == facts(english) | {"reason", "what"}
        assert re.search("[\u4e00-\u9fff]", chinese)
        filled = english.format_map(dict.fromkeys(facts(english), "7"))
        assert words("zh").said(filled) != filled == words("en").said(filled)
    assert words("zh").said("something new") == "something new"


def test_each_way_of_looking_has_its_chinese() -> None:
    one, two = (
        SourceState("main", 1, node_profiles=dict.fromkeys(nodes, Profile.V2_2)) for nodes in (["n1"], ["n1", "n2"])
    )
    v3 = SourceState("main", 1, profile=Profile.V3, node_profiles={"n1": Profile.V3})
    for source in (one, two, v3):
        for route in (*plan.LookRoute, plan.Wait(1)):
            for named, scans in ((True, True), (True, False), (False, True)):
                told = plan.in_words(source, route, names=named, can_scan=scans)
                assert words("zh").said(told) != told


def test_instants_within_a_sentence_are_like_any_other() -> None:
    told = instants("2026-11-30T14:32:19.574Z <b> since 14:30:17Z, 24:5", "2026-11-30T15:00:00.000000Z")
    assert told.count("<time ") == 2
    assert 'datetime="2026-11-30T14:30:17Z"' in told
    assert "&lt;b&gt; since <time" in told
    assert told.endswith("</time>, 24:5")


def test_lengths_of_time_are_told_in_the_language() -> None:
    for seconds, english, chinese in (
        (None, "–", "–"), (3.25, "3.25 s", "3.25 秒"), (250, "4 min 10 s", "4 分钟 10 秒"), (7200, "2 h", "2 小时"),
        (7 * 86_400, "7 d", "7 天"),
    ):  # fmt: skip
        assert (duration(seconds), duration(seconds, "zh")) == (english, chinese)
