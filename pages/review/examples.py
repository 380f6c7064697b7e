"""Example screens, which Review shows while nothing has been saved."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from dashboard import cache, export, render, waiting
from dashboard.registry import pages
from dashboard.text import plain


@dataclass(frozen=True)
class Example:
    """A screen worth saving.

    Attributes
    ----------
    note
        What somebody might have noted.
    link
        Its address.
    """

    title: str
    note: str
    link: str


EXAMPLES = (
    Example(
        "One class, two maps",
        "Which parts of the panda count for each model? Choose “ice bear” as the class: both maps "
        "should change sides.",
        "/compare?image=panda-and-polar-bear",
    ),
    Example(
        "Egyptian cat rather than tabby",
        "What speaks for one class against a similar one. Is it the same for both models?",
        "/compare?image=chelsea&classes=Egyptian+cat&rather_than=tabby",
    ),
    Example(
        "Without the brightest fifth of its map",
        "Take away what CAM marks, and see what both models answer then.",
        "/evidence?image=panda-and-polar-bear&top_of=0",
    ),
)


def draw() -> None:
    """What this page is for, and examples of it as cards."""
    st.info(
        "No screens have been saved yet. **Save & export** on any other page saves what it shows, "
        "with a title and a note, for all users of this application. Three screens as they could "
        "be saved:",
        icon=":material/collections_bookmark:",
    )
    with st.container(key="gallery"):
        for number, example in enumerate(EXAMPLES):
            with st.container(border=True, key=f"card-example-{number}", gap="small"):
                _card(example)


def _card(example: Example) -> None:
    [wanted] = render.read(example.link)
    with waiting.spinner("Running the models …"):
        thumbnail = cache.results().get(
            ("example", example.link), lambda: export.thumbnail(render.view(wanted))
        )
    st.image(thumbnail, alt=f"Thumbnail of {example.title}")
    st.markdown(f"**{plain(example.title)}**  \n:small[Example]")
    st.caption(plain(example.note, 1000))
    st.page_link(
        pages()[wanted.screen.page].file,
        label="Open this example",
        icon=":material/open_in_new:",
        query_params=wanted.screen.address(),
    )
