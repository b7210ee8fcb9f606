"""The command line's Chinese: a sentence for each of English, with the same facts; errors, wherever made."""

import ast
import importlib
import json
import re
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import Result

from ledger.cli import loss, reader, story_lines, words
from ledger.errors import LedgerError, SettingsError
from ledger.settings.load import load
from ledger.sources.wukongim.recording import RecordingError
from tests.support.command import REPOSITORY, call
from tests.support.scripted import ScriptedService
from tests.unit.test_cli_queries import PRESENCE, UNKNOWN, event
from tests.unit.test_settings_errors import NODE, SOURCE

CLI = Path(words.__file__).parent
CJK = re.compile("[\u4e00-\u9fff]")
KEPT_IN_TABLES: list[dict[str, str]] = [
    table
    for table in (*vars(story_lines).values(), *vars(loss).values())
    if isinstance(table, dict) and table and all(isinstance(text, str) for text in (*table, *table.values()))
]
LATIN = re.compile(r"\b[a-z]{3,}( [a-z]{2,})+\b")
"""Two English words in a row."""


def templates() -> set[str]:
    """What `told` is given anywhere in the command line."""
    found = {template for table in KEPT_IN_TABLES for template in table.values()}
    for file in CLI.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "told" and node.args:
                found |= set(_literals(node.args[0]))
    return found


def _literals(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.IfExp):
        yield from _literals(node.body)
        yield from _literals(node.orelse)


def placeholders(template: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(template) if name)


def test_each_sentence_has_its_chinese_and_none_is_left_over() -> None:
    lines = words.catalogue()["lines"]
    assert templates() <= lines.keys()
    sentences = {template for template in lines if "{" in template or len(template.split()) > 3}
    assert sentences <= templates()


@pytest.mark.parametrize("kind", ["lines", "errors"])
def test_each_says_the_same_facts(kind: str) -> None:
    for english, chinese in words.catalogue()[kind].items():
        left_out = {"reason", "things"} if kind == "errors" else set()
        assert set(placeholders(english)) - left_out <= set(placeholders(chinese)) | left_out, english
        assert set(placeholders(chinese)) <= set(placeholders(english)), english
        assert CJK.search(chinese) or chinese in {english, "Sink"}, english


def written() -> str:
    """Every text of the source, its placeholders without their names, one a line."""
    found = []
    for file in [*(REPOSITORY / "ledger").rglob("*.py"), *(REPOSITORY / "projections").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values)
                )
    return "\n".join(found)


def test_the_errors_are_those_that_the_source_makes() -> None:
    source = written()
    for english in words.catalogue()["errors"]:
        plain = re.sub(r"\{\w+\}", "{}", english)
        # The beginning of the longest part: what is composed of several is in the source in parts.
        part = max(re.split(r"\{\}", plain), key=len).strip(" ,.:'").removeprefix("is ")
        beginning = " ".join(part.removesuffix(", not").split()[:5]).removesuffix(" a folder").removesuffix(",")
        assert english.startswith(TYPERS) or re.split("[;:]", beginning)[0] in source, english


def errors_told() -> Iterator[str]:
    """Each line of an error that the source makes and a command may end with; what is put into it is `7`."""
    for file in [*(REPOSITORY / "ledger").rglob("*.py"), *(REPOSITORY / "projections").rglob("*.py")]:
        name = file.relative_to(REPOSITORY).with_suffix("").as_posix()
        if name.startswith(OF_THE_SERVICE) or file.stem == "__main__":
            continue
        made = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        module = importlib.import_module(name.replace("/", ".").removesuffix(".__init__")) if made else None
        for node in made:
            kind = getattr(module, ast.unparse(node.func), None)
            kind = typer.BadParameter if ast.unparse(node.func) == "typer.BadParameter" else kind
            if node.args and isinstance(kind, type) and issubclass(kind, (LedgerError, typer.BadParameter)):
                beginning = "recording.ndjson: " if kind is RecordingError else ""
                yield from (beginning + line for line in _filled(node.args[0]).split("\n"))


