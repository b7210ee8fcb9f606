"""The one place of the API's schemas: what routes answer and take, as their structs and models have it.

A route names its structs where it is declared, and whatever it names is described; so is what these hold.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import Struct
from pydantic import BaseModel

from ledger.http import story_answers
from ledger.http.answers import ProblemBody
from ledger.http.record_answers import EventBody
from ledger.http.responses import ANSWERED, reference

DESCRIPTIONS: Mapping[str, str] = json.loads(
    files("ledger.http").joinpath("descriptions.json").read_text(encoding="utf-8")
)
"""What each property means, by its name: a name means one thing wherever it stands, or has its struct before it."""

BODIES: dict[str, dict[str, Any]] = {}
"""The schemas of requests' bodies by the names of their structs and models."""

_TEMPLATE = reference("{name}")["$ref"]


def take_struct(body: type[Struct], example: Mapping[str, Any]) -> dict[str, str]:
    """Describe a body that is decoded as a struct -> the reference to its schema."""
    _, found = msgspec.json.schema_components([body], ref_template=_TEMPLATE)
    BODIES.update(found)
    BODIES[body.__name__] = found[body.__name__] | {"examples": [dict(example)]}
    return reference(body.__name__)


def take_model(body: type[BaseModel]) -> dict[str, str]:
    """Describe a body that is checked by a model -> the reference to its schema."""
    schema = body.model_json_schema(ref_template=reference("{model}")["$ref"])
    BODIES.update(schema.pop("$defs", {}))
    BODIES[body.__name__] = schema
    return reference(body.__name__)


def components() -> dict[str, Any]:
    """The schema of each struct that is answered, and of each body that is taken, by its name."""
    structs = _all_structs({*ANSWERED, *story_answers.ENTRIES.values(), ProblemBody, EventBody})
    found: dict[str, Any]
    _, found = msgspec.json.schema_components(structs, ref_template=_TEMPLATE)
    for struct in structs:
        found[struct.__name__]["required"] = _always_there(struct)
    found |= BODIES
    for name, schema in found.items():
        schema["description"] = cleandoc(schema.get("description", ""))
        specify(schema)
        for prop, value in schema.get("properties", {}).items():
            _describe(value, f"{name}.{prop}", prop)
    kinds = {kind: reference(struct.__name__)["$ref"] for kind, struct in story_answers.ENTRIES.items()}
    found["Entry"] = {
        "description": "An entry of the timeline, by its `kind`.",
        "oneOf": [{"$ref": name} for name in dict.fromkeys(kinds.values())],
        "discriminator": {"propertyName": "kind", "mapping": kinds},
    }
    return found


def describe_parameters(parameters: Iterable[dict[str, Any]]) -> None:
    """Say what each parameter means that does not say so itself, and the width of its integers, in place."""
    for parameter in parameters:
        specify(parameter["schema"])
        _describe(parameter, parameter["name"])


def specify(schema: Any) -> None:
    """Say the width of each integer and that names are strings, in place."""
    match schema:
        case {"type": "integer"}:
            schema["format"] = "int64"
        case {"enum": list(), **rest} if "type" not in rest:
            schema["type"] = "string"
        case dict():
            for each in schema.values():
                specify(each)
        case list():
            for each in schema:
                specify(each)


def _describe(schema: dict[str, Any], *names: str) -> None:
    if not schema.get("description"):
        schema |= next(({"description": DESCRIPTIONS[name]} for name in names if name in DESCRIPTIONS), {})


def _all_structs(structs: Iterable[type[Struct]]) -> set[type[Struct]]:
    """These, and those that they hold."""
    found: set[type[Struct]] = set()
    for info in msgspec.inspect.multi_type_info(list(structs)):
        found.update(_held(info, found))
    return found


def _held(info: Any, known: set[type[Struct]]) -> Iterator[type[Struct]]:
    """The structs in a type, at any depth, but for those that are known."""
    match info:
        case msgspec.inspect.StructType(cls=cls) if cls not in known:
            known.add(cls)
            yield cls
            for field in info.fields:
                yield from _held(field.type, known)
        case msgspec.inspect.Metadata(type=inner):
            yield from _held(inner, known)
        case msgspec.inspect.UnionType(types=types):
            for each in types:
                yield from _held(each, known)
        case msgspec.inspect.DictType(value_type=inner) | msgspec.inspect.CollectionType(item_type=inner):
            yield from _held(inner, known)
        case msgspec.inspect.TupleType(item_types=types):
            for each in types:
                yield from _held(each, known)


def _always_there(struct: type[Struct]) -> list[str]:
    """The fields that every answer has; a default is left out of it only where the struct leaves out defaults."""
    fields = msgspec.structs.fields(struct)
    return [
        each.encode_name
        for each in fields
        if each.required or not (struct.__struct_config__.omit_defaults or each.default is msgspec.UNSET)
    ]
