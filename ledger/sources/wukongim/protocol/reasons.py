"""The reason codes by which WuKongIM refuses or ends a connection, in words."""

SUCCESS, AUTHENTICATION_FAILED, KICKED, BANNED = 1, 2, 12, 19

_WORDS = {
    0: "unknown error",
    AUTHENTICATION_FAILED: "authentication failed: the token is not the one of this uid and device flag",
    4: "the user is on the deny list",
    6: "the user does not belong to this node",
    KICKED: "the connection was ended by another one, or by an operator",
    14: "the node could not look up the token",
    15: "system error of the node",
    17: "the node could not be matched",
    18: "the node does not match",
    BANNED: "the user is banned",
    20: "the frame's header is not supported",
    21: "the client's key is empty",
    22: "too many connections at once",
}

UNANSWERED = (
    "the node closed the connection without an answer, as v2 does where it refuses the token, the user or the uid (its "
    "log says which), and as happens at another port than that of TCP clients"
)


def in_words(code: int) -> str:
    """What a reason code says, and the code itself."""
    return f"{_WORDS.get(code, 'a reason that is not known here')} (WuKongIM's reason code {code})"
