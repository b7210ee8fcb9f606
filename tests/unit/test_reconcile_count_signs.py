"""Whose items are heard for their counts: everybody's, and in a large page those of a sample of users."""

from collections import defaultdict

import pytest
from msgspec.structs import replace

from ledger.domain.events import WebhookObserved
from ledger.domain.mismatch import SAMPLE, TELLING, CountsCheck, in_sample
from ledger.domain.profile import Profile
from ledger.reconcile.count_signs import HEARD_WHOLE, CountSigns
from tests.support.scenario import given

UIDS = [f"user-{number}" for number in range(100 * SAMPLE)]
SAMPLED = next(uid for uid in UIDS if in_sample(uid))
OTHER = next(uid for uid in UIDS if not in_sample(uid))


def said(item: str) -> WebhookObserved:
    event = given(item).events[0]
    assert isinstance(event, WebhookObserved)
    return event


@pytest.fixture
def checks() -> defaultdict[str, CountsCheck]:
    return defaultdict(CountsCheck)


@pytest.fixture
def signs(checks: defaultdict[str, CountsCheck]) -> CountSigns:
    return CountSigns(lambda: {"main": checks})


def test_one_user_in_so_many_is_of_the_sample() -> None:
    assert 60 < sum(map(in_sample, UIDS)) < 140
    assert in_sample(SAMPLED)


def test_a_large_page_is_heard_of_by_its_sample(signs: CountSigns) -> None:
    signs.begin(HEARD_WHOLE)
    assert not signs.sampled
    signs.begin(HEARD_WHOLE + 1)
    assert signs.sampled


def test_items_tell_of_the_node_that_said_them(checks: defaultdict[str, CountsCheck], signs: CountSigns) -> None:
    signs.begin(2)
    for _ in range(TELLING):
        signs.hear(said("u-0-1-1-1-1"))
        signs.hear(said("u-0-0-1-0-0"))
    assert checks["n1"].mismatch(Profile.V2_1) is not None
    assert checks["n1"].mismatch(Profile.V2_2) is None


def test_what_may_be_sent_again_or_is_of_another_source_tells_nothing(
    checks: defaultdict[str, CountsCheck], signs: CountSigns
) -> None:
    signs.begin(2)
    for item in ["u-0-1-1-1-1", "u-0-0-1-0-0"] * TELLING:
        signs.hear(replace(said(item), repeated=True))
        signs.hear(replace(said(item), source="other"))
        signs.hear(replace(said(item), raw="no claim"))
    assert not checks


@pytest.mark.parametrize(("uid", "tells"), [(SAMPLED, True), (OTHER, False)])
def test_no_sign_is_made_across_items_that_were_not_heard(
    checks: defaultdict[str, CountsCheck], signs: CountSigns, uid: str, tells: bool
) -> None:
    """Each pair tells of the profile; with a large page in between, only if that was heard too."""
    for _ in range(TELLING):
        signs.begin(1)
        signs.hear(said(f"{uid}-0-1-1-1-1"))
        signs.begin(HEARD_WHOLE + 1)
        signs.begin(1)
        signs.hear(said(f"{uid}-0-0-1-0-0"))
        signs.begin(HEARD_WHOLE + 1)
    assert (checks["n1"].mismatch(Profile.V2_1) is not None) == tells