def _filled(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(each.value) if isinstance(each, ast.Constant) else _put_in(each) for each in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else ""


def _put_in(value: ast.expr) -> str:
    return "7 events" if "counted(" in ast.unparse(value) else "7"


OF_THE_SERVICE = tuple(
    f"ledger/{name}"
    for name in (
        "http", "ingest/intake", "ingest/writer", "ingest/ticket_queue", "ingest/erasing", "ingest/overrides", "spool",
        "reconcile", "sinks",
    )
)  # fmt: skip
"""Commands are answered by the service where it fails so."""

A_SENTENCE = re.compile(r"[A-Za-z][a-z]*( (7 )?[a-z]+){3,}")


def test_each_error_that_a_command_may_end_with_has_its_chinese() -> None:
    reader.speak("zh")
    told = [line for line in errors_told() if A_SENTENCE.search(line) and not line.endswith("7 is not one of 7")]
    assert len(told) > 200
    assert [line for line in told if words.translated(line) == line] == []


TYPERS = (
    "Usage: ", "Try '", "Error: ", "No such ", "Missing ", "Option '", "Got unexpected", "Invalid value",
    "Input should", "File '", "{tag} is not one of en, zh",
)  # fmt: skip


def test_what_has_no_chinese_stays_as_it_is() -> None:
    reader.speak("zh")
    assert words.told("a sentence of {when}", when="tomorrow") == "a sentence of tomorrow"
    assert words.translated("nobody knows this\nor that") == "nobody knows this\nor that"
    assert words.number_of(2, "thing") == "2 things"
    assert words.word("rule_of_tomorrow") == "rule_of_tomorrow"


def test_english_is_as_it_stands_in_the_code() -> None:
    assert words.word("upstream_defect") == "upstream defect"
    assert words.number_of(2000, "event") == "2,000 events"
    assert words.translated("Usage: x") == "Usage: x"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("status", "u", "--limti", "3"), "没有选项 --limti"),
        (("status", "u", "--jsno"), "没有选项 --jsno，是不是 '--json'？"),
        (("staus", "u"), "没有命令 'staus'，是不是 'status'？"),
        (("keys", "creat", "x"), "没有命令 'creat'，是不是 'create'？"),
        (("history",), "缺少参数 UID"),
        (("history", "u", "--limit", "x"), "'--limit' 的值无效：不是整数"),
        (("history", "u", "--limit", "0"), "'--limit' 的值无效：不能小于 1"),
        (("history", "u", "--limit"), "选项 --limit 后面要有一个值"),
        (("history", "u", "--from", "yesterday", "14:03"), "时间里有空格时请加引号"),
        (("status", ""), "uid 不能为空"),
        (("status", "u", "--at", "25:00"), "'--at' 的值无效：'25:00' 不是时间。"),
        (("status", "u", "--tz", "Shangai"), "'Shangai' 不是时区，是不是 Asia/Shanghai？"),
        (("timeline", "u", "--from", "-1h", "--to", "-2h"), "'--to' 的值无效：应晚于 --from"),
        (("sinks", "replay", "app"), "缺少选项 --from"),
        (("override", "u", "away"), "'status' 的值无效：'away' 不在可选范围内：'online', 'offline'"),
        (("override", "u", "online", "--reason", "x", "--for", "1x"), "'1x' 不是时长"),
        (("demo", "--fault", "ghost"), "未知：ghost，可选：drop"),
    ],
)
def test_a_wrong_call_is_told_in_chinese(arguments: tuple[str, ...], said: str) -> None:
    wrong = call("--lang", "zh-CN", *arguments)
    assert wrong.exit_code == 2
    assert said in wrong.stderr
    assert "错误：" in wrong.stderr
    if len(lines := wrong.stderr.splitlines()) > 1:
        assert lines[0].startswith("用法：presence-ledger ")
        assert lines[1].startswith("查看帮助：presence-ledger ")


def test_a_call_without_arguments_is_answered_by_the_help() -> None:
    assert "Usage: presence-ledger keys" in call("keys", "--lang", "zh").output + call("--lang", "zh", "keys").output


