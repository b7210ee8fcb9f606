"""Says what is wrong with a setting, in the operator's words and without showing a secret."""

import difflib
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ledger.settings.alert_tables import AlertsTable, NotifyTable
from ledger.settings.edge import (
    SECRET_KEYS,
    ApiKeyTable,
    AuditTable,
    CanaryTable,
    NodeTable,
    PolicySection,
    SettingsTable,
    SinkTable,
    SourceTable,
)
from ledger.settings.lines import KeyPath

MAX_SHOWN = 60


class SettingProblem(NamedTuple):
    """What is wrong with the key at `path`; `variable` where the environment gave it."""

    path: KeyPath
    text: str
    variable: str | None = None


def from_validation_error(error: ValidationError, inside: KeyPath = ()) -> list[SettingProblem]:
    """Returns what pydantic found; `inside` is the path of the table that it looked at."""
    return [_problem(details, inside) for details in error.errors(include_url=False)]


def dotted_key(path: KeyPath) -> str:
    """Writes a path as the documents do: `sources[0].nodes[1].token`."""
    written = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return written.removeprefix(".")


def _problem(details: ErrorDetails, inside: KeyPath) -> SettingProblem:
    path = inside + tuple(part for part in details["loc"] if part != "[key]")
    context: dict[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            return SettingProblem(path, f"is an unknown key{_nearest(path)}")
        case "missing":
            return SettingProblem(path, "is missing")
        case "value_error":
            return SettingProblem(path, str(context["error"]))
        case "literal_error":
            text = f"must be one of {context['expected'].replace(' or ', ', ').replace(chr(39), '')}"
        case "greater_than_equal":
            text = f"must be at least {_bound(context['ge'])}"
        case "greater_than":
            text = f"must be more than {_bound(context['gt'])}"
        case "less_than_equal":
            text = f"must be at most {_bound(context['le'])}"
        case kind:
            text = _TYPES.get(kind) or details["msg"]
    return SettingProblem(path, text + _shown(path, details["input"]))


_TYPES = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be a string in quotes",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
}

_TABLES: dict[str, type[BaseModel]] = {
    "sources": SourceTable,
    "nodes": NodeTable,
    "canary": CanaryTable,
    "policy": PolicySection,
    "api_keys": ApiKeyTable,
    "sinks": SinkTable,
    "notify": NotifyTable,
    "alerts": AlertsTable,
    "audit": AuditTable,
}


def _nearest(path: KeyPath) -> str:
    table = next((_TABLES[part] for part in reversed(path[:-1]) if isinstance(part, str) and part in _TABLES), None)
    known = (table or SettingsTable).model_fields
    wrong = str(path[-1])
    nearest = difflib.get_close_matches(wrong, known, n=1) or [name for name in known if wrong in name]
    return f"; did you mean {nearest[0]}?" if nearest else f"; known here: {', '.join(known)}"


def _bound(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"


def _shown(path: KeyPath, value: object) -> str:
    if any(part in SECRET_KEYS for part in path) or isinstance(value, (dict, list)):
        return ""
    written = repr(value)
    return f", not {written if len(written) <= MAX_SHOWN else written[:MAX_SHOWN] + '…'}"
