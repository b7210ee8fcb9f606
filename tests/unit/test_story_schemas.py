"""The documented shapes of a story's entries are those that the timeline tells."""

from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from pydantic import BaseModel

from ledger.http import story_schemas
from projections.models import entries
from projections.models.repeats import Repeats

SHAPES: dict[type[msgspec.Struct], type[BaseModel]] = {
    entries.SessionName: story_schemas.SessionName,
    entries._Changed: story_schemas.ChangeEntry,
    entries._Correction: story_schemas.CorrectionEntry,
    entries._NodeSweep: story_schemas.SweepEntry,
    entries._TierChange: story_schemas.TierEntry,
    entries._Beginning: story_schemas.BeginningEntry,
    Repeats: story_schemas.RepeatsEntry,
}


def plain(hint: Any) -> Any:
    """A type as JSON has it: arrays are arrays, structs are what documents them."""
    if get_origin(hint) in (list, tuple):
        return list, plain(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return frozenset(map(plain, get_args(hint)))
    return SHAPES.get(hint, hint)


@pytest.mark.parametrize("struct", SHAPES)
def test_an_entry_is_documented_as_it_is_told(struct: type[msgspec.Struct]) -> None:
    told = {field.name: field for field in msgspec.structs.fields(struct)}
    documented = SHAPES[struct].model_fields
    assert documented.keys() == told.keys()
    hints = get_type_hints(struct)
    for name, field in told.items():
        described = documented[name]
        assert described.is_required() == field.required, name
        if not field.required:
            assert described.default == (list(field.default) if field.default == () else field.default), name
        if name == "kind":
            # The type of a verdict has more than those that change nothing.
            assert set(get_args(described.annotation)) <= set(get_args(hints[name]))
        else:
            assert plain(described.annotation) == plain(hints[name]), name


def test_every_entry_of_an_event_is_documented() -> None:
    assert {*get_args(entries.Entry), Repeats, entries.SessionName} == SHAPES.keys()
