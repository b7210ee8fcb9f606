"""The API's description is whole enough to make clients of it: each name has a meaning, a type and one place."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from ledger.http.schemas import DESCRIPTIONS
from ledger.http.views import INSTANTS
from tests.support.description import description, operations

SCHEMAS: dict[str, Any] = description()["components"]["schemas"]
INSTANT = re.compile(r".*_at|at|since|until|earliest|latest|resumes")
NO_INSTANTS = {("WentBackBody", "from"), ("WentBackBody", "to"), ("DetectionFloor", "looked_at")}


def properties() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Of each schema, wherever it has some."""
    for name, schema in SCHEMAS.items():
        for prop, value in schema.get("properties", {}).items():
            yield name, prop, value


def parameters() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Of each operation."""
    for name, operation in operations().items():
        for parameter in operation.get("parameters", ()):
            yield name, parameter["name"], parameter


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """A schema, or the whole description, and each object in it but for examples."""
    if isinstance(value, dict):
        yield value
        for name, each in value.items():
            if name not in ("example", "examples"):
                yield from parts(each)
    elif isinstance(value, list):
        for each in value:
            yield from parts(each)


def test_every_schema_property_and_parameter_is_described() -> None:
    assert [name for name, schema in SCHEMAS.items() if not schema["description"]] == []
    assert [(owner, name) for owner, name, value in properties() if not value.get("description")] == []
    assert [(owner, name) for owner, name, value in parameters() if not value.get("description")] == []


def test_no_description_is_of_something_that_is_gone() -> None:
    named = {name for _, name, _ in (*properties(), *parameters())}
    named |= {f"{owner}.{prop}" for owner, prop, _ in properties()}
    assert DESCRIPTIONS.keys() <= named


def test_instants_are_date_times() -> None:
    for owner, name, value in (*properties(), *parameters()):
        text = [part for part in parts(value) if part.get("type") == "string"]
        if INSTANT.fullmatch(name) and (owner, name) not in NO_INSTANTS:
            assert text, (owner, name)
            assert all(part.get("format") == "date-time" for part in text), (owner, name)
    assert all(INSTANT.fullmatch(name) for name in INSTANTS)


def test_every_integer_has_64_bits() -> None:
    integers = [part for part in parts(description()) if part.get("type") == "integer"]
    assert len(integers) > 100
    assert {part.get("format") for part in integers} == {"int64"}


def test_operations_have_short_names_of_their_own() -> None:
    named = [operation for methods in description()["paths"].values() for operation in methods.values()]
    ids = [operation["operationId"] for operation in named]
    assert len(set(ids)) == len(ids) == len(operations())
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", each) and len(each) <= 20 for each in ids), ids
    assert {"getPresence", "queryPresences", "putOverride", "listSources"} <= set(ids)


def test_every_reference_leads_somewhere() -> None:
    references = {part["$ref"] for part in parts(description()) if isinstance(part.get("$ref"), str)}
    assert references == {f"#/components/schemas/{each.rpartition('/')[2]}" for each in references}
    assert {each.rpartition("/")[2] for each in references} <= SCHEMAS.keys()


@pytest.mark.parametrize(
    "operation", [each for each in operations().values() if "requestBody" in each], ids=lambda each: each["operationId"]
)
def test_bodies_of_json_are_schemas_with_a_name(operation: dict[str, Any]) -> None:
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert "$ref" in schema or operation["operationId"] == "takeWebhook"
