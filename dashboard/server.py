"""What the server does beside running pages: a warm start, a word on how it is, a quiet end.

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
"""Seconds that the end of the process waits for what is being computed."""

GRACE = 2.0
"""Seconds that threads have to get out of what they did after their pass."""

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
    except Exception:  # the first visitor is told, in a sentence
        _log.warning("the embedded pair could not be prepared", exc_info=True)
    finally:
        startup.set_aside()
        _warm.set()


def shutdown() -> None:
    """Let no network compute when the interpreter ends: it would end the process with a crash.

    Threads of pages and runs are daemons, which go on until they are cut off. So runs are stopped,
    all places for passes are taken for good, and the threads have a moment to get out.
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
    """Take a place and keep it."""
    import core

    with suppress(core.BusyError), core.admitted(PATIENCE):
        taken.release()
        threading.Event().wait()


def failed(error: Exception) -> bool:
    """What Streamlit could not even begin to run becomes a sentence as well."""
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
    """The same below the path that the operator serves everything at (``server.baseUrlPath``).

    Which that is is known when the server has started, and not yet when routes are made.
    """
    base = (config.get_option("server.baseUrlPath") or "").strip("/")
    if request.path_params["base"].strip("/") != base:
        raise HTTPException(404)
    return await health(request)


ROUTES = [Route("/healthz", health), Route("/{base:path}/healthz", health_below)]
MIDDLEWARE = [Middleware(Messages), Middleware(Uploads)]
