"""PostgreSQL as people run it: settings of every session, missing rights, commits that fail, poolers, clocks."""

import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from bench import _service
from bench._pooler import pooled
from bench._service import Service
from bench.outside._cases import Chapter, Trial
from bench.outside._databases import WAIT_SECONDS, cluster, halted, post, ready, refused, run, seconds_until, served
from bench.outside._product import ENOUGH_SECONDS, ask, log_of, told, until
from ledger.simulator.ports import free_port
from ledger.store import postmaster
from ledger.store.embedded import EmbeddedPostgres

CHAPTER = Chapter()

HOSTILE: Mapping[str, str] = {
    "client_encoding": "LATIN1",
    "DateStyle": "German",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Shanghai",
    "default_transaction_isolation": "serializable",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "lock_timeout": "1",
    "statement_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "synchronous_commit": "off",
    "search_path": "",
}


def _refuses_in_time(service: Service, number: int) -> float:
    status, seconds = post(service, f"no-0-1-{number}-1-1")
    assert status == 503, f"answered {status}"
    assert seconds < ENOUGH_SECONDS, f"answered after {seconds:.1f} s"
    return seconds


@CHAPTER.case(
    "4a", "503 in time, counted, not ready, and back by itself: a database set read-only, then a table locked"
)
def a_commit_that_fails(trial: Trial) -> str:
    with cluster().database() as name, served(trial.folder, name) as service:
        assert post(service, "u-0-1-1-1-1")[0] == 200
        cluster().execute("ALTER DATABASE {} SET default_transaction_read_only = on", name)
        cluster().end_sessions(name)
        longest = max(_refuses_in_time(service, number) for number in range(1, trial.pick(12, 4)))
        until(lambda: ready(service)[0] == 503 and "read-only" in ready(service)[1]["detail"], "not ready")
        cluster().execute("ALTER DATABASE {} RESET default_transaction_read_only", name)
        cluster().end_sessions(name)
        back = seconds_until("ready again, without a webhook", lambda: ready(service)[0] == 200)
        assert post(service, "u-0-1-2-1-1")[0] == 200
        with psycopg.connect(cluster().of(name)) as other:
            other.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
            longest = max(longest, *(_refuses_in_time(service, number) for number in range(20, 22)))
        until(lambda: post(service, "u-0-1-3-1-1")[0] == 200, "taken again")
        if not trial.short:
            with halted():
                longest = max(longest, *(_refuses_in_time(service, number) for number in range(30, 33)))
            until(lambda: post(service, "u-0-1-4-1-1")[0] == 200, "taken again")
        metrics = ask(service, "GET", "/metrics").body.decode()
        counted = re.search(r'deliveries_total{node="n1",outcome="store_unavailable",source="main"} [1-9]', metrics)
        assert counted is not None, "not counted"
    return (
        f"503 after {longest:.1f} s at most ({WAIT_SECONDS:g} s set), not ready meanwhile, ready again in {back:.1f} s"
    )


@CHAPTER.case("4b", "no answered item is lost where synchronous_commit is off and the server is killed", in_short=False)
def not_synchronous(trial: Trial) -> str:
    postgres = EmbeddedPostgres(trial.folder / "own", {"synchronous_commit": "off"})
    url = postgres.start()
    try:
        with _service.running(trial.folder / "service", url) as service:
            until(lambda: ready(service)[0] == 200, "ready")
            taken = []
            for round_ in range(trial.pick(5, 1)):
                for number in range(1, 4):
                    item = f"u{round_}-0-1-{number}-1-1"
                    if post(service, item)[0] == 200:
                        taken.append(item)
                for process in list(postmaster.members(postgres.cluster)):
                    with suppress(psycopg.Error, ProcessLookupError):
                        process.kill()
                postgres.start()
                until(lambda: ready(service)[0] == 200, "ready")
            found = ask(service, "GET", "/v1/ledger/events?limit=10000").body.decode()
        lost = [item for item in taken if item not in found]
        assert not lost, f"{len(lost)} of {len(taken)} lost"
        return f"{len(taken)} answered, none lost"
    finally:
        postgres.stop("immediate")


@CHAPTER.case("4c", "databases of another encoding are refused before anything is written", in_short=False)
def other_encodings(trial: Trial) -> str:
    def tried(encoding: str) -> str:
        with cluster().database(f"ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C'") as name:
            folder = trial.folder / encoding
            folder.mkdir()
            refused(folder, cluster().of(name), f"has the encoding {encoding}", "ENCODING 'UTF8'")
            with psycopg.connect(cluster().of(name), client_encoding="UTF8") as connection:
                row = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
            assert row == (0,), "tables were made"
        return encoding

    with ThreadPoolExecutor(3) as at_once:
        return f"refused: {', '.join(at_once.map(tried, ('SQL_ASCII', 'LATIN1', 'EUC_CN')))}"


@CHAPTER.case(
    "4d", "settings of the database, the role and the environment change nothing: every post 200, names whole"
)
def hostile_settings(trial: Trial) -> str:
    environment = {"PGCLIENTENCODING": "GBK", "PGDATESTYLE": "SQL, DMY", "PGOPTIONS": "-c statement_timeout=1"}
    role = str(conninfo_to_dict(cluster().url)["user"])
    with cluster().database(settings=HOSTILE) as name:
        for setting, value in HOSTILE.items():
            cluster().execute(f"ALTER ROLE {{}} IN DATABASE {{}} SET {{}} = '{value}'", role, name, setting)
        posts = trial.pick(160, 40)
        with served(trial.folder, name, **environment) as service, ThreadPoolExecutor(16) as senders:

            def send(number: int) -> int:
                return post(service, f"zoë{number % 5}-0-1-{number}-1-1", number % 4)[0]

            answered = list(senders.map(send, range(1, posts + 1)))
            assert set(answered) == {200}, f"{sum(each != 200 for each in answered)} of {posts} not 200"
            shown = told(service, "GET", f"/v1/users/{quote('zoë1')}/presence")
            assert (shown["uid"], shown["status"]) == ("zoë1", "online"), shown
    return f"{posts} posts answered 200; zoë is zoë"


