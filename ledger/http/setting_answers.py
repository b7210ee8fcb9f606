"""What the API answers about the settings in force."""

from typing import TypeAlias

from msgspec import Struct

Value: TypeAlias = str | bool | int | float | list[str] | None
"""What a setting may be. To Python truth is a number; to JSON it is not."""


class SettingBody(Struct):
    """One setting; `value` is masked where it is a secret, and null where nothing is set.

    `origin` is `default`, the file and the line, or the variable of the environment.
    """

    key: str
    value: Value
    origin: str


class SettingItems(Struct):
    """The settings that the answering instance runs with, in the order of the documents; `file` is null without one."""

    file: str | None
    items: list[SettingBody]
