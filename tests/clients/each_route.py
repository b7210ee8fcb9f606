"""Calls each operation by the generated Python client, which is run beside what generates it: calls in, answers out."""

import importlib
import inspect
import json
import re
import sys
from datetime import datetime
from enum import EnumType
from typing import Any, get_type_hints


def main() -> None:
    url, key, package = sys.argv[1:]
    client = importlib.import_module(f"{package}.client")
    asked = client.AuthenticatedClient(base_url=url, token=key, timeout=60.0)
    for call in json.load(sys.stdin):
        name = re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), call["operation"])
        module = importlib.import_module(f"{package}.api.{call['tag']}.{name}")
        hints = get_type_hints(module._get_kwargs)
        given = call["query"] | call["path"]
        # Python's own words have an underscore after them.
        named = {each if each in hints else f"{each}_": value for each, value in given.items()}
        arguments = {each: as_argument(hints[each], value) for each, value in named.items()}
        if call["body"] is not None:
            arguments["body"] = as_argument(hints["body"], call["body"])
        answer = module.sync_detailed(client=asked, **arguments)
        parsed = type(answer.parsed).__name__
        told = {"operation": call["operation"], "status": answer.status_code, "parsed": parsed}
        sys.stdout.write(json.dumps(told) + "\n")


def as_argument(hint: Any, value: Any) -> Any:
    """A value as the client's own type has it: an instant, one of some words, a body."""
    kinds: tuple[Any, ...] = (hint, *getattr(hint, "__args__", ()))
    for kind in kinds:
        if inspect.isclass(kind) and hasattr(kind, "from_dict") and isinstance(value, dict):
            return kind.from_dict(value)
        if kind is datetime:
            return datetime.fromisoformat(value)
        if isinstance(kind, EnumType) and isinstance(value, str):
            return kind(value)
        if getattr(kind, "__origin__", None) is list and isinstance(value, list):
            return [as_argument(kind.__args__[0], each) for each in value]
    return value


main()
