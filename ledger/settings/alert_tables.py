"""What the file may say of alerts: `[alerts]`, whose numbers are those of the definitions, and `[[notify]]`."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, create_model

from ledger.alerts.definition import Severity, Threshold
from ledger.alerts.definitions import BY_NAME, CLEAR_SECONDS, CLEAR_SHARE, DEFINITIONS, EVALUATE_SECONDS
from ledger.languages import Language, parse_language
from ledger.settings.table import Table

YEAR_SECONDS = 31_536_000
MAX_NUMBER = 1_000_000_000_000_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


def _alert(value: str) -> str:
    if value not in BY_NAME:
        raise ValueError(f"is not the name of an alert; there are {', '.join(BY_NAME)}")
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 64 ASCII letters, digits or . _ ~ -, starting with a letter or digit")
    return value


def _url(value: str) -> str:
    if not _URL.fullmatch(value):
        raise ValueError("must be an address that apprise knows, such as mailto://user:password@example.org")
    return value


def _bounds(threshold: Threshold) -> Any:
    most = {"_seconds": YEAR_SECONDS, "_share": 1}
    bound = next((value for end, value in most.items() if f"_{threshold.name}".endswith(end)), MAX_NUMBER)
    return Annotated[float, Field(ge=0, le=bound)]


_NUMBERS: dict[str, Any] = {
    each.name: (_bounds(each), float(each.default)) for definition in DEFINITIONS for each in definition.settings
}
_Numbers: Any = create_model("_Numbers", __base__=Table, **_NUMBERS)


class AlertsTable(_Numbers):  # type: ignore[misc]  # its fields are those of the definitions
    """All of `[alerts]`."""

    off: list[Annotated[str, AfterValidator(_alert)]] = Field(default=[])
    evaluate_seconds: Annotated[float, Field(ge=0.1, le=3600)] = EVALUATE_SECONDS
    clear_seconds: Annotated[float, Field(ge=0, le=YEAR_SECONDS)] = CLEAR_SECONDS
    clear_share: Annotated[float, Field(gt=0, le=1)] = CLEAR_SHARE


class NotifyTable(Table):
    """Somebody who is told of alerts."""

    name: Annotated[str, AfterValidator(_name)]
    url: Annotated[str, AfterValidator(_url)]
    from_severity: Severity = "warning"
    lang: Annotated[Language, BeforeValidator(parse_language)] = "en"
