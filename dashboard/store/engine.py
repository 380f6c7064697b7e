"""Opening a database: durable, shared by several processes, brought up to date under a lock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL

MIGRATIONS = Path(__file__).with_name("migrations")
PATIENCE = 30
"""Seconds that a writer waits for another."""

LOCK = 7_401_911
"""Number of the lock under which PostgreSQL changes the tables; any number of our own."""


def opened(address: str) -> Engine:
    """An engine for an address of SQLAlchemy; the folder of a local file is made.

    SQLite writes ahead and waits for the disk at each commit, so that neither the end of a
    process nor of the machine loses what was saved. Transactions that write say so when they
    begin (`writing`), so that two of them wait for each other instead of failing.
    """
    url = make_url(address)
    if url.get_backend_name() == "sqlite":
        return _sqlite(url)
    return create_engine(url, pool_pre_ping=True)


def writing(engine: Engine) -> Engine:
    """The same engine for transactions that write."""
    return engine.execution_options(parallax_writes=True)


def _sqlite(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": PATIENCE})

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # BEGIN is sent below, also before changes of tables
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        writes = connection.get_execution_options().get("parallax_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def bring_up_to_date(engine: Engine) -> None:
    """Make or change the tables in one transaction; who comes second waits and finds them made."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with writing(engine).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
