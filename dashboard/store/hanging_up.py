"""A connection to PostgreSQL that hangs up on a server which has stopped answering.

The server's own limits end a statement that takes too long or waits for a lock. They do not help
where the server itself stands still, or the network swallows what is sent. Imported only where
psycopg is there.
"""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Any

import psycopg


class Impatient(psycopg.Connection[Any]):
    """Every answer is waited for at most ``limit`` seconds; then the connection is closed."""

    limit: float = 7.0

    def wait(self, gen: Any, *given: Any, **options: Any) -> Any:
        """As psycopg has it; psycopg looks up ten times a second, also if nothing has come.

        Raises
        ------
        psycopg.OperationalError
            Nothing came in time.
        """
        return super().wait(self._watched(gen), *given, **options)

    def _watched(self, gen: Any) -> Generator[Any, Any, Any]:
        until = monotonic() + self.limit
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and monotonic() > until:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("the server has stopped answering")
                wanted = gen.send(ready)
        except StopIteration as ended:
            return ended.value
