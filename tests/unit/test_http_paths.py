"""What a request goes through before the routes: names of lists in a path, tokens in an address."""

from typing import Any

import pytest

from ledger.http import edge


@pytest.mark.parametrize(
    ("raw", "path", "expected"),
    [
        (b"/v1/lists/friends", "/v1/lists/friends", "/v1/lists/friends"),
        (b"/v1/lists/a%2Fb/presence", "/v1/lists/a/b/presence", "/v1/lists/a%2Fb/presence"),
        (b"/v1/lists/x%2Fpresence?limit=1", "/v1/lists/x/presence", "/v1/lists/x%2Fpresence"),
        (b"/v1/lists/50%25", "/v1/lists/50%", "/v1/lists/50%25"),
        (b"/v1/lists", "/v1/lists", "/v1/lists"),
        (b"/v1/users/a%2Fb/presence", "/v1/users/a/b/presence", "/v1/users/a/b/presence"),
    ],
)
def test_a_lists_name_is_one_part_of_the_path(raw: bytes, path: str, expected: str) -> None:
    scope = {"path": path, "raw_path": raw}
    edge.with_whole_names(scope)
    assert scope["path"] == expected


@pytest.mark.parametrize(
    ("path", "query", "left", "sent"),
    [
        ("/v1/users/u/presence", b"token=eyJ.a.b", b"", [b"Address-Token eyJ.a.b"]),
        ("/v1/users/u/presence", b"at=x&token=a%2Eb&limit=1", b"at=x&limit=1", [b"Address-Token a.b"]),
        ("/v1/users/u/presence", b"at=x", b"at=x", []),
        ("/v1/users/u/presence", b"my_token=x", b"my_token=x", []),
        ("/hooks/main/n1/secret", b"token=x", b"token=x", []),
    ],
)
def test_a_token_is_taken_out_of_the_address(path: str, query: bytes, left: bytes, sent: list[bytes]) -> None:
    scope: dict[str, Any] = {"path": path, "query_string": query, "headers": []}
    edge.with_token(scope)
    assert scope["query_string"] == left
    assert [value for name, value in scope["headers"] if name == b"authorization"] == sent


def test_a_key_that_was_sent_as_a_header_goes_before_a_token() -> None:
    scope: dict[str, Any] = {
        "path": "/v1/lists", "query_string": b"token=x", "headers": [(b"authorization", b"Bearer key")],
    }  # fmt: skip
    edge.with_token(scope)
    assert (scope["query_string"], scope["headers"]) == (b"", [(b"authorization", b"Bearer key")])
