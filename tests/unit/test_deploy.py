"""What is shipped for installing is well formed, by its own tools where there are any, and fits the service."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from ledger import __version__
from ledger.settings.load import load
from tests.support.command import REPOSITORY

DEPLOY = REPOSITORY / "docs" / "deploy"
UNIT = DEPLOY / "presence-ledger.service"
COMMAND = "/opt/presence-ledger/bin/presence-ledger"
DEADLINE_SECONDS = 60.0


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS, env=os.environ | variables
    )


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"there is no {program} here")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a command that there is."""
    file = tmp_path / UNIT.name
    file.write_text(UNIT.read_text(encoding="utf-8").replace(COMMAND, "/bin/true"), encoding="utf-8")
    return file


@needs("systemd-analyze")
def test_the_unit_is_one_to_systemd(unit: Path) -> None:
    done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)
    assert (done.returncode, done.stderr) == (0, "")


@needs("systemd-analyze")
def test_the_unit_reaches_little(unit: Path) -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd cannot tell of a file")
    assert done.returncode == 0, done.stdout[-300:]


def settings_of_unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_starts_and_reloads_by_settings_that_there_are(tmp_path: Path) -> None:
    unit = settings_of_unit()
    assert (unit["ExecStart"], unit["ExecReload"]) == ([f"{COMMAND} serve"], [f"{COMMAND} reload"])
    environ = dict(each.split("=", 1) for each in unit["Environment"])
    config = Path(environ.pop("PRESENCE_LEDGER_CONFIG"))
    shipped = DEPLOY / "settings" / config.name
    settings = load(shipped, environ, tmp_path)
    assert str(settings.data_dir) == f"/var/lib/{unit['StateDirectory'][0]}"
    assert str(config.parent) == f"/etc/{unit['ConfigurationDirectory'][0]}"
    assert (unit["Type"], unit["KillMode"], unit["User"]) == (["notify"], ["mixed"], ["presence-ledger"])


def test_the_container_file_has_nothing_that_its_linter_finds() -> None:
    done = run(Path(sys.executable).with_name("hadolint"), "--no-color", DEPLOY / "Containerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_container_file_takes_what_there_is_and_runs_as_nobody_who_may_do_more() -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    allowed = {
        line.removeprefix("!")
        for line in (DEPLOY / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = {name for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE) for name in line.split()[:-1]}
    assert copied == allowed
    assert all((REPOSITORY / name).exists() for name in copied)
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["8640:8640"]
    for instruction in ("HEALTHCHECK", "STOPSIGNAL SIGTERM", "VOLUME", "ENTRYPOINT"):
        assert re.search(rf"^{instruction}\b", text, re.MULTILINE), instruction


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yml").read_text(encoding="utf-8"))


def has_compose() -> bool:
    return shutil.which("docker") is not None and run("docker", "compose", "version").returncode == 0


def test_compose_takes_its_file() -> None:
    if not has_compose():
        pytest.skip("there is no `docker compose` here")
    variables = {"POSTGRES_PASSWORD": "p", "GRAFANA_PASSWORD": "g"}
    done = run("docker", "compose", "-f", DEPLOY / "compose.yml", "config", "--quiet", **variables)
    assert done.returncode == 0, done.stderr


def test_what_compose_mounts_is_there_and_each_service_is_hardened(compose: Any) -> None:
    volumes, secrets = compose["volumes"].keys(), compose["secrets"]
    assert secrets["prometheus_key"]["file"].endswith("./prometheus.key}")
    for name, service in compose["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        for mount in service.get("volumes", ()):
            source = re.sub(r"^\$\{\w+:-(.*?)\}", r"\1", mount).partition(":")[0]
            assert source in volumes or (DEPLOY / source).exists(), (name, source)
        for port in service.get("ports", ()):
            assert ":-127.0.0.1:" in port, (name, port)
    build = compose["services"]["presence-ledger"]["build"]
    assert (DEPLOY / build["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / build["dockerfile"]).exists()


def test_the_variables_of_compose_are_those_of_the_example(compose: Any) -> None:
    wanted = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yml").read_text(encoding="utf-8")))
    example = (DEPLOY / "env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == wanted
    url = compose["services"]["presence-ledger"]["environment"]["PRESENCE_LEDGER_DATABASE_URL"]
    url = re.sub(r"\$\{[^}]*\}", "secret", url)
    variables = {"PRESENCE_LEDGER_DATABASE_URL": url}
    assert load(DEPLOY / "settings" / "presence-ledger.toml", variables, DEPLOY).database_url == url


def test_prometheus_of_compose_scrapes_as_the_documents_say(compose: Any) -> None:
    def read(file: Path) -> Any:
        return yaml.safe_load(file.read_text(encoding="utf-8"))

    shipped = read(REPOSITORY / "docs" / "monitoring" / "prometheus" / "prometheus.yml")
    ours = read(DEPLOY / "prometheus.yml")
    [job] = ours["scrape_configs"]
    assert ours.keys() == shipped.keys()
    assert job.keys() == shipped["scrape_configs"][0].keys()
    names = {target.partition(":")[0] for each in job["static_configs"] for target in each["targets"]}
    assert names <= compose["services"].keys()
    [source] = read(DEPLOY / "grafana-datasource.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"


@needs("nginx")
@needs("openssl")
def test_nginx_takes_its_example(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
        "-subj", "/CN=presence.example", "-keyout", key, "-out", certificate,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for ours, theirs in (
        ("/etc/ssl/presence.example/fullchain.pem", str(certificate)),
        ("/etc/ssl/presence.example/privkey.pem", str(key)),
        ("/var/log/nginx/", f"{tmp_path}/"),
    ):
        assert ours in text
        text = text.replace(ours, theirs)
    (tmp_path / "site.conf").write_text(text, encoding="utf-8")
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid;\nerror_log {tmp_path}/error.log;\nevents {{}}\nhttp {{ include {tmp_path}/site.conf; }}\n"
    )
    done = run("nginx", "-t", "-c", tmp_path / "nginx.conf", "-e", tmp_path / "error.log")
    assert done.returncode == 0, done.stderr


def test_the_sbom_has_each_package_of_the_lock_and_is_the_same_each_time() -> None:
    sbom = REPOSITORY / ".ci" / "sbom"
    text = run(sys.executable, sbom).stdout
    assert run(sys.executable, sbom).stdout == text
    found = json.loads(text)
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["metadata"]["component"]["version"] == __version__
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*?\])?==(\S+)", lock, re.MULTILINE)
    assert [(each["name"], each["version"]) for each in found["components"]] == pinned
    hashes = [each for part in found["components"] for each in part["properties"] if each["name"] == "pip:hash"]
    assert len(hashes) == lock.count("--hash=")


def test_a_version_has_notes_or_that_is_said() -> None:
    done = run(sys.executable, REPOSITORY / ".ci" / "release-notes")
    headings = re.findall(r"^## \[(.+?)\]", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert (done.returncode == 0) == (__version__ in headings)
    assert done.stdout or "Unreleased" in done.stderr
