"""Hostile input to the command line, its files and its terminal, and what newcomers stumbled over."""

import gzip
import hashlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from bench import _service, _simulated
from bench.outside._cases import Chapter, Trial
from bench.outside._product import command, command_of, environment, post, until
from ledger.simulator.plan import NodePlan
from ledger.simulator.ports import free_port
from ledger.store.backup import LINE_BYTES, first_line, read_line
from tests.support.im_node import Answer, im_node

CHAPTER = Chapter()

MOST_BYTES = 600 * 1_048_576
"""Of memory, for a command that meets a line without end."""

STEERING = "\x1b]0;owned\x07\x9b2J\u202e\u2028"
NOBODY = 65_534

DRAWN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Colours and the movements of bars, which the command itself draws."""


def on_a_terminal(folder: Path, *arguments: str, **variables: str) -> str:
    """What the command writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ledger", *arguments],
        cwd=folder,
        env=environment(variables) | {"TERM": "xterm", "COLUMNS": "80"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            part = os.read(ours, 65_536)
        except OSError:
            break
        if not part:
            break
        written += part
    os.close(ours)
    process.wait()
    return written.decode(errors="replace")


def expect(is_right: bool, seen: object) -> None:
    """Raises AssertionError."""
    if not is_right:
        raise AssertionError(str(seen)[-400:])


@CHAPTER.case(
    "7", "`serve --config FILE` starts; the first start's log says where key, /docs and `config wukongim` are"
)
def _first_start(trial: Trial) -> str:
    port = free_port()
    (trial.folder / "mine.toml").write_text(f'data_dir = "data"\nlisten = "127.0.0.1:{port}"\n')
    log = trial.folder / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "ledger", "serve", "--config", "mine.toml"],
            cwd=trial.folder,
            env=environment({}),
            stdout=said,
            stderr=said,
        )
    try:
        until(
            lambda: '"first_start"' in log.read_text() or process.poll() is not None, "it says", _service.START_SECONDS
        )
        expect(process.poll() is None, log.read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_service.STOP_SECONDS)
    told = next(json.loads(line) for line in log.read_text().splitlines() if '"first_start"' in line)
    expect(Path(told["admin_key"]) == trial.folder / "data" / "admin.key" and "/docs" in told["api"], told)
    expect(Path(told["admin_key"]).exists() and "config wukongim" in told["webhooks"], told)
    return f"admin_key={told['admin_key']}, {told['webhooks']}"


@CHAPTER.case(
    "7", "PYTHONIOENCODING=latin-1 prints replacements; `config` shows each source's dark_seconds; `--env` for psql"
)
def _small(trial: Trial) -> str:
    recording = trial.folder / "r.jsonl"
    item = json.dumps(["用户-0-1-1-1-1"], ensure_ascii=False)
    webhook = {"kind": "webhook", "t": 1, "node": "n1", "event": "user.onlinestatus", "body": item, "answer": "ok"}
    recording.write_text("\n".join(json.dumps(line) for line in ({"kind": "meta", "server": "v22"}, webhook)) + "\n")
    shown = command(trial.folder, "replay", "r.jsonl", PYTHONIOENCODING="latin-1")
    expect(shown.code == 0 and "\\u7528\\u6237  online" in shown.said, shown)
    settings = json.loads(command(trial.folder, "config", "--json").said)["settings"]
    expect(settings["sources[0].policy.dark_seconds"]["value"] == 0, settings)
    url = "postgresql://u:s%20ecret@db/ledger"
    variables = command(trial.folder, "config", "database-url", "--env", PRESENCE_LEDGER_DATABASE_URL=url)
    expect("export PGPASSWORD='s ecret'" in variables.said, variables)
    return f"{shown.said.splitlines()[1]}; dark_seconds 0; {variables.said.splitlines()[1].split('=')[0]}=…"


@CHAPTER.case("7", "`demo` piped shows uids whole", in_short=False)
def _demo(trial: Trial) -> str:
    done = command(trial.folder, "demo", "--seconds", "5")
    lines = [line for line in done.said.splitlines() if " opened " in line]
    expect(done.code == 0 and bool(lines) and "…" not in "".join(lines), done)
    return lines[0]


