"""Changes single numbers of a policy by `name=value`, as `replay --policy` takes them."""

from collections.abc import Iterable

import msgspec
from pydantic import ValidationError

from ledger.domain.policy import Policy
from ledger.errors import SettingsError
from ledger.settings.edge import PolicyTable
from ledger.settings.problems import from_validation_error


def override_policy(policy: Policy, assignments: Iterable[str]) -> Policy:
    """Returns `policy` with each `name=value` applied, the last one of a name winning. Raises SettingsError."""
    values = msgspec.structs.asdict(policy)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals:
            raise SettingsError(f"--policy {assignment}: must be name=value like grace_seconds=5")
        values[name] = _number(text)
        try:
            values = PolicyTable.model_validate(values).model_dump()
        except ValidationError as error:
            problem = from_validation_error(error, ("policy",))[0]
            raise SettingsError(f"--policy {name}: {problem.text}") from None
    return Policy(**values)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
