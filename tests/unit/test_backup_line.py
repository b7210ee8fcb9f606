"""The first line of a backup: any alteration of it, or of what it speaks of, is found without a database."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.store.backup import (
    LINE_BYTES,
    Backup,
    BackupAltered,
    BackupError,
    BackupUnproven,
    check,
    first_line,
    read_line,
)
from ledger.store.seal import SealKey, seal_keys

FILE = Path("ledger.backup")
KEY = SealKey("the-seal-key-of-the-one-who-made-the-backup")
KEYS = seal_keys([KEY.text])
ARCHIVE = b"PGDMP and all the rest"
MADE = Backup(
    "2026-11-23T12:00:00Z",
    "1.0",
    {"position": 6, "seals": 2},
    len(ARCHIVE),
    "12bdd61d0ff1d9c05a12bf1b0e2c0e6e4ec8d4fbd6d4f3a9e9f0a7c4e9d3b1aa",
).signed(KEY)


def read(line: bytes) -> Backup:
    return read_line(io.BytesIO(line + ARCHIVE), FILE)


def test_what_is_written_is_read_and_proven() -> None:
    line = first_line(MADE)
    assert len(line) == LINE_BYTES
    assert read(line) == MADE
    MADE.prove(KEYS, FILE)


@pytest.mark.parametrize(
    "altered",
    [
        replace(MADE, sha256="0" * 64),
        replace(MADE, size=MADE.size + 1),
        replace(MADE, made_at="2026-11-24T12:00:00Z"),
        replace(MADE, version="2.0"),
        replace(MADE, head={"position": 5, "seals": 2}),
        replace(MADE, signature=""),
        replace(MADE, signature="用户"),
        replace(MADE, signature=MADE.signed(SealKey("a-key-of-the-one-who-altered-it-and-no-more")).signature),
    ],
)
def test_whatever_is_altered_is_found(altered: Backup) -> None:
    with pytest.raises(BackupAltered, match="was altered since it was made"):
        altered.prove(KEYS, FILE)


@pytest.mark.parametrize("key_id", ["00" * 8, "no hexadecimal", "f" * 300])
def test_a_key_that_is_not_here_is_named(key_id: str) -> None:
    with pytest.raises(BackupUnproven, match=f"signed by the seal key {key_id[:64]}, which is not here"):
        replace(MADE, key_id=key_id).prove(KEYS, FILE)


def test_one_without_a_signature_is_proven_by_nothing() -> None:
    with pytest.raises(BackupUnproven, match=r"made by version 1\.0, .* API keys may have been added to it"):
        replace(MADE, key_id="", signature="").prove(KEYS, FILE)


@pytest.mark.parametrize(
    ("archive", "says"),
    [(ARCHIVE[:-1], "is truncated"), (ARCHIVE, "was altered"), (ARCHIVE + b"!", "was altered")],
)
def test_an_archive_is_the_one_that_the_line_speaks_of(archive: bytes, says: str) -> None:
    with pytest.raises(BackupError, match=says):
        check(io.BytesIO(archive), FILE, MADE, lambda *_: None)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[" * LINE_BYTES,
        b"[]",
        b"PGDMP",
        b'{"presence_ledger_backup": 2}',
        json.dumps({"presence_ledger_backup": 1, **MADE.__dict__}).encode(),
        json.dumps({"presence_ledger_backup": 2, **MADE.__dict__, "size": "1"}).encode(),
        json.dumps({"presence_ledger_backup": 2, **MADE.__dict__, "signature": None}).encode(),
        json.dumps({"presence_ledger_backup": 2, **MADE.__dict__, "head": []}).encode(),
        json.dumps({"presence_ledger_backup": 2, **MADE.__dict__, "key_id": ""}).encode(),
    ],
)
def test_anything_else_is_no_backup(line: bytes) -> None:
    with pytest.raises(BackupError, match="is not a backup made by"):
        read(line.ljust(LINE_BYTES))
