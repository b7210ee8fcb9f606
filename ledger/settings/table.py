"""What every table of the file has in common: nothing unknown, no conversions, no value in a message of pydantic's."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True)
