"""Tasks of the server beside pages: warm start, health route, shutdown.

Everything heavy is imported in a thread, so that the server answers at once.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from streamlit import config

from dashboard import logs, scratch, startup
from dashboard.messages import Messages, Uploads, allow_models

PATIENCE = 10.0
"""Seconds that the shutdown waits for running computations."""

GRACE = 2.0
"""Seconds for threads to finish after their pass."""

_log = logging.getLogger(__name__)
_warm = threading.Event()


def _prepare() -> None:
    """Import what pages need, open the embedded pair and explain the first screen."""
    try:
        startup.import_charts()
        with startup.importing:
            from dashboard import cache, frame, settings  # noqa: F401  the first visitor's frame
        if settings.brings_models():
            allow_models(settings.most_of_model())
        cache.warm()
    except Exception:  # the first session shows the error in a sentence
        _log.warning("the embedded pair could not be prepared", exc_info=True)
    finally:
        startup.set_aside()
        _warm.set()


def shutdown() -> None:
    """Let no network compute when the interpreter ends: it would end the process with a crash.

    Threads of pages and runs are daemons, which run until they are killed. So runs are stopped,
    all slots for passes are acquired for good, and the threads get a moment to finish.
    """
    from dashboard import jobs

    jobs.stop_all()
    if "core" not in sys.modules or not _warm.wait(PATIENCE):
        return
    import core

    running = threading.enumerate()
    places = core.load()["places"]
    taken = threading.Semaphore(0)
    for _ in range(places):
        threading.Thread(target=_occupy, args=(taken,), name="end", daemon=True).start()
    until = time.monotonic() + PATIENCE
    if not all(taken.acquire(timeout=max(0.0, until - time.monotonic())) for _ in range(places)):
        _log.warning("a pass did not end in time")
    until = time.monotonic() + GRACE
    for thread in running:
        if thread.daemon and thread is not threading.current_thread():
            thread.join(max(0.0, until - time.monotonic()))


def _occupy(taken: threading.Semaphore) -> None:
    """Acquire a slot and keep it."""
    import core

    with suppress(core.BusyError), core.admitted(PATIENCE):
        taken.release()
        threading.Event().wait()


def failed(error: Exception) -> bool:
    """Turn errors before a page starts into a sentence as well."""
    from dashboard import frame

    return frame.failed(error)


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """Prepare the first screen while the server already answers; at the end remove all files."""
    startup.switch_often()
    logs.set_up()
    startup.keep_little()
    tidied = Path(tempfile.gettempdir())
    threading.Thread(
        target=scratch.remove_left, args=(tidied,), name="tidying", daemon=True
    ).start()
    with scratch.own():
        threading.Thread(target=_prepare, name="warm start", daemon=True).start()
        yield
        await asyncio.to_thread(shutdown)
        if "dashboard.application" in sys.modules:  # else nothing was ever shared
            from dashboard import application

            await asyncio.to_thread(application.end)


async def health(request: Request) -> Response:
    """Whether the first screen is ready, and how many passes run and wait."""
    busy: dict[str, int] = {}
    if _warm.is_set():
        import core

        busy = core.load()
    return JSONResponse({"status": "ready" if _warm.is_set() else "starting", **busy})


async def health_below(request: Request) -> Response:
    """The health route below the configured path (``server.baseUrlPath``).

    The path is only known after the server has started, not when routes are created.
    """
    base = (config.get_option("server.baseUrlPath") or "").strip("/")
    if request.path_params["base"].strip("/") != base:
        raise HTTPException(404)
    return await health(request)


ROUTES = [Route("/healthz", health), Route("/{base:path}/healthz", health_below)]
MIDDLEWARE = [Middleware(Messages), Middleware(Uploads)]
