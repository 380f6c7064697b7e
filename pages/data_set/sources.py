"""The chosen sweep and its progress. Independent of Streamlit."""

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
"""Name in the address of the sweep shipped with the application."""

OWN = "own-"
"""Prefix of names of users' sweeps."""


@dataclass(frozen=True, eq=False)
class Source:
    """The chosen sweep, and those offered.

    Attributes
    ----------
    name
        Name in the address.
    offered, others : mapping
        Titles by name; the session's own sweeps are listed between them.
    folder
        Its folder; ``None`` if it cannot be opened.
    run
        The run that makes it, if made by this application.
    making
        Whether this session waits for its end.
    warning
        Why it cannot be opened, or ended early; empty otherwise.
    """

    name: str
    offered: Mapping[str, str]
    others: Mapping[str, str]
    folder: Path | None = None
    run: Run | None = None
    making: bool = False
    warning: str = ""


def chosen(asked: Options, tell: Tell) -> Source:
    """The requested sweep; that of the samples is started if necessary."""
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
