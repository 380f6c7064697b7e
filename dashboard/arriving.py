"""Models that a reader wants and that are still on their way.

A page never waits for one: it goes on with what was shown before, and the picker says so. When the
model is there, it is put in.
"""

from __future__ import annotations

import streamlit as st

import core
from dashboard import cache, screen, settings
from dashboard.text import plain

FAMILIES = ("cnn", "vit")


def settle() -> None:
    """Put back to what can be shown what is still to be fetched; called once a run, first."""
    if settings.locked():
        return  # the pickers refuse what is not embedded
    for family in FAMILIES:
        chosen = getattr(screen.current(), family)
        if screen.kept(f"wanted-{family}") and chosen != screen.kept(f"shown-{family}"):
            forget(family)  # another was chosen in the meantime
        spec = next((s for s in core.catalog() if (s.id, s.family) == (chosen, family)), None)
        if spec is None or spec.source in ("embedded", "local") or spec.available:
            continue
        screen.change(**{family: before(family, chosen)})
        screen.keep(f"shown-{family}", getattr(screen.current(), family))
        if reason := cache.refusal(chosen):
            screen.problem(_instead(family, reason))
        else:
            cache.wishes().begin(chosen)
            screen.keep(f"wanted-{family}", chosen)


def before(family: str, chosen: str) -> str:
    """The model that was shown before this one was chosen; the embedded one at first."""
    shown = screen.kept(f"shown-{family}")
    embedded = next(spec.id for spec in core.catalog() if spec.family == family)
    return shown if shown not in (None, chosen) else embedded


def forget(family: str) -> None:
    """Want no other model any more."""
    if wanted := screen.kept(f"wanted-{family}"):
        cache.wishes().leave(wanted, screen.session())
        screen.keep(f"wanted-{family}", None)


def show() -> None:
    """How far they are, each with a way to give up."""
    if any(screen.kept(f"wanted-{family}") for family in FAMILIES):
        _progress()


@st.fragment(run_every=1)
def _progress() -> None:
    for family in FAMILIES:
        wanted = screen.kept(f"wanted-{family}")
        if not wanted:
            continue
        download = cache.wishes().ask(wanted, screen.session())
        if download.state == "done":
            cache.look_again()
            screen.keep(f"wanted-{family}", None)
            screen.change(**{family: wanted})
            screen.again()
        elif download.state in ("failed", "canceled"):
            screen.keep(f"wanted-{family}", None)
            if download.error:
                cache.failed(download)
                screen.say(_instead(family, download.error))
            screen.again()
        title = plain(core.find_spec(wanted).title)
        done, total = core.size_text(download.done), download.total
        text = f"{title}: {done} of {core.size_text(total)}" if total else f"{title}: asking for it"
        st.progress(min(1.0, download.done / total) if total else 0.0, text=text)
        st.button(
            "Cancel",
            key=f"cancel-{family}",
            help="The page stays with the model that is shown.",
            on_click=forget,
            args=(family,),
        )


def _instead(family: str, reason: str) -> str:
    shown = core.find_spec(screen.kept(f"shown-{family}")).title
    return f"{reason} Shown instead: {shown}. It can be tried again after three minutes."
