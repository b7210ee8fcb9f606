"""What keeps Redis from doing what it is asked, in words of ours: its own texts may quote an address or a password."""

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)


class Unusable(Exception):
    """Redis does not do what it is asked, for a reason in words without a secret."""


def in_words(error: Exception) -> Unusable:
    """What keeps Redis from doing what it was asked; its own texts may quote an address or a password."""
    match error:
        case OutOfMemoryError():
            return Unusable("Redis is full (OOM)")
        case ReadOnlyError():
            return Unusable("this Redis is read-only, a replica")
        case NoPermissionError():
            return Unusable("the user of this Redis may not do what is needed (NOPERM)")
        case AuthenticationError():
            return Unusable("Redis refuses the user or the password")
        case BusyLoadingError():
            return Unusable("Redis is loading its data")
        case ResponseError():
            return Unusable(f"Redis refuses ({_code(error)})")
        case _:
            return Unusable("Redis does not answer")


def _code(error: Exception) -> str:
    """The word in capitals that an error of Redis begins with."""
    word = str(error).partition(" ")[0]
    return word if word.isupper() and word.isalpha() else "ERR"