@CHAPTER.case(
    "9c", "an API key put into a backup opens nothing: refused as altered; without a signature only when asked for"
)
def _planted_key(trial: Trial) -> str:
    genuine, later = trial.folder / "genuine", trial.folder / "later"
    service = _service.Service(trial.folder)
    service.start()
    try:
        for file in (genuine, later):
            made = command_of(service, "backup", str(file))
            expect(made.code == 0, made)
            command_of(service, "keys", "create", "planted", "--scope", "admin")
    finally:
        service.stop()
    archive = later.read_bytes()[LINE_BYTES:]
    with genuine.open("rb") as content:
        line = read_line(content, genuine)
    rewritten = replace(line, size=len(archive), sha256=hashlib.sha256(archive).hexdigest())
    unsigned = first_line(replace(rewritten, key_id="", signature=""))
    older = unsigned.replace(b'"presence_ledger_backup": 2', b'"presence_ledger_backup": 1')
    later.write_bytes(first_line(rewritten) + archive)
    altered = command_of(service, "restore", "--replace", str(later))
    expect(altered.code == 1 and "was altered since it was made" in altered.said, altered)
    later.write_bytes(older + archive)
    refused = command_of(service, "restore", "--replace", str(later))
    expect(refused.code == 1 and "--unproven" in refused.said, refused)
    elsewhere = trial.folder / "elsewhere"
    elsewhere.mkdir()
    keyless = command(elsewhere, "restore", str(genuine))
    expect(keyless.code == 1 and "which is not here" in keyless.said and "seal_keys" in keyless.said, keyless)
    asked = command_of(service, "restore", "--replace", "--unproven", str(later))
    expect(asked.code == 0 and "not proven" in asked.said and "planted (admin)" in asked.said, asked)
    return f"{altered.said.splitlines()[0]} …; {asked.said.splitlines()[-3]}"


@CHAPTER.case("9f", "what a node or a uid says steers no terminal: lines, tables, bars and --json, each command")
def _terminal(trial: Trial) -> str:
    with im_node() as node:
        node.lies["*"] = Answer(400, json.dumps({"msg": STEERING, "status": 400}).encode())
        nodes = [NodePlan("n1", _service.SECRET, api_port=node.port)]
        service = _simulated.Reconciling(trial.folder, "", "v2.2", nodes, {})
        service.start()
        try:
            uid = f"a{STEERING}b"
            answer = post(service, f"{uid}-0-1-1-1-1")
            expect(answer.status == 200, answer)
            configuration = ("--config", str(service.settings))
            asked = _questions(uid, trial.short)
            for arguments in asked:
                for form in ((), ("--json",)):
                    told = on_a_terminal(
                        trial.folder, *arguments, *form, *configuration, PRESENCE_LEDGER_API_KEY=_service.KEY
                    )
                    left = DRAWN.sub("", told)
                    steers = [mark for mark in left if not mark.isprintable() and mark not in "\r\n"]
                    expect(not steers, f"{arguments} {form}: {steers}")
        finally:
            service.stop()
    return f"{len(asked)} commands, as text and as JSON: nothing of {STEERING!r} came through"


def _questions(uid: str, short: bool) -> list[tuple[str, str]]:
    names = (
        ("reconcile", "timeline") if short else ("reconcile", "status", "history", "timeline", "sessions", "explain")
    )
    return [(name, uid) for name in names]


@CHAPTER.case("9g", "a data folder that others filled is refused, and what links in it lead to is left alone")
def _planted_folder(trial: Trial) -> str:
    target, data = trial.folder / "target", trial.folder / "data"
    target.write_text("precious")
    data.mkdir()
    (data / "admin.key").write_text("plk_planted")
    (data / "lock").symlink_to(target)
    (data / "postgres.log").symlink_to(target)
    data.chmod(0o777)
    where = {"PRESENCE_LEDGER_DATA_DIR": str(data), "PRESENCE_LEDGER_LISTEN": f"127.0.0.1:{free_port()}"}
    seen = []
    if os.geteuid() == 0:
        os.chown(data, NOBODY, NOBODY)
        refused = command(trial.folder, "serve", **where)
        expect(refused.code == 1 and "belongs to" in refused.said, refused)
        seen.append(refused.said)
        os.chown(data, 0, 0)
    refused = command(trial.folder, "serve", **where)
    expect(refused.code == 1 and "can be written to by any user" in refused.said, refused)
    data.chmod(0o700)
    link = command(trial.folder, "serve", **where)
    expect(link.code == 1 and "lock is a link" in link.said, link)
    expect(target.read_text() == "precious", target.read_text())
    return " ".join(line for said in (*seen, refused.said, link.said) for line in said.splitlines()[:1])


@CHAPTER.case(
    "9h", "a slice of one line without end, or nested 100,000 deep, is refused by its line, in bounded memory"
)
def _slices(trial: Trial) -> str:
    size = trial.pick(1_536, 132) * 1_048_576
    slice_file = trial.folder / "slice.gz"
    with gzip.open(slice_file, "wb", compresslevel=1) as file:
        file.write(b'{"kind":"header"')
        for _ in range(size // 1_048_576):
            file.write(b"x" * 1_048_576)
    endless = command(trial.folder, "replay", str(slice_file))
    expect(endless.code == 1 and "line 1 is longer than" in endless.said, endless)
    expect(endless.memory < MOST_BYTES, f"{endless.memory / 1e6:.0f} MB of memory")
    deep = trial.folder / "deep"
    deep.write_bytes(b'{"kind":"header","format":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n")
    nested = command(trial.folder, "replay", str(deep))
    expect(nested.code == 1 and "line 1 is no" in nested.said and "unexpected" not in nested.said, nested)
    return f"{size / 1_048_576:.0f} MiB: {endless.said.splitlines()[0]} {endless.memory / 1e6:.0f} MB of memory"
