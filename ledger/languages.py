"""The languages that people are spoken to in, and which of them a tag names."""

import re
from typing import Literal, TypeAlias

Language: TypeAlias = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

TAG = r"^([eE][nN]|[zZ][hH])([-_.@].*)?$"
"""What is the tag of one of them."""


def language_of(tag: str) -> Language | None:
    """The language of a tag or locale such as `zh`, `zh-CN`, `zh_CN.UTF-8`; None where it is none of ours."""
    first = re.split(r"[-_.@]", tag.strip().lower(), maxsplit=1)[0]
    return next((language for language in LANGUAGES if language == first), None)


def parse_language(tag: object) -> object:
    """For what reads settings and requests: the language that a tag names, or else the tag as it came."""
    return (language_of(tag) if isinstance(tag, str) else None) or tag
