"""What the server does beside running pages: a warm start, and a word on how it is.

Everything heavy is imported in a thread, so that the server answers at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dashboard import memory

_log = logging.getLogger(__name__)
_warm = threading.Event()


def _prepare() -> None:
    """Import what pages need, open the embedded pair and explain the first screen."""
    try:
        # Plotly looks for it among what is imported, and must not find it half imported by others.
        import pandas  # noqa: F401

        from dashboard import cache

        cache.warm()
    except Exception:  # the first visitor is told, in a sentence
        _log.warning("the embedded pair could not be prepared", exc_info=True)
    finally:
        _warm.set()


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """Prepare the first screen while the server already answers."""
    memory.keep_little()
    threading.Thread(target=_prepare, name="warm start", daemon=True).start()
    yield


async def health(request: Request) -> Response:
    """Whether the first screen is ready, and how many passes run and wait."""
    busy: dict[str, int] = {}
    if _warm.is_set():
        import core

        busy = core.load()
    return JSONResponse({"status": "ready" if _warm.is_set() else "starting", **busy})


ROUTES = [Route("/healthz", health)]
