"""Instants as people type them and read them: in their zone, whatever the clocks there did."""

from datetime import UTC, datetime

import pytest

from ledger.cli import reader, times

NOW = datetime(2026, 11, 30, 10, 36, tzinfo=UTC)
"""11:36 in Berlin, 18:36 in Shanghai."""


def typed(text: str, zone: str = "Europe/Berlin", *, is_past: bool = False) -> str:
    reader.show_in(reader.zone_of(zone))
    return times.parse(text, NOW, is_past=is_past).strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip(".")


@pytest.mark.parametrize(
    ("text", "in_utc"),
    [
        ("14:03", "2026-11-30 13:03:00"),
        ("9:05:10", "2026-11-30 08:05:10"),
        ("yesterday 14:03", "2026-11-29 13:03:00"),
        ("Yesterday  14:03", "2026-11-29 13:03:00"),
        ("today 08:00", "2026-11-30 07:00:00"),
        ("yesterday", "2026-11-28 23:00:00"),
        ("昨天14:03", "2026-11-29 13:03:00"),
        ("前天 14:03", "2026-11-28 13:03:00"),
        ("2026-11-29 14:03", "2026-11-29 13:03:00"),
        ("2026-11-29T14:03", "2026-11-29 13:03:00"),
        ("2026-07-29 14:03:05.123456", "2026-07-29 12:03:05.123456"),
        ("2026-11-29", "2026-11-28 23:00:00"),
        ("now", "2026-11-30 10:36:00"),
        ("-2h", "2026-11-30 08:36:00"),
        ("-90s", "2026-11-30 10:34:30"),
        ("-1d12h", "2026-11-28 22:36:00"),
        ("-1.5h", "2026-11-30 09:06:00"),
        ("2026-11-29T14:03:00Z", "2026-11-29 14:03:00"),
        ("2026-11-29t14:03:00.5+08:00", "2026-11-29 06:03:00.5"),
        ("2026-11-29 14:03:00+08:00", "2026-11-29 06:03:00"),
        ("2026-11-29 14:03Z", "2026-11-29 14:03:00"),
        (" 2026-11-29T14:03:00-03:30 ", "2026-11-29 17:33:00"),
    ],
)
def test_an_instant_as_it_is_typed(text: str, in_utc: str) -> None:
    assert typed(text) == in_utc


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "tomorrow 14:03", "25:00", "14:3", "14", "2026-13-01", "2026-11-31 14:03", "20261129", "1800000000",
        "2h", "-2", "-2y", "-h", "-1.2.3h", "-99999999999d", "0001-01-01", "2026-11-2914:03", "14:03+08:00", "14:03 Z",
    ],
)  # fmt: skip
def test_what_is_no_instant(text: str) -> None:
    with pytest.raises(ValueError, match="not a timestamp"):
        typed(text, "+08:00")


def test_the_day_is_the_readers() -> None:
    assert typed("14:03", "Asia/Shanghai") == "2026-11-30 06:03:00"
    assert typed("yesterday 23:00", "-11:00") == "2026-11-29 10:00:00"


def test_a_time_that_is_still_to_come_is_yesterdays_more_likely() -> None:
    assert typed("23:00") == "2026-11-30 22:00:00"
    with pytest.raises(ValueError, match="did you mean 'yesterday 23:00'"):
        typed("23:00", is_past=True)
    assert typed("today 23:00", is_past=True) == "2026-11-30 22:00:00"


def test_a_time_that_the_clocks_showed_twice_or_never_is_asked_for() -> None:
    with pytest.raises(ValueError, match=r"twice.* 2026-10-25T02:30:00\+02:00 or 2026-10-25T02:30:00\+01:00"):
        typed("2026-10-25 02:30")
    with pytest.raises(ValueError, match="never was"):
        typed("2026-03-29 02:30")
    assert typed("2026-10-25T02:30:00+02:00") == "2026-10-25 00:30:00"


