"""Whether a ledger can be spread over a Citus cluster, judged of what its database says."""

import pytest

from ledger.store.distribution import COLUMNS, Facts, refusal

READY = Facts(
    "13.2-1", is_partitioned=True, has_archive=False, has_unsealed=False, schema="public", is_coordinator=True,
    workers=2, is_distributed=False,
)  # fmt: skip


def test_a_coordinator_with_workers_will_do() -> None:
    assert refusal(READY) is None


def test_a_ledger_that_is_distributed_stays_so() -> None:
    assert refusal(READY._replace(is_distributed=True)) is None


@pytest.mark.parametrize(
    ("facts", "what", "way_out"),
    [
        (READY._replace(citus=None), "has no extension citus", "CREATE EXTENSION citus"),
        (READY._replace(citus="11.3-1"), "of version 11.3-1", "Upgrade it"),
        (READY._replace(is_coordinator=False), "is a worker", "Name the coordinator's database"),
        (READY._replace(workers=0), "has no workers", "citus_add_node"),
        (READY._replace(is_partitioned=False), "not divided yet", "Start the service"),
        (READY._replace(has_archive=True), "are archived", "presence-ledger archive restore"),
        (READY._replace(has_unsealed=True), "have no seal", "Export a slice"),
    ],
)
def test_what_will_not_do_is_said_with_the_way_out(facts: Facts, what: str, way_out: str) -> None:
    said, _, then = (refusal(facts) or "").partition("\n")
    assert what in said
    assert way_out in then


def test_events_are_spread_by_stream_and_all_else_by_user() -> None:
    assert {table for table, column in COLUMNS.items() if column == "stream"} == {"events"}
    assert {column for table, column in COLUMNS.items() if table != "events"} == {"uid"}
