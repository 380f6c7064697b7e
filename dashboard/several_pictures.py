"""Pictures that can be chosen where a page shows several. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Sequence

from core import samples
from dashboard import cache
from dashboard.scene import Picture
from dashboard.uploads import OWN


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
