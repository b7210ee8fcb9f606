"""What a run comes to where nodes do not answer, or are not even asked."""

from ledger.reconcile.runs import Run


def test_users_whom_no_node_could_be_asked_about_have_failed_with_each_nodes_cause() -> None:
    run = Run.new("manual", 0, users=12)
    run.failed("n1", "401: the token is refused", 5)
    run.not_asked({"n1": "not asked: 401: the token is refused", "n2": "not asked: connection refused"}, 7)
    assert (run.counts.polls, run.counts.failed_polls, run.counts.failed) == (1, 1, 12)
    assert run.end_event(1).failures == {
        "n1": "not asked: 401: the token is refused",
        "n2": "not asked: connection refused",
    }
