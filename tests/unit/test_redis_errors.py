"""What keeps Redis from its work, in words: none of its own, which may quote a password."""

import pytest
from redis import exceptions

from ledger.sinks.redis_errors import in_words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.OutOfMemoryError("OOM s3cret"), "Redis is full (OOM)"),
        (exceptions.ReadOnlyError("s3cret"), "this Redis is read-only, a replica"),
        (exceptions.NoPermissionError("s3cret"), "the user of this Redis may not do what is needed (NOPERM)"),
        (exceptions.AuthenticationError("s3cret"), "Redis refuses the user or the password"),
        (exceptions.BusyLoadingError("s3cret"), "Redis is loading its data"),
        (exceptions.ResponseError("MISCONF s3cret"), "Redis refuses (MISCONF)"),
        (exceptions.ResponseError("s3cret is wrong"), "Redis refuses (ERR)"),
        (exceptions.ConnectionError("redis://:s3cret@host"), "Redis does not answer"),
        (TimeoutError("s3cret"), "Redis does not answer"),
    ],
)
def test_a_reason_has_no_word_of_redis(error: Exception, words: str) -> None:
    assert str(in_words(error)) == words
