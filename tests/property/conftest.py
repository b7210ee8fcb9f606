"""Thousands of histories, not measured for coverage: that is the unit tests' part, and would double their time."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("no_cover")
