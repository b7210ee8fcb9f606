"""What a newer version keeps of a source: nobody judges by a state that is not all known, and presences are shown."""

from collections.abc import Callable

import pytest

from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.reconcile.requests import request_run
from ledger.store.ledger import Ledger
from ledger.working_state import sources
from ledger.working_state.sources import SourceUnreadable
from tests.support import newer
from tests.support.ledgers import SOURCE, configure

T = 1_800_000_000 * SECOND


def loaded(ledger: Ledger) -> SourceState:
    with ledger.connection() as connection:
        return sources.load(connection, ledger, SOURCE)


def kept(ledger: Ledger) -> bytes:
    return sources.to_row(loaded(ledger)).state


@pytest.mark.parametrize(
    ("change", "is_shown"),
    [
        (newer.with_new_profile, True),
        (lambda state: state.replace(b'{"policy"', b'{"muted_since":null,"policy"'), True),
        (lambda state: state.replace(b'{"grace_seconds"', b'{"patience":3,"grace_seconds"'), True),
        (lambda state: state.replace(b'"nodes":{', b'"nodes":{"n3":{"down_since":null,"rack":3}'), True),
        (lambda state: state.replace(b'"grace_seconds":0.0', b'"grace_seconds":"none"'), False),
        (lambda state: state[:-1] + b"\x80", False),
        (lambda _: b"[]", False),
    ],
    ids=["a profile", "a field", "a number of the policy", "a field of a node", "another form", "no JSON", "no object"],
)
def test_a_state_that_is_not_all_known_is_not_judged_by(
    ledger: Ledger, change: Callable[[bytes], bytes], is_shown: bool
) -> None:
    configure(ledger)
    before = loaded(ledger)
    changed = change(kept(ledger))
    assert changed != kept(ledger)
    newer.keep(ledger, changed)
    for read in (loaded, lambda ledger: request_run(ledger, SOURCE, [], "i", T)):
        with pytest.raises(SourceUnreadable, match=newer.SAYS_KEPT) as raised:
            read(ledger)
        assert (raised.value.source, raised.value.state) == (SOURCE, SourceState(SOURCE, before.version))
    if is_shown:
        assert sources.shown_by(SOURCE, before.version, changed).version == before.version
    else:
        with pytest.raises(SourceUnreadable, match=newer.SAYS_KEPT):
            sources.shown_by(SOURCE, before.version, changed)


def test_what_is_shown_follows_from_a_state_of_which_not_all_is_known() -> None:
    profiles = {"n1": Profile.V3, "n2": Profile.V2_2}
    nodes = {"n1": NodeState(down_since=T, highest_conn_id=7), "n2": NodeState()}
    state = SourceState(
        SOURCE, 3, Policy(grace_seconds=5.0), Profile.V3, profiles, nodes, dark_since=T + 1, retired={"n3": 7}
    )
    row = sources.to_row(state)
    assert sources.shown_by(*row[:2], row.state) == state
    found = sources.shown_by(*row[:2], newer.with_new_profile(row.state))
    assert (found.name, found.version, found.dark_since) == (SOURCE, 3, T + 1)
    assert found.policy.grace_seconds == 5.0
    assert {name: node.down_since for name, node in found.nodes.items()} == {"n1": T, "n2": None}
    assert found.counting("n1").node_local
    assert not found.holders_known
