"""Which sweep is looked at, and how far it is. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import core
from core import sweep
from dashboard import cache, presence, settings
from dashboard.choices import Tell
from dashboard.sweeping import SAMPLES, Run
from pages.data_set.options import Options

DEMONSTRATION = "demonstration"
"""What the address calls the sweep that comes with the application."""

OWN = "own-"
"""How names of sweeps begin that visitors make."""


@dataclass(frozen=True, eq=False)
class Source:
    """The sweep that is chosen, among those that are offered.

    Attributes
    ----------
    name
        What the address calls it.
    offered, others : mapping
        Titles by name; what a session made itself stands between them.
    folder
        Where it is; ``None`` where it cannot be opened.
    run
        What makes it, where that is this application.
    making
        Whether this reader waits for its end.
    warning
        Why it cannot be opened, or ended before its time; empty otherwise.
    """

    name: str
    offered: Mapping[str, str]
    others: Mapping[str, str]
    folder: Path | None = None
    run: Run | None = None
    making: bool = False
    warning: str = ""


def chosen(asked: Options, tell: Tell) -> Source:
    """The sweep that is asked for; that of the samples is begun if need be."""
    folder = settings.sweeps()
    found, broken = sweep.list_sweeps(folder) if folder else ([], {})
    stored = {one.folder.name: one for one in [*found, *sweep.find_sweeps(sweep.SWEEPS)]}
    made = cache.made_sweeps()
    offered = {name: f"{name} · {one.total:,} pictures" for name, one in stored.items()}
    if DEMONSTRATION in offered:
        total = stored[DEMONSTRATION].total
        offered[DEMONSTRATION] = f"Demonstration: {total:,} photographs that come with Parallax"
    wanted = asked.sweep
    if wanted and wanted.startswith(OWN) and (own := made.get(wanted)) is not None:
        offered[wanted] = own.title
    others = {SAMPLES: "Samples, and pairs of them side by side"}
    others |= {name: f"{name} · cannot be opened" for name in broken if name not in offered}
    titles = {**offered, **others}
    first = next(iter(titles))
    if wanted is not None and wanted not in titles:
        tell(f"There is no sweep {wanted!r} here (any more); shown instead: {first}.")
    name = wanted if wanted in titles else first
    if name in stored:
        return Source(name, offered, others, stored[name].folder)
    reader = presence.reader()
    run = (
        made.samples(tuple(map(cache.model, core.default_models())), reader)
        if name == SAMPLES
        else made.get(name, reader)
    )
    if run is None:
        warning = broken.get(name, "It is no longer held here.")
        return Source(name, offered, others, warning=warning)
    making = not run.ended and run.readers.looks(reader)
    return Source(name, offered, others, run.folder, run, making, run.problem)
