"""What every table of the file has in common: nothing unknown, no conversions, no value in a message of pydantic's."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(
        # Built once, within the table that has it, and not by those who only name it.
        defer_build=True,
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )
