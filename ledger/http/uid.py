"""A uid in a path: any text, percent-encoded, with "/" and line breaks, which Starlette's own convertors leave out."""

from typing import Annotated

from fastapi import Path
from starlette.convertors import Convertor, register_url_convertor

Uid = Annotated[str, Path(description="Any string, percent-encoded", examples=["u100"])]


class UidConvertor(Convertor[str]):
    """`{uid:uid}` in a route."""

    regex = r"(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("uid", UidConvertor())
