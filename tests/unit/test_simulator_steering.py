"""What a cluster does when it is steered: a node taken away, words that are lost, rows that stay."""

from ledger.simulator.answers import QueryApi
from ledger.simulator.events import Arrival
from ledger.simulator.node_faults import RESTART_RETURNS
from ledger.simulator.plan import NodePlan, Plan
from ledger.simulator.world import SimulatedWorld

NOBODY = 0.0001
"""Changes a second: nobody comes or goes by themselves."""


def world(users: int = 30, start_online: float = 1.0, token: str = "") -> SimulatedWorld:
    """A cluster of two nodes of v2.2."""
    nodes = (NodePlan("n1"), NodePlan("n2"))
    return SimulatedWorld(Plan(nodes=nodes, users=users, rate=NOBODY, start_online=start_online, token=token))


def rows(world: SimulatedWorld, node: str = "n1") -> set[str]:
    """Whom a node names when it is asked about everybody."""
    uids = [person.uid for person in world.population.people]
    reply = QueryApi(world.cluster, 0.0).online_status(node, repr(uids).replace("'", '"').encode())
    assert reply.status == 200, reply.text
    return {uid for uid in uids if f'"uid":"{uid}"' in reply.text}


def posts(world: SimulatedWorld, to: float) -> list[str]:
    """The bodies that are posted up to an instant, each taken at once."""
    found = []
    for happened in world.advance(to):
        if isinstance(happened, Arrival):
            world.answered(happened, happened.t, "ok")
            found.append(happened.body.decode())
    return found


def test_a_node_that_is_taken_away_leaves_leaders_that_know_nothing_of_the_connections_that_exist() -> None:
    simulated = world()
    posts(simulated, 5.0)
    assert rows(simulated) == set(simulated.online())
    simulated.faults.scale_in("n2", returns=(0.0, 0.0, 1.0))
    connected = set(simulated.online())
    assert connected
    assert all(simulated.cluster.leader(uid).name == "n1" for uid in connected)
    assert connected - rows(simulated), "those whose leader n2 was have no row"
    simulated.faults.scale_in("n1")
    assert set(simulated.online()) == connected, "the last node stays"


def test_the_clients_of_a_node_that_is_taken_away_come_back_elsewhere() -> None:
    simulated = world()
    posts(simulated, 5.0)
    before = set(simulated.online())
    simulated.faults.scale_in("n2", returns=(1.0, *RESTART_RETURNS[1:]))
    assert set(simulated.online()) < before
    posts(simulated, 15.0)
    assert set(simulated.online()) == before
    assert {s.node for uid in before for s in simulated.population.sessions(uid)} == {"n1"}


def test_what_is_left_of_a_cluster_answers_with_its_token() -> None:
    simulated = world(token="t")
    api = QueryApi(simulated.cluster, 0.0, "t")
    assert api.online_status("n1", b'["a"]').status == 400
    simulated.faults.scale_in("n2")
    assert api.online_status("n1", b'["a"]').status == 200


def test_whatever_a_muted_cluster_has_to_say_is_lost() -> None:
    simulated = world(start_online=0.0)
    simulated.transport.mute(10.0)
    simulated.population.connect("lost", 0, "d")
    posts(simulated, 10.0)
    simulated.population.connect("heard", 0, "d")
    told = posts(simulated, 15.0)
    assert simulated.online() == ["heard", "lost"]
    assert [("heard" in body, "lost" in body) for body in told] == [(True, False)]


def test_a_row_that_stays_has_its_offline_said_again_until_its_node_boots() -> None:
    simulated = world(start_online=0.0)
    simulated.population.connect("gone", 0, "d")
    posts(simulated, 5.0)
    (session,) = simulated.population.sessions("gone")
    simulated.population.rows_kept = 1.0
    simulated.population.close(session)
    assert simulated.online() == []
    told = posts(simulated, 30.0)
    assert len(told) >= 3
    assert {body.rpartition("-0-0")[0] for body in told} == {f'["gone-0-0-{session.conn_id}'}
    listed = QueryApi(simulated.cluster, 0.0).connz(session.node, 30.0)
    assert '"uid":"gone"' in listed.text
    simulated.faults.crash(session.node)
    posts(simulated, 35.0)
    assert posts(simulated, 60.0) == []
