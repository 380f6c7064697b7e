"""Opening a database: durable, shared by several processes, upgraded under a lock."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

MIGRATIONS = Path(__file__).with_name("migrations")
PATIENCE = 30
"""Seconds that a writer to a file waits for another."""

CONNECTING, ANSWERING = 3, 5
"""Seconds for connecting to a server, and for one statement, including the wait for its locks."""

GRACE = 2.0
"""Seconds after `ANSWERING` for the server to report a timeout; then the connection is closed."""

UPDATING = 600
"""Seconds for one statement that changes the tables."""

LOCK = 7_401_911
"""Number of the lock under which PostgreSQL changes the tables; an arbitrary number."""


class Moved(SQLAlchemyError):
    """The file of a database was moved since it was opened."""


class Newer(SQLAlchemyError):
    """A newer version of this program has changed the tables."""


def opened(address: str) -> Engine:
    """An engine for a SQLAlchemy URL; the folder of a local file is created.

    SQLite uses a write-ahead log and syncs each commit, so that saved data survives a crash of the
    process or the machine. Writing transactions are marked at their start (`writing`), so that two
    of them wait for each other instead of failing. A server that does not respond is waited for a
    few seconds only.
    """
    url = make_url(address)
    if url.get_backend_name() == "sqlite":
        return _sqlite(url)
    if url.get_backend_name() == "postgresql":
        return _postgresql(url)
    return create_engine(url, pool_pre_ping=True, pool_timeout=ANSWERING)


def writing(engine: Engine) -> Engine:
    """The same engine for writing transactions."""
    return engine.execution_options(parallax_writes=True)


def _sqlite(url: URL) -> Engine:
    named = url.database or ":memory:"
    file = None if named == ":memory:" or named.startswith("file:") else Path(named).absolute()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": PATIENCE})
    known: list[tuple[int, int]] = []
    """Device and number of the file, from the first connection on."""

    def check() -> None:
        """Raise `Moved` if the file was moved or deleted: a connection would keep writing to it,
        and a new one would create an empty file in its place."""
        if file is not None and known and _identity(file) != known[0]:
            raise Moved

    @event.listens_for(engine, "do_connect")
    def connecting(dialect: Any, record: Any, arguments: Any, options: Any) -> None:
        check()

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # BEGIN is sent below, also before changes of tables
        pragmas = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON")
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
        if file is not None and not known and (found := _identity(file)) is not None:
            known.append(found)

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        check()
        writes = connection.get_execution_options().get("parallax_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _postgresql(url: URL) -> Engine:
    libpq = url.get_driver_name() in ("psycopg", "psycopg2")
    arguments = {"connect_timeout": CONNECTING} if libpq else {}
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_timeout=ANSWERING,
        connect_args={k: v for k, v in arguments.items() if k not in url.query},
    )
    if url.get_driver_name() == "psycopg":

        @event.listens_for(engine, "do_connect")
        def connecting(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
            from dashboard.store.hanging_up import Impatient

            return Impatient.connect(*arguments, **options)

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        # For this transaction only, as a connection pooler may reuse the connection for others.
        # UTC, as a time in the year 9999 is in the year 10,000 in other zones.
        updates = connection.get_execution_options().get("parallax_updates")
        seconds = UPDATING if updates else ANSWERING
        dbapi: Any = connection.connection.dbapi_connection
        if hasattr(dbapi, "limit"):
            dbapi.limit = seconds + GRACE
        connection.exec_driver_sql(
            f"SET LOCAL statement_timeout = '{seconds}s'; SET LOCAL TIME ZONE 'UTC'"
        )

    return engine


def bring_up_to_date(engine: Engine) -> None:
    """Create or upgrade the tables in one transaction; concurrent calls wait for it.

    Raises
    ------
    Newer
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    steps = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found == steps.get_current_head():
        return
    if found is not None and found not in {step.revision for step in steps.walk_revisions()}:
        raise Newer
    updating = writing(engine).execution_options(parallax_updates=True)
    with updating.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
