"""The catalogues: the same codes and placeholders in each language, a sentence for each code, nothing left unfilled."""

import re
import string
from collections.abc import Iterator, Mapping

import pytest

from ledger.domain.codes import ABOUT, ORDER
from ledger.domain.observation import SECOND
from ledger.domain.presence import Cause
from ledger.domain.statement import Explanation, say
from ledger.domain.status import Shown
from ledger.explain.catalogue import COUNTED, Template, catalogue
from ledger.explain.page import cited, page
from ledger.languages import LANGUAGES, Language
from tests.support.explained import replayed

AT = 1_795_422_604 * SECOND
MADE = ("v22/crash_and_restart", "v22/slot_zero", "v12/retries_then_delivered", "v3/two_nodes", "v12/basic")
ENGLISH, CHINESE = catalogue("en"), catalogue("zh")
CJK = re.compile("[\u4e00-\u9fff]")


def texts(template: Template) -> Iterator[str]:
    yield from (template,) if isinstance(template, str) else template.values()


def placeholders(template: Template) -> set[str]:
    return {name for text in texts(template) for _, name, _, _ in string.Formatter().parse(text) if name}


def explanation(*statements: tuple[str, Mapping[str, str | float]], uid: str = "alice") -> Explanation:
    made = tuple(say(code, 7, **params) for code, params in statements)
    shown = Shown("offline", AT, Cause("webhook", AT, 7))
    return Explanation(uid=uid, at=AT, position=9, shown=shown, confidence="likely", statements=made)


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_is_a_sentence_for_each_code_and_a_title_for_each_subject(language: Language) -> None:
    assert catalogue(language).templates.keys() == ABOUT.keys()
    assert catalogue(language).about.keys() == ORDER.keys()


@pytest.mark.parametrize("code", ABOUT)
def test_each_language_says_the_same(code: str) -> None:
    english, chinese = ENGLISH.templates[code], CHINESE.templates[code]
    named = placeholders(english) | {"uid", "at"}
    assert placeholders(chinese) | {"uid", "at"} == named
    assert isinstance(english, str) == isinstance(chinese, str)
    for template in (english, chinese):
        assert isinstance(template, str) or (template.keys() == {"one", "other"} and named & set(COUNTED))
        assert all(text.strip() == text and text for text in texts(template))
    assert all(text.endswith(".") for text in texts(english))
    assert all(CJK.search(text) and text.endswith("。") for text in texts(chinese))


def test_each_language_has_the_same_words() -> None:
    assert {name: words.keys() for name, words in ENGLISH.words.items()} == {
        name: words.keys() for name, words in CHINESE.words.items()
    }


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", MADE)
def test_whatever_is_made_of_a_recording_is_told_in_full(name: str, language: Language) -> None:
    found = replayed(name)
    for moment in found.transitions():
        told = found.explain(moment.uid, moment.at)
        for statement in told.statements:
            sentence = catalogue(language).sentence(told, statement)
            assert not re.search(r"[{}]|None|_at\b", sentence), sentence
            named = placeholders(catalogue(language).templates[statement.code])
            assert named <= statement.params.keys() | {"uid", "at"}, statement


@pytest.mark.parametrize(
    ("rows", "english", "chinese"),
    [
        ("n2/2:0", "app connection 2 at n2", "节点 n2 上的 App 连接 2"),
        (
            "n1/7 n2/2:4",
            "connection 7 at n1; device flag 4 connection 2 at n2",
            "节点 n1 上的连接 7；节点 n2 上的 设备标识 4 连接 2",
        ),
        ("0:1 1:2", "app, one connection; web, 2 connections", "App 有 1 个连接；Web 有 2 个连接"),
        ("\x9b2", "\\x9b2", "\\x9b2"),
    ],
)
def test_what_a_poll_found_is_told_in_words(rows: str, english: str, chinese: str) -> None:
    told = explanation(("poll_found", {"rows": rows}))
    assert ENGLISH.sentence(told, told.statements[0]) == f"Its answer says of alice: {english}."
    assert CHINESE.sentence(told, told.statements[0]) == f"应答中 alice 的结果：{chinese}。"


def test_a_page_is_the_answer_how_sure_it_is_and_a_section_for_each_other_subject() -> None:
    told = explanation(
        ("shown_closed", {"since": AT - 120_000, "node": "n1", "device_flag": 4, "status": "offline"}),
        ("likely_unopposed", {}),
        ("body_came_again", {"number": 2, "first_at": AT, "last_at": AT + 86_400 * SECOND}),
    )
    answer, sure, *rest = page(told, ENGLISH).splitlines()
    assert answer.startswith(
        "alice was shown offline at 2026-11-23T08:30:04Z, since 08:30:03.880Z, because a webhook of"
    )
    assert answer.endswith("that the last connection (device flag 4) had closed. [7]")
    assert sure.startswith("Likely: the server said so")
    assert rest == [
        "",
        "The evidence",
        "  The same body came 2 more times, from 08:30:04Z to 2026-11-24T08:30:04Z. [7]",
    ]
    assert page(told, CHINESE).startswith("2026-11-23T08:30:04Z 时 alice 显示为离线（自 08:30:03.880Z 起）")


def test_one_and_many_are_told_apart() -> None:
    told = explanation(("looks", {"number": 1}), ("looks", {"number": 3}), ("likely_look", {"looks": 1}))
    once, thrice, likely = (ENGLISH.sentence(told, statement) for statement in told.statements)
    assert (once, thrice) == ("One look said so.", "3 looks in a row said so.")
    assert likely.startswith("Likely: a look said so")


@pytest.mark.parametrize(
    ("positions", "text"),
    [
        ((), ""),
        ((4711,), "[4711]"),
        ((1, 2, 3, 4, 5, 6), "[1, 2, 3, 4, 5, 6]"),
        (tuple(range(10, 97)), "[10 … 96, 87]"),
    ],
)
def test_positions_are_cited_briefly(positions: tuple[int, ...], text: str) -> None:
    assert cited(positions) == text


def test_what_could_steer_a_terminal_is_written_out() -> None:
    told = explanation(
        ("shown_never_observed", {}), ("late_offline", {"raw": "a\x1b[31m-0", "received_at": AT}), uid="a\x1b[2J"
    )
    text = page(told, ENGLISH)
    assert "\x1b" not in text
    assert r"a\x1b[2J" in text
    assert r"a\x1b[31m-0" in text


def test_numbers_are_written_as_people_write_them() -> None:
    told = explanation(
        ("rule_source_dark", {"dark_seconds": 900.0}), ("rule_grace_over", {"grace_seconds": 2.5, "reported_at": AT})
    )
    dark, grace = (ENGLISH.sentence(told, statement) for statement in told.statements)
    assert "longer than 900 s" in dark
    assert "grace period of 2.5 s" in grace
