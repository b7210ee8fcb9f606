"""Which language and which form a caller gets."""

import pytest

from ledger.explain.negotiation import negotiate_language, wants_text
from ledger.languages import Language


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("*", "en"),
        ("zh", "zh"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("ZH-Hant-TW", "zh"),
        ("en;q=0.5, zh;q=0.9", "zh"),
        ("en, zh", "en"),
        ("zh, en", "zh"),
        ("fr, de;q=0.9", "en"),
        ("fr, zh;q=0.1", "zh"),
        ("zh;q=0, en;q=0.1", "en"),
        ("zh;q=0", "en"),
        ("zh;q=many", "en"),
        ("zh;q=nan", "en"),
        ("zh;q=2", "en"),
        ("zhx", "en"),
        (" , ;q=1 , zh", "zh"),
    ],
)
def test_the_best_of_the_languages_wanted(header: str | None, language: Language) -> None:
    assert negotiate_language(header) == language


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("text/plain", True),
        ("Text/Plain; charset=utf-8", True),
        ("text/*", True),
        ("text/html, */*;q=0.1", False),
        ("text/plain;q=0.5, application/json", False),
        ("application/json;q=0.5, text/plain", True),
        ("text/plain, */*", False),
        ("text/plain, */*;q=0.8", True),
        ("text/plain;q=0", False),
    ],
)
def test_text_is_for_those_who_prefer_it(header: str | None, text: bool) -> None:
    assert wants_text(header) is text
