"""Runs of a sweep, from the start or from an interruption to the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from core.errors import SweepError
from core.models import Model
from core.sweep import local_engine
from core.sweep.plan import Plan
from core.sweep.store import CHUNK, Sweep, as_begun, begin, writing
from core.sweep.work import Chunk, Tables, Work

Engine = Literal["here", "ray"]


def run(
    plan: Plan,
    out: str | Path,
    *,
    engine: Engine = "here",
    address: str | None = None,
    chunk: int = CHUNK,
    models: Sequence[Model] | None = None,
    strange: bool = False,
    on_progress: Callable[[int, int], bool | None] | None = None,
    command: str = "core.sweep.run",
) -> Sweep:
    """Process every picture of a plan that has no row yet.

    Parameters
    ----------
    plan
        The plan.
    out
        Folder of the sweep; an interrupted sweep of the same plan there is continued.
    engine
        ``"here"``: in this process. ``"ray"``: with Ray Data, see `core.sweep.cluster`.
    address
        Address of a Ray cluster; by default one is started on this machine and ended afterwards.
    chunk
        Pictures per part: the largest loss if the process is killed.
    models
        The opened models of the plan, in its order, if available; not sent to other
        processes.
    strange
        Whether the pictures are untrusted: each is decoded in a process of limited memory
        and time, which takes longer; for the engine ``"here"``.
    on_progress
        Called with the numbers of finished and all pictures, first at the start; ``False`` stops.
    command
        Command recorded in the manifest.

    Raises
    ------
    SweepError
        The folder has other content, another run writes there, writing fails, or the engine
        is unknown or not installed.
    ParallaxError
        A model, a map or the pictures are not available, or the watcher (`core.watching`) stopped
        it; finished parts are kept.
    """
    if chunk < 1:
        raise SweepError(f"The number of pictures per part is {chunk}; choose at least 1.")
    if address and engine != "ray":
        raise SweepError(f"The engine {engine!r} accepts no address; choose the engine ray.")
    if strange and engine != "here":
        raise SweepError(f"The engine {engine!r} accepts no untrusted pictures; choose here.")
    plan = as_begun(plan, Path(out))
    work = Work(plan, models, strange) if models else Work.open(plan, strange)
    start: Callable[[Iterable[Chunk]], Iterator[tuple[int, Tables]]]
    if engine == "here":
        start = lambda chunks: local_engine.run(work, chunks)  # noqa: E731
    elif engine == "ray":
        from core.sweep import cluster

        start = lambda chunks: cluster.run(plan, chunks, address)  # noqa: E731
    else:
        raise SweepError(f"The engine {engine!r} is unknown; choose here or ray.")
    with writing(Path(out)):
        sweep = begin(plan, Path(out), work.asked, work.models, chunk, command)
        done = sweep.done
        goes_on = on_progress is None or on_progress(done, sweep.total) is not False
        if goes_on and not sweep.finished:
            for number, tables in start(sweep.chunks()):
                sweep.write(number, tables)
                done += len(tables["pictures"])
                if on_progress is not None and on_progress(done, sweep.total) is False:
                    break
        if sweep.written:
            sweep.collect()
    return sweep
