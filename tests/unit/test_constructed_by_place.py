"""Checks what is constructed by place, for speed: each argument is called like the field that it goes to."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from projections.models import entries, entry_making, repeats
from projections.models.session_bounds import SessionRow
from projections.models.session_rows import UserSessions


@pytest.mark.parametrize(
    ("function", "cls"),
    [
        (entry_making._changed, entries.ChangeEntry),
        (repeats.begun, repeats.Repeats),
        (UserSessions._begin, SessionRow),
    ],
)
def test_each_argument_is_called_like_its_field(function: Callable[..., Any], cls: type[msgspec.Struct]) -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    [call] = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == cls.__name__
    ]
    names = [each.attr if isinstance(each, ast.Attribute) else each.id for each in call.args]  # type: ignore[attr-defined]
    assert names == list(cls.__struct_fields__[: len(names)])
