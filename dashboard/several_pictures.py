"""The pictures offered where a page shows several. Independent of Streamlit."""

from __future__ import annotations

from collections.abc import Sequence

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