def test_a_failure_is_told_in_the_language_of_the_terminal(
    ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    unreachable = ask("status", "u", LISTEN="127.0.0.1:1")
    assert unreachable.exit_code == 1
    assert unreachable.stderr.splitlines()[0].startswith("presence-ledger: 无法连接 http://127.0.0.1:1 上的服务（")
    assert "请用 `presence-ledger serve` 启动服务" in unreachable.stderr
    (tmp_path / "presence-ledger-data" / "admin.key").unlink()
    without_key = ask("status", "u").stderr
    assert "中没有管理密钥" in without_key
    assert "或设置 PRESENCE_LEDGER_API_KEY。" in without_key
    assert "presence-ledger.toml 第 1 行：log_level 应为 " in _settings_error(ask, tmp_path, "log_level = 'loud'")
    assert "环境变量 PRESENCE_LEDGER_QUEUE_ITEMS：queue_items 应为整数" in ask("config", QUEUE_ITEMS="many").stderr


def _settings_error(ask: Callable[..., Result], folder: Path, text: str) -> str:
    file = folder / "presence-ledger.toml"
    file.write_text(text)
    try:
        return ask("config").stderr
    finally:
        file.unlink()


def test_a_refusal_of_the_service_keeps_its_words(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (403, json.dumps({"title": "Forbidden", "status": 403, "detail": "scope audit"}))
    refused = ask("timeline", "u", "--lang", "zh")
    assert refused.exit_code == 1
    assert f"{service.url} 上的服务应答 403：" in refused.stderr
    assert "scope audit" in refused.stderr
    assert "请把 PRESENCE_LEDGER_API_KEY 设为具有该权限的密钥" in refused.stderr


@pytest.mark.parametrize(
    "text",
    [
        "listn = 'h:1'", "[policy]\nxyz = 1", "[policy]\ngrace_seconds = -1", "[policy]\ngrace_seconds = '1'",
        "[policy]\nconfirmations = 1.5", "[policy]\nbreaker_share = 1.1", "[policy]\nbudget_calls = 0",
        "[policy]\ngrace_seconds = inf", "policy = 1", "data_dir = ' '", "listen = 'h:0'", "log_level = 'loud'",
        "sources = []", "\n[[sources]]\nprofile = 'v3'", "[[sources]]\nname = 'a/b'", SOURCE + SOURCE,
        NODE + "  api_url = 'ftp://h'", NODE + "  api_url = 'http://h/?a=1'", NODE + "  token = 'a b'",
        SOURCE + "webhook_secret = 'short'", SOURCE + "webhook_secret = ['long-enough/']",
        SOURCE + "forward_presence = true", "database_url = 'mysql://h'", "api_keys = { app = { key = '12345678' } }",
        "listen = 1\nlog_level = 2",
    ],
)  # fmt: skip
def test_a_mistake_in_the_settings_is_told_in_chinese(text: str, tmp_path: Path) -> None:
    (tmp_path / "presence-ledger.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(environ={}, folder=tmp_path)
    reader.speak("zh")
    said = words.translated(str(caught.value))
    assert said.startswith("presence-ledger.toml 第 ")
    assert not LATIN.search(re.sub(r"'[^']*'|`[^`]*`", "", said)), said


def test_status_in_chinese(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (200, json.dumps({"items": [PRESENCE, UNKNOWN]}))
    head, online, unknown = ask("status", "u100", "用户", "--lang", "zh", "--tz", "Asia/Shanghai").stdout.splitlines()
    assert head.split() == ["用户", "状态", "起始", "(UTC+08:00)", "设备", "依据", "核实"]
    assert "在线  2026-11-23 20:00:00.000  main/app x2  webhook（位置 4711）  3 s 前" in online
    assert "从未出现过" in unknown


def test_history_in_chinese(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (200, json.dumps({"items": [event(7)], "next": None}))
    [_, row] = ask("history", "u100", "--lang", "zh").stdout.splitlines()
    assert "建立" in row
    assert "离线 -> 在线" in row
    service.answer = lambda asked: (200, json.dumps({"items": [], "next": None}))
    assert ask("history", "u", "--lang", "zh").stderr == "账本中没有 u 的任何事件\n"
    assert "在这段时间内" in ask("history", "u", "--from", "-1h", "--lang", "zh").stderr


@pytest.mark.parametrize("entry", range(20))
def test_no_line_of_a_timeline_keeps_english(entry: int) -> None:
    from tests.unit import test_cli_stories  # noqa: PLC0415  (its cases, as they stand there)

    marks = [mark for mark in test_cli_stories.test_an_entry_in_words.pytestmark if mark.name == "parametrize"]
    cases: list[tuple[dict[str, Any], str, str | None]] = marks[0].args[1]
    if entry >= len(cases) or cases[entry][0]["kind"] == "of_tomorrow":
        return
    reader.speak("zh")
    _, _, status, what, _ = story_lines.entry_row(cases[entry][0])
    assert CJK.search(str(what))
    written = str(what).replace(str(cases[entry][0].get("reason")), "")  # somebody's own words
    assert not LATIN.search(f"{status} {written}"), what


def test_sessions_in_chinese(service: ScriptedService, ask: Callable[..., Result]) -> None:
    from tests.unit.test_cli_stories import edge, page, session  # noqa: PLC0415

    ended = session(edge(1, "exact", "online_new"), edge(5, "bounded", "restart", 2), 95.0)
    service.answer = lambda asked: page(ended, session(edge(1, "bounded", "poll_missed"), None, None), next="x", lag=3)
    shown = ask("sessions", "u", "--lang", "zh_CN.UTF-8")
    assert "至多 95 s" in shown.stdout
    assert "不晚于" in shown.stdout
    assert "未结束" in shown.stdout
    assert "此前还有会话" in shown.stderr
    assert "其后还有 3 条事件待处理" in shown.stderr
