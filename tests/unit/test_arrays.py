"""Arrays as PostgreSQL takes them: texts that are said many times are packed like any."""

from ledger.store.arrays import optional_words, texts, words

SAID = ["online", "offline", "online", "", "用户", "online"]


def test_words_are_texts() -> None:
    assert words(SAID) == texts(SAID)
    assert words([]) == texts([])


def test_words_that_are_missing_are_null() -> None:
    with_nulls = optional_words([None, "a", None, "a"])
    assert with_nulls[20:] == b"\xff\xff\xff\xff" + b"\x00\x00\x00\x01a" + b"\xff\xff\xff\xff" + b"\x00\x00\x00\x01a"
    assert with_nulls[:12] == b"\x00\x00\x00\x01" + b"\x00\x00\x00\x01" + b"\x00\x00\x00\x19"
