"""The recipes of `docs/push.md` for WuKongIM and Redis, run as they stand there against a service with both sinks."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bench._watching import simulating
from ledger.simulator.business_server import BusinessServer
from ledger.simulator.business_server import serving as business_serving
from ledger.simulator.plan import NodePlan, Plan
from ledger.simulator.ports import free_port
from ledger.simulator.runtime import Simulation
from tests.support.recipes import recipe
from tests.support.redis_server import RedisServer, needs_redis, redis_server
from tests.support.service import SECRET, Api, wait_for
from tests.support.streams import FrontedService, fronted
from tests.support.wukongim_clients import Android, Ios, Web

pytestmark = needs_redis

DOCUMENT = "push.md"
TOKEN = "t0ken-of-the-manager"


class Setting(NamedTuple):
    """All that the recipes are about."""

    service: FrontedService
    simulation: Simulation
    business: BusinessServer
    redis: RedisServer


@pytest.fixture(scope="module")
def setting(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    """The service with the settings of the recipes, but for addresses and secrets, beside a simulated WuKongIM."""
    folder, port = tmp_path_factory.mktemp("recipes"), free_port()
    with business_serving() as business, redis_server(folder / "redis") as redis:
        tables = recipe(DOCUMENT, "tangsengdaodao") + "\n" + recipe(DOCUMENT, "redis settings")
        for written, real in (
            ("http://tsdd:8090/v1/webhook", business.url),
            ("http://wukongim:5001", f"http://127.0.0.1:{port}"),
            ("the managerToken", TOKEN),
            ('profile = "v2.2"', f'profile = "v2.2"\nwebhook_secret = "{SECRET}"'),
            ("redis://:password@127.0.0.1:6379/0", redis.url),
        ):
            assert written in tables
            tables = tables.replace(written, real)
        with fronted(folder, folder / "data", database_url=module_database_url, tables=tables) as service:
            service.start()
            nodes = (NodePlan("n1", SECRET, port),)
            plan = Plan(target=service.url, nodes=nodes, users=1, rate=0.001, seconds=None, token=TOKEN)
            with simulating(plan) as simulation:
                yield Setting(service, simulation, business, redis)


@pytest.fixture(scope="module")
def api(setting: Setting) -> Iterator[Api]:
    with Api(setting.service) as api:
        yield api


def curl(api: Api, command: str) -> Any:
    """What a curl of the docs comes to."""
    words = shlex.split(command)
    assert words[0] == "curl"
    options = {words[place]: words[place + 1] for place in range(1, len(words)) if words[place].startswith("-")}
    [address] = [word for word in words if word.startswith("http://127.0.0.1:8640/")]
    path = address.removeprefix("http://127.0.0.1:8640")
    answer = api.http.request(options["-X"], path, content=options["-d"], headers={"Content-Type": "application/json"})
    assert answer.status_code < 300, answer.text
    return answer.json()


def commands(text: str) -> list[str]:
    """Each command of a recipe, of however many lines."""
    return text.replace("\\\n", " ").splitlines()


def online(api: Api, *uids: str) -> bool:
    return all(api.presence(uid)["status"] == "online" for uid in uids)


def at_hand(setting: Setting, uid: str) -> bool:
    """Whether Redis has the user, as online."""
    text = setting.redis.get(f"pl:presence:{uid}")
    return text is not None and json.loads(text)["status"] == "online"


def test_beside_tangsengdaodaoserver(setting: Setting, api: Api) -> None:
    make, change = commands(recipe(DOCUMENT, "lists"))
    assert curl(api, make)["name"] == "friends-of-alice"
    simulation, taken = setting.simulation, setting.simulation.commands.taken
    simulation.bring(["bob", "carol"])
    wait_for(lambda: online(api, "bob", "carol"))
    bobs = (Android("bob"), Ios("bob"), Web("bob"))

    def told(number: int) -> bool:
        return len([each for each in taken if each.payload["param"]["uid"] == "alice"]) >= number

    simulation.bring(["alice"])
    wait_for(lambda: told(1))
    assert taken[-1].body["subscribers"] == ["bob", "carol"]
    curl(api, change)
    simulation.bring(["dave"])
    wait_for(lambda: online(api, "dave"))
    simulation.dismiss(["alice"])
    wait_for(lambda: told(2))
    assert taken[-1].body["subscribers"] == ["bob", "carol", "dave"]
    for command in taken:
        for reader in bobs if any(uid == "bob" for uid, _ in command.received) else ():
            reader.read(command.payload)
    status = api.presence("alice")["status"]
    assert [reader.online["alice"] for reader in bobs] == [status == "online"] * 3

    # What the business server had, it goes on getting; presence it gets no more, so it tells nobody twice.
    body = b'[{"message_id":1,"payload":"aGk="}]'
    path = setting.service.hook_path().replace("user.onlinestatus", "msg.notify")
    assert api.http.post(path, content=body).status_code == 200
    assert setting.business.counts() == {"msg.notify": 1}


def test_redis_is_read_by_hand(setting: Setting, api: Api) -> None:
    setting.simulation.bring(["erin"])
    wait_for(lambda: online(api, "erin"))
    # Whoever is asked about before they come is there as well, as unknown.
    wait_for(lambda: at_hand(setting, "erin"))
    wait_for(lambda: setting.redis.get("pl:head"))
    values, head, newest, changes = [
        _redis_cli(setting, command.replace("alice", "erin")) for command in commands(recipe(DOCUMENT, "redis"))
    ]
    erin, nobody = values
    assert nobody is None
    presence = json.loads(erin)
    assert {name: presence[name] for name in ("uid", "status")} == {"uid": "erin", "status": "online"}
    assert json.loads(head)["epoch"] == presence["as_of"]["epoch"]
    assert "erin" in json.dumps(newest)
    assert "erin" in json.dumps(changes)


def test_whoever_is_asked_about_is_at_hand(setting: Setting, api: Api) -> None:
    assert api.presence("asked")["reason"] == "never_observed"
    api.http.post("/v1/presence/query", json={"uids": ["queried"]}).raise_for_status()
    with setting.service.stream("watched") as stream:
        stream.until("ready")
        for uid in ("asked", "queried", "watched"):
            found = wait_for(partial(setting.redis.get, f"pl:presence:{uid}"))
            assert json.loads(found)["reason"] == "never_observed"
            assert 300 < setting.redis.client.ttl(f"pl:presence:{uid}") <= 600


def test_sinks_say_what_is_wrong_while_everything_else_goes_on(setting: Setting, api: Api) -> None:
    setting.simulation.bring(["gina"])
    wait_for(lambda: at_hand(setting, "gina"))
    setting.redis.kill()
    setting.simulation.bring(["frank"])
    wait_for(lambda: online(api, "frank"))
    setting.redis.start()
    wait_for(lambda: at_hand(setting, "frank"), lambda: setting.service.log()[-3000:])
    wait_for(lambda: at_hand(setting, "gina"), lambda: setting.service.log()[-3000:])


@pytest.mark.skipif(shutil.which("gofmt") is None, reason="there is no Go")
def test_the_gateway_in_go_is_a_program(tmp_path: Path) -> None:
    program = tmp_path / "main.go"
    program.write_text(recipe(DOCUMENT, "go"), encoding="utf-8")
    formatted = subprocess.run(["gofmt", "-l", str(program)], capture_output=True, text=True, check=False)
    assert (formatted.returncode, formatted.stdout, formatted.stderr) == (0, "", "")


def _redis_cli(setting: Setting, command: str) -> Any:
    """What a redis-cli of the docs prints, as JSON."""
    program, *arguments = shlex.split(command)
    assert program == "redis-cli"
    words = [program, "-p", str(setting.redis.port), "--json", *arguments]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(found.stdout)
