"""Clients that are made from the API's description, in Python and in TypeScript: each route is called by both."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.calls import Call, as_typescript, calls
from tests.support.description import description, operations
from tests.support.im_node import ImNode, im_node
from tests.support.service import KEYS, MAIN, Api, Service, wait_for

SOURCES = Path(__file__).parents[1] / "clients"
GENERATORS = Path(sys.prefix) / "clients"
"""Where `make test` puts what generates clients: it needs other releases than the service of what both need."""

SINK = """
[[sinks]]
name = "app"
kind = "webhook"
url = "http://127.0.0.1:9/"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
list = "nobody"
"""
SECONDS = 300.0
"""More than a busy machine takes."""


@pytest.fixture(scope="module")
def node() -> Iterator[ImNode]:
    with im_node() as node:
        yield node


@pytest.fixture(scope="module")
def service_settings(node: ImNode) -> dict[str, Any]:
    return {"tables": f'{MAIN}api_url = "{node.url}"\n{SINK}'}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The description in a file."""
    file = tmp_path_factory.mktemp("described") / "openapi.json"
    file.write_text(json.dumps(description()), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def wanted(api: Api, node: ImNode) -> Sequence[Call]:
    """One call of each operation."""
    api.deliver(node.connect("u100"))
    wait_for(lambda: api.get("/v1/sinks")["items"][0]["state"] != "new", api.service.log)
    run = wait_for(lambda: api.source_events("run_ended"), api.service.log)[0]["run"]
    delivery = next(each["delivery"] for each in api.events("u100") if "delivery" in each)
    found = calls(delivery, run, api.presence("u100")["as_of"]["at"])
    assert [each.operation for each in found if each.operation not in operations()] == []
    assert {each.operation for each in found} == operations().keys()
    return found


def run(*command: str | Path, folder: Path, given: str = "", **environment: str) -> str:
    """What a command prints that must go well."""
    done = subprocess.run(
        [str(each) for each in command], cwd=folder, env=os.environ | environment, input=given, capture_output=True,
        text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def are_answered(printed: str, wanted: Sequence[Call], nothing: str, problem: str) -> None:
    """Each with its status, and with what is in it where there is to be anything."""
    answers = [json.loads(line) for line in printed.splitlines()]
    assert [(each["operation"], each["status"]) for each in answers] == [
        (each.operation, each.status) for each in wanted
    ]
    for call, answer in zip(wanted, answers, strict=True):
        content = operations()[call.operation]["responses"].get(str(call.status), {}).get("content")
        assert (answer["parsed"] == problem) == (call.status >= 400), answer
        assert not content or answer["parsed"] != nothing, answer


def test_a_python_client_calls_each_route(
    service: Service, wanted: Sequence[Call], described: Path, tmp_path: Path
) -> None:
    generator = GENERATORS / "python"
    if not generator.is_dir():
        pytest.skip("openapi-python-client is not installed; `make test` puts it beside the environment")
    python = {
        "PYTHONPATH": f"{generator}{os.pathsep}{tmp_path}",
        "PATH": f"{generator / 'bin'}{os.pathsep}{os.defpath}",
    }
    generate = ("-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning")
    run(sys.executable, *generate, "--path", described, "--output-path", tmp_path / "made", folder=tmp_path, **python)
    given = json.dumps([each._asdict() | {"tag": operations()[each.operation]["tags"][0]} for each in wanted])
    command = (sys.executable, SOURCES / "each_route.py", service.url, KEYS["admin"], "made")
    are_answered(run(*command, folder=tmp_path, given=given, **python), wanted, "NoneType", "ProblemBody")


def test_a_typescript_client_calls_each_route(
    service: Service, wanted: Sequence[Call], described: Path, tmp_path: Path
) -> None:
    modules, node = GENERATORS / "node_modules", shutil.which("node")
    if node is None or not modules.is_dir():
        pytest.skip("node, or openapi-typescript, is not installed; where there is npm, `make test` brings the latter")
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    generator = modules / "openapi-typescript" / "bin" / "cli.js"
    # What has a default may be left out of a body.
    run(node, generator, described, "-o", "schema.d.ts", "--default-non-nullable", "false", folder=tmp_path)
    source = (SOURCES / "each_route.ts").read_text(encoding="utf-8")
    lines = "\n".join(as_typescript(each) for each in wanted)
    (tmp_path / "each_route.ts").write_text(source.replace("// CALLS\n", f"{lines}\n"), encoding="utf-8")
    compiler = (node, modules / "typescript" / "bin" / "tsc", "--strict", "--target", "es2022", "--module", "nodenext")
    run(*compiler, "--skipLibCheck", "--lib", "es2022,dom", "each_route.ts", folder=tmp_path)
    command = (node, "each_route.js", service.url, KEYS["admin"])
    are_answered(run(*command, folder=tmp_path), wanted, "undefined", "problem")
