"""A connection to PostgreSQL that closes if the server stops responding.

The server's own limits end a statement that takes too long or waits for a lock. They do not help if
the server itself hangs or the network drops packets. Imported only if psycopg is installed.
"""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Any

import psycopg


class Impatient(psycopg.Connection[Any]):
    """A connection that waits for every response at most ``limit`` seconds, then closes."""

    limit: float = 7.0

    def wait(self, gen: Any, *given: Any, **options: Any) -> Any:
        """As in psycopg, which wakes up ten times a second even without data.

        Raises
        ------
        psycopg.OperationalError
            No data arrived in time.
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
