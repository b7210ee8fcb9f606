"""Known users: bounded, the longest unheard of forgotten first."""

from ledger.domain.presence import Presence
from ledger.ingest.known import KnownUsers


def presence(uid: str, version: int = 1) -> Presence:
    return Presence(uid, version)


def test_what_was_committed_is_known_until_it_is_forgotten() -> None:
    known = KnownUsers()
    known.remember({"alice": presence("alice")})
    assert known.get(["alice", "bob"]) == {"alice": presence("alice")}
    known.remember({"alice": presence("alice", 2)})
    assert known.get(["alice"])["alice"].version == 2
    known.forget()
    assert known.get(["alice"]) == {}


def test_the_longest_unheard_of_go_first() -> None:
    known = KnownUsers(max_users=2)
    known.remember({"alice": presence("alice"), "bob": presence("bob")})
    known.remember({"alice": presence("alice", 2)})
    known.remember({"carol": presence("carol")})
    assert set(known.get(["alice", "bob", "carol"])) == {"alice", "carol"}
