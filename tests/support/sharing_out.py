"""Which tests a worker of a parallel run gets next: a file as a whole, and what takes long before all else.

The tests of a file share a service, which is started once where one worker gets them all. A run that ends with what
takes milliseconds has no worker that stands idle beside another's last long test.
"""

from collections import Counter
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

ONE_BY_ONE = frozenset(
    f"tests/acceptance/test_{name}.py"
    for name in ("alongside_a_newer_version", "bench_short_forms", "instances", "lifecycle_crashes", "reconciliation")
)
"""Long files whose tests share nothing."""


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Files in the order in which the workers have found them, with xdist's `log`."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        path, _, _ = nodeid.partition("::")
        return nodeid if path in ONE_BY_ONE else path


def put_long_first(items: list[pytest.Item]) -> None:
    """Files by the number of their tests that are marked `slow`; of what goes one by one each test counts as a file."""
    slow = Counter(_path(item) for item in items if _is_slow(item))
    items.sort(key=lambda item: _is_slow(item) if _path(item) in ONE_BY_ONE else slow[_path(item)], reverse=True)


def _is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None


def _path(item: pytest.Item) -> str:
    path, _, _ = item.nodeid.partition("::")
    return path
