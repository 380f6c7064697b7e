"""The pictures offered where a page shows several. Independent of Streamlit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core import samples
from dashboard import cache
from dashboard.scene import Picture
from dashboard.uploads import OWN


def offered_pictures(wanted: Sequence[str] = (), own: Sequence[str] = ()) -> dict[str, Picture]:
    """Samples and uploaded pictures by id, including those of ``wanted`` from other sessions.

    Parameters
    ----------
    own
        Ids of the session's uploaded pictures.
    """
    offered: dict[str, Picture] = {s.id: cache.from_sample(s) for s in samples()}
    for picture_id in dict.fromkeys([*own, *wanted]):
        found = cache.own_picture(picture_id) if picture_id.startswith(OWN) else None
        if found is not None:
            offered[picture_id] = found
    return offered


def named_pictures(
    field: str, wanted: Sequence[str], problem: Callable[[str], None]
) -> dict[str, Picture]:
    """Those of ``wanted`` that are held, once each; a sentence for each of the others.

    Parameters
    ----------
    field
        Key of the address that names them.
    problem
        Called with each sentence.
    """
    offered = offered_pictures(wanted)
    for picture_id in wanted:
        if picture_id not in offered:
            gone = (
                "an uploaded picture that is no longer held here"
                if picture_id.startswith(OWN)
                else f"the picture {picture_id!r}, which is unknown here"
            )
            problem(f"{field} in the address names {gone}; it is left out.")
    return {picture_id: offered[picture_id] for picture_id in wanted if picture_id in offered}
