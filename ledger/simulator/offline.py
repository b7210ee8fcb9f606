"""A whole simulation on a virtual clock, without a network: a recording to try rules on, and a storm's body."""

from collections.abc import Iterator

from ledger.simulator.answers import CONNZ, METRICS, ONLINE_STATUS, VARZ, QueryApi, SimulatedPoll
from ledger.simulator.events import Action, AnsweredWebhook
from ledger.simulator.node_answers import NodeAnswers, Question
from ledger.simulator.plan import Plan, PlanError
from ledger.simulator.recording import Line, first_line, in_order, last_line, poll_line
from ledger.simulator.sender import encode
from ledger.simulator.world import SimulatedWorld

ANSWER_SECONDS = 0.002
MANY_USERS = 300
STARTED_AT = 1_800_000_000.0
ALL_ROWS = 100_000


def generate(plan: Plan, *, polls: bool = False) -> list[Line]:
    """The lines of a recording of `plan.seconds`, every arrival answered "ok" after 2 ms.

    `polls` adds a world that can be asked: users known so far every second (every third with more than 300 users),
    varz or metrics every second, connz every fifth. Raises PlanError for a plan without an end.
    """
    if plan.seconds is None:
        raise PlanError("a recording needs an end: give seconds")
    world = SimulatedWorld(plan)
    lines: list[Line] = []
    known: set[str] = set()
    asked = 0
    while (t := world.next_at()) is not None and t <= plan.seconds:
        while polls and asked + 1 < t:
            asked += 1
            lines += [*_happen(world, asked, known), *_ask(world, asked, known)]
        lines += _happen(world, t, known)
    return [first_line(plan, STARTED_AT), *in_order(lines), last_line(plan.seconds)]


def _happen(world: SimulatedWorld, to: float, known: set[str]) -> Iterator[Line]:
    for event in world.advance(to):
        if isinstance(event, Action):
            known.update([event.line["uid"]] if event.do == "connect" else [])
            yield event.line
        else:
            world.answered(event, event.t + ANSWER_SECONDS, "ok")
            yield AnsweredWebhook(event, "ok").line()


def _ask(world: SimulatedWorld, second: int, known: set[str]) -> Iterator[Line]:
    node_answers = NodeAnswers(QueryApi(world.cluster, STARTED_AT, world.plan.token), world.lies)
    uids = sorted(known)
    is_v3 = node_answers.api.is_v3
    questions = [Question(METRICS if is_v3 else VARZ)]
    if uids and (len(uids) <= MANY_USERS or second % 3 == 0):
        questions.append(Question(ONLINE_STATUS, encode(uids)))
    if not is_v3 and second % 5 == 0:
        questions.append(Question(CONNZ, limit=ALL_ROWS))
    for name, node in world.cluster.nodes.items():
        for question in questions:
            request = uids if question.route == ONLINE_STATUS else None
            route = f"{CONNZ}?limit={ALL_ROWS}" if question.route == CONNZ else question.route
            if not node.up:
                yield poll_line(second, SimulatedPoll(name, route, request, error="ConnectError"))
                continue
            timed = node_answers.ask(name, question, second)
            if timed.error is not None:
                yield poll_line(second, SimulatedPoll(name, route, request, error=timed.error))
            else:
                yield poll_line(second, SimulatedPoll(name, route, request, timed.reply.status, timed.reply.text))
