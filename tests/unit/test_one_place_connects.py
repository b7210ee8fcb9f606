"""Every connection to PostgreSQL of the product is made where the session is made ours."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONNECTS = re.compile(r"\b(?:psycopg\.)?(?:Async)?Connection(?:\[\w+\])?\.connect\(|\bpsycopg\.connect\(")
POOLS = re.compile(r"ConnectionPool\((?!\[)(?P<arguments>[^)]*)\)")


def test_nobody_else_connects() -> None:
    files = [path for folder in ("ledger", "projections") for path in (ROOT / folder).rglob("*.py")]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}
    assert [name for name, text in texts.items() if CONNECTS.search(text)] == []
    pools = [found["arguments"] for text in texts.values() for found in POOLS.finditer(text)]
    assert len(pools) == 2
    assert all("connection_class=" in arguments for arguments in pools)