@CHAPTER.case("4f", "several hosts in the URL: the one that answers is used", in_short=False)
def several_hosts(trial: Trial) -> str:
    with cluster().database() as name:
        url = cluster().of(name).replace("host=", f"host={quote(str(trial.folder / 'nobody'), safe='')},")
        code, said = run(trial.folder, "migrate", url=url)
        assert code == 0, said
        code, said = run(trial.folder, "config", url="postgresql://u:hush@h1:5432,h2:5433/db")
        assert (code, "@h1:5432,h2:5433/db" in said) == (0, True), said
    return "migrated at the second host; h1:5432,h2:5433 is a URL"


@CHAPTER.case("4g", "no password is shown, wherever a URL has it, and nothing of a URL that cannot be read")
def passwords(trial: Trial) -> str:
    urls = (
        "postgresql://u:1234#hush@127.0.0.1:1/d",
        "postgresql://u:1234?hush@127.0.0.1:1/d",
        "postgresql://u@127.0.0.1:1/d?pass%77ord=hush",
        "postgresql://u:word@hush@127.0.0.1/d",
        "postgresql://u:12/hush@127.0.0.1/d",
        "postgres:/u:hush@127.0.0.1",
    )

    def tried(url: str) -> str:
        commands = ("config",) if trial.short else ("config", "migrate")
        return "".join(run(trial.folder, command, url=url)[1] for command in commands)

    with ThreadPoolExecutor(3) as at_once:
        for url, said in zip(urls, at_once.map(tried, urls), strict=True):
            assert said, url
            assert "hush" not in said, said
            assert "1234" not in said, said
    return f"{len(urls)} URLs, no password"


@CHAPTER.case("4h", "a pooler in transaction mode is refused at the start, in words")
def transaction_pooling(trial: Trial) -> str:
    with cluster().database() as name, pooled(cluster().of(name), by_transaction=True) as url:
        said = refused(trial.folder, url, "pool_mode = transaction", "pool_mode = session")
    if shutil.which("pgbouncer"):
        return f"{said[:60]}… (PgBouncer itself is alongside its likeness)"
    return f"{said[:60]}…"


@CHAPTER.case("4i", "too few connections: refused at the start; not ready where they become too few", in_short=False)
def few_connections(trial: Trial) -> str:
    with cluster().database() as name:
        cluster().execute("ALTER DATABASE {} CONNECTION LIMIT 3", name)
        refused(trial.folder, cluster().of(name), "3 connections are allowed", "needs 6")
        cluster().execute("ALTER DATABASE {} CONNECTION LIMIT -1", name)
        with served(trial.folder, name) as service:
            cluster().execute("ALTER DATABASE {} CONNECTION LIMIT 1", name)
            cluster().end_sessions(name, "presence-ledger leader")
            until(lambda: ready(service)[0] == 503, "not ready")
            _, said = ready(service)
            cluster().execute("ALTER DATABASE {} CONNECTION LIMIT -1", name)
            until(lambda: ready(service)[0] == 200, "ready again")
    return f"refused with 3; with fewer while it runs: {said['detail']}"


@CHAPTER.case("4j", "read-only, no CREATE, a wrong password, no such database: each in its own words, at once")
def unfit(trial: Trial) -> str:
    with cluster().database() as read_only, cluster().database() as owned:
        cluster().execute("ALTER DATABASE {} SET default_transaction_read_only = on", read_only)
        cluster().execute("REVOKE CREATE ON SCHEMA public FROM pg_database_owner, PUBLIC", database=owned)
        password = str(conninfo_to_dict(cluster().url)["password"])
        wanted = (
            (cluster().of(read_only), "is read-only"),
            (cluster().of(owned), "may not make tables"),
            (cluster().of("postgres").replace(password, "x" * 9), "does not accept this user with this password"),
            (cluster().of("no_such_database"), "has no such database"),
        )

        def tried(number: int) -> str:
            folder = trial.folder / str(number)
            folder.mkdir()
            return refused(folder, *wanted[number])

        with ThreadPoolExecutor(2) as at_once:
            list(at_once.map(tried, range(len(wanted))))
    return "; ".join(says for _, says in wanted)


@CHAPTER.case("4j", "at a start a database that refuses connections is waited for", in_short=False)
def waited_for(trial: Trial) -> str:
    port = free_port()
    with cluster().database() as name:
        found = conninfo_to_dict(cluster().of(name))
        url = f"postgresql://{found['user']}:{found['password']}@127.0.0.1:{port}/{name}"
        service = Service(trial.folder / "service", url)
        service.spawn()
        try:
            until(lambda: "waiting_for_postgresql" in log_of(service), "it waits")
            with pooled(cluster().of(name), by_transaction=False, port=port):
                took = seconds_until("ready", lambda: service.listens() and ready(service)[0] == 200)
                service.stop()
        finally:
            service.kill()
    return f"ready {took:.1f} s after PostgreSQL was"


@CHAPTER.case("4k", "clocks that differ: a warning in the log and in readiness", in_short=False)
def clocks(trial: Trial) -> str:
    with (
        cluster().database() as name,
        served(trial.folder, name, *_service.WITH_EXTRAS, BENCH_CLOCK_SECONDS="3") as service,
    ):
        _, said = ready(service)
        assert "clock_skew" in log_of(service), "nothing in the log"
        assert said["warnings"], said
    return str(said["warnings"][0])
