"""A life in which nodes say again what they said, so that much of what they say changes nothing."""

from random import Random

from ledger.domain.profile import Profile
from tests.support.reconciler import Kept, Reconciler


def repeating(seed: int, posts: int = 60) -> list[Kept]:
    """Its events; some of what is said again comes in whole deliveries."""
    draw = Random(seed)
    ledger = Reconciler(Profile.V3 if seed % 2 else Profile.V2_2, ("n1", "n2"))
    said = ["a-0-1-1-1-1"]
    for _ in range(posts):
        ledger.pass_time(draw.choice((0.0, 1.0, 70.0)))
        if draw.random() < 0.5:
            uid, flag, online, conn_id = draw.choice("ab"), draw.choice((0, 1)), draw.choice((0, 1)), draw.randint(1, 3)
            said.append(f"{uid}-{flag}-{online}-{conn_id}-{draw.randint(0, 1)}-{draw.randint(0, 2)}")
        ledger.hear(draw.choice(("n1", "n1", "n2")), *draw.choices(said[-3:], k=draw.randint(1, 3)))
    return ledger.kept
