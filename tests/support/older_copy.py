"""A database put back to an earlier copy of itself under all who use it, as a fail-over to a late standby does."""

from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.support.pg import with_database


class OlderCopy:
    """`keep` copies the database as it is now, `go_back` puts the copy in its place; sessions are ended by both."""

    def __init__(self, url: str) -> None:
        self._admin = with_database(url, "postgres")
        self._name = urlsplit(url).path.lstrip("/")
        self._copy, self._lost = f"{self._name}_copy", f"{self._name}_lost"

    def keep(self) -> None:
        """From now on, what is committed can be lost."""
        self._alone("CREATE DATABASE {copy} TEMPLATE {name} STRATEGY FILE_COPY")

    def go_back(self) -> None:
        """Lose it."""
        self._alone("ALTER DATABASE {name} RENAME TO {lost}", "ALTER DATABASE {copy} RENAME TO {name}")

    def drop(self) -> None:
        """Remove what is left of either."""
        with psycopg.connect(self._admin, autocommit=True) as connection:
            for name in (self._copy, self._lost):
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _alone(self, *statements: str) -> None:
        names = {each: sql.Identifier(getattr(self, f"_{each}")) for each in ("name", "copy", "lost")}
        with psycopg.connect(self._admin, autocommit=True) as connection:
            self._allow(connection, allowed=False)
            try:
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", (self._name,)
                )
                for statement in statements:
                    connection.execute(sql.SQL(statement).format(**names))
            finally:
                self._allow(connection, allowed=True)

    def _allow(self, connection: psycopg.Connection, *, allowed: bool) -> None:
        connection.execute(
            sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}").format(
                sql.Identifier(self._name), sql.Literal(allowed)
            )
        )