@pytest.mark.parametrize(
    ("zone", "shown", "header"),
    [
        ("UTC", "2026-11-23 23:03:01.123", "since (UTC)"),
        ("Asia/Shanghai", "2026-11-24 07:03:01.123", "since (UTC+08:00)"),
        ("-03:30", "2026-11-23 19:33:01.123", "since (UTC-03:30)"),
    ],
)
def test_an_instant_is_shown_in_the_zone_that_its_column_names(zone: str, shown: str, header: str) -> None:
    reader.show_in(reader.zone_of(zone))
    assert times.shown("2026-11-23T23:03:01.123456Z") == shown
    assert times.header("since") == header
    assert times.parse(shown, NOW) == datetime(2026, 11, 23, 23, 3, 1, 123_000, tzinfo=UTC)


def test_the_day_of_the_one_before_is_left_out() -> None:
    reader.show_in(reader.zone_of("+08:00"))
    assert times.shown("2026-11-23T15:59:00.000000Z", "2026-11-22T16:00:00.000000Z") == "23:59:00.000"
    assert times.shown("2026-11-23T16:00:00.000000Z", "2026-11-23T15:59:00.000000Z") == "2026-11-24 00:00:00.000"


def test_an_offset_that_is_not_the_present_one_is_told() -> None:
    reader.show_in(reader.zone_of("Europe/Berlin"))
    summer, winter = (times.shown(f"2026-{month}-01T12:00:00.000000Z", places=0) for month in ("07", "01"))
    assert [summer, winter] in (
        ["2026-07-01 14:00:00+02:00", "2026-01-01 13:00:00"],
        ["2026-07-01 14:00:00", "2026-01-01 13:00:00+01:00"],
    )


def test_in_a_sentence_the_offset_is_told_always() -> None:
    assert times.in_full("2026-07-01T12:00:00.000000Z") == "2026-07-01 12:00:00Z"
    reader.show_in(reader.zone_of("Asia/Shanghai"))
    assert times.in_full("2026-07-01T12:00:00.000000Z") == "2026-07-01 20:00:00+08:00"


@pytest.mark.parametrize("name", ["utc", "Z", "+8", "UTC+08:00", "-0330", "local", "Asia/Shanghai"])
def test_a_zone_has_a_name_or_an_offset(name: str) -> None:
    assert reader.zone_of(name).utcoffset(NOW) is not None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Asia/Shangai", "did you mean Asia/Shanghai?"),
        ("shanghai", "did you mean Asia/Shanghai?"),
        ("../../etc/passwd", "is not a time zone"),
        ("", "is not a time zone"),
        ("+25:00", "is not an offset"),
        ("+08:75", "is not an offset"),
    ],
)
def test_what_is_no_zone(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        reader.zone_of(name)


@pytest.mark.parametrize("tz", ["", "no-such-zone", ":/etc/localtime"])
def test_the_machines_zone_is_the_c_librarys_where_tz_names_none(tz: str) -> None:
    reader.meet((), {"TZ": tz})
    local = datetime(2026, 11, 23, 12, 0).astimezone()
    assert times.shown(local, places=0).startswith("2026-11-23 12:00:00")
    assert times.parse("2026-11-23 12:00", NOW) == local
    assert reader.zone_of("local").utcoffset(NOW) is not None


@pytest.mark.parametrize(
    ("arguments", "environ", "language"),
    [
        ((), {}, "en"),
        ((), {"LANG": "zh_CN.UTF-8"}, "zh"),
        ((), {"LANG": "en_US.UTF-8"}, "en"),
        ((), {"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ((), {"LANG": "C", "LC_ALL": "zh_TW"}, "zh"),
        ((), {"LANG": "zh_CN", "LC_MESSAGES": "de_DE"}, "en"),
        ((), {"LC_ALL": "", "LANG": "zh_CN"}, "zh"),
        ((), {"LANG": "zhx"}, "en"),
        (("--lang", "zh-CN", "status"), {"LANG": "en_US"}, "zh"),
        (("status", "--lang=zh_Hans_CN.UTF-8"), {}, "zh"),
        (("--lang", "zh", "status", "--lang", "EN-us"), {}, "en"),
        (("status", "--lang"), {"LANG": "zh_CN"}, "zh"),
        (("status", "--lang", "fr"), {"LANG": "zh_CN"}, "zh"),
    ],
)
def test_the_language_is_the_one_named_or_the_terminals(
    arguments: tuple[str, ...], environ: dict[str, str], language: str
) -> None:
    reader.meet(arguments, environ)
    assert reader.reader().language == language
