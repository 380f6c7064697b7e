"""Databases for tests: a file of SQLite, and Debian's PostgreSQL on the loopback address."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.serving import free_port

SERVERS = "/usr/lib/postgresql"
"""Where Debian puts PostgreSQL, a folder for each version."""


def postgresql_programs() -> Path | None:
    """The folder of the newest server that is installed."""
    found = sorted(Path(SERVERS).glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def postgresql(programs: Path) -> Iterator[str]:
    """Start a server with an empty database; yields SQLAlchemy's address and ends it afterwards.

    The server refuses to run for root, so there it runs for the user that Debian made for it.
    """
    folder = Path(tempfile.mkdtemp(prefix="parallax-postgresql-"))
    port = free_port()
    account: dict[str, str] = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        account = {"user": "postgres", "group": "postgres"}

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, "-D", str(folder / "data"), *arguments],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            **account,  # type: ignore[call-overload]
        )

    try:
        run("initdb", "-U", "parallax", "-A", "trust", "-E", "UTF8", "--no-sync")
        listening = f"-h 127.0.0.1 -p {port} -c unix_socket_directories= -c fsync=off"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", listening, "start")
        try:
            yield f"postgresql+psycopg://parallax@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
