"""Choosing several pictures: samples and one's own by hand, or drawn from the operator's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from core import ImageError, ImageTimeout, draw, samples
from dashboard import cache, controls, session, settings
from dashboard.scene import Picture
from dashboard.text import plain
from dashboard.uploads import OWN

MOST = 8
_FIRST = 4


def choose() -> list[Picture]:
    """Up to eight pictures, as the screen has them."""
    folder = settings.pictures()
    now = session.screen()
    drawn = now.draw is not None and folder is not None
    if now.draw is not None and folder is None:
        session.problem("No folder of pictures to draw from is set up here; draw is ignored.")
    if folder is not None:
        names = {"chosen": "Chosen", "drawn": "Drawn at random"}

        def switch(name: str | None) -> None:
            session.change(draw=0 if name == "drawn" else None)

        st.segmented_control(
            "Pictures",
            list(names),
            required=True,
            format_func=names.__getitem__,
            **session.tied("several-source", "drawn" if drawn else "chosen", switch),
        )
        if drawn:
            return _drawn(folder)
    return _chosen()


def offered_pictures(wanted: Sequence[str] = (), own: Sequence[str] = ()) -> dict[str, Picture]:
    """Samples and own pictures by id, those of ``wanted`` that somebody else brought included.

    Parameters
    ----------
    own
        Ids of the pictures that the visitor brought.
    """
    offered: dict[str, Picture] = {s.id: cache.from_sample(s) for s in samples()}
    for picture_id in dict.fromkeys([*own, *wanted]):
        found = cache.own_picture(picture_id) if picture_id.startswith(OWN) else None
        if found is not None:
            offered[picture_id] = found
    return offered


def _chosen() -> list[Picture]:
    """Samples and own pictures, in one list; what was chosen stays in the address."""
    wanted = session.screen().several
    offered = offered_pictures(wanted, session.current().own)
    for picture_id in wanted:
        if picture_id not in offered:
            gone = (
                "a picture of somebody's own that is not held here any more"
                if picture_id.startswith(OWN)
                else f"the picture {picture_id!r}, which is unknown here"
            )
            session.problem(f"several in the address names {gone}; it is left out.")
    chosen = [picture_id for picture_id in dict.fromkeys(wanted) if picture_id in offered]
    chosen = chosen or list(offered)[:_FIRST]
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    left.multiselect(
        f"Pictures, up to {MOST}",
        list(offered),
        max_selections=MOST,
        format_func=lambda picture_id: offered[picture_id].name,
        filter_mode="contains",
        **session.bound("several", chosen, tuple),
    )
    with right, st.popover("Add your own", icon=":material/add_a_photo:", width="stretch"):
        _upload(chosen)
    return [offered[picture_id] for picture_id in chosen]


def _upload(chosen: list[str]) -> None:
    """Take files; what was read goes into the list, and the box is empty again."""

    def take(files: Any) -> None:
        added = []
        for file in files or []:
            data = file.getvalue()
            try:
                picture = cache.from_bytes(data, file.name)
            except ImageTimeout as error:  # the others would be waited for as long
                session.say(str(error))
                break
            except ImageError as error:
                session.say(str(error))
                continue
            cache.own_pictures().put(file.name, data)
            session.remember_own(picture.id)
            added.append(picture.id)
        every = list(dict.fromkeys([*chosen, *added]))
        if len(every) > MOST:
            session.say(f"Up to {MOST} pictures are shown at a time; the newest replace the first.")
        session.change(several=tuple(every[-MOST:]))

    st.file_uploader(
        "Pictures to add",
        accept_multiple_files=True,
        type=["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"],
        max_upload_size=20,
        **session.tied(f"several-upload-{len(session.current().own)}", None, take, seed=False),
    )


def _drawn(folder: Path) -> list[Picture]:
    """Pictures drawn with a seed; each is captioned with its category."""
    left, right, _ = st.columns([2, 1, 3])
    with left:
        count = int(controls.slider("drawn", "How many", 1, MOST, 1))
    with right:
        seed = controls.number("draw", "Seed", 0, 2**31 - 1)
    found = []
    for file in draw(folder, count, seed):
        try:
            data = file.path.read_bytes()
            found.append(cache.from_bytes(data, file.title, trusted=True))
            cache.own_pictures().put(file.title, data)  # it may be saved or exported
        except (ImageError, OSError) as error:
            st.warning(plain(str(error)), icon=":material/broken_image:")
    return found
