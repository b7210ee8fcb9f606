"""Names in requests; a uid in a path may be any text, also with the "/" and line breaks that Starlette leaves out."""

from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import Path
from pydantic import AfterValidator
from starlette.convertors import Convertor, register_url_convertor

from projections.models.current import can_be_stored


def _storable(name: str) -> str:
    if not can_be_stored(name):
        raise ValueError("holds NUL or half a character")
    return name


Storable = Annotated[str, AfterValidator(_storable)]
"""A name that is looked for in the database. A uid may be any text: one that cannot be stored is no user's."""

Uid = Annotated[str, Path(description="Any string, percent-encoded", examples=["u100"])]


ListName = Annotated[str, Path(description="1 to 256 characters, percent-encoded", examples=["friends of u100"])]


class UidConvertor(Convertor[str]):
    """`{uid:uid}` in a route."""

    regex = r"(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class ListNameConvertor(Convertor[str]):
    """`{name:list}` in a route, whose path `edge.with_whole_names` has gone through."""

    regex = r"[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


register_url_convertor("uid", UidConvertor())
register_url_convertor("list", ListNameConvertor())
