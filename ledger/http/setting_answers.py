"""What the API answers about the settings in force, and of taking them anew."""

from typing import Literal, TypeAlias

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


Kind: TypeAlias = Literal["added", "removed", "changed"]


class ChangeBody(Struct):
    """One setting that was taken, by its name, those of lists by theirs: `sinks.app.secret`."""

    setting: str
    change: Kind


class RestartBody(Struct):
    """One setting that takes effect at the next start."""

    setting: str
    change: Kind
    way_out: str


class ReloadBody(Struct):
    """What differed from the settings in force: nothing, where both are empty."""

    taken: list[ChangeBody]
    restart: list[RestartBody]
