"""The only place with Streamlit caches: wraps core, keys every picture by its digest.

All that is large is shared by all sessions and held by one `Memo`, within what the operator allows:
recordings, maps, measurements, pictures, views, and models beside the embedded pair. Streamlit's
own caches hold what is small; arguments that begin with an underscore are no part of their key.
"""

from dashboard.cache.held import (
    results,
)
from dashboard.cache.models import (
    Wishes,
    model,
    ready,
    refusal,
    refuse,
    wishes,
)
from dashboard.cache.passes import (
    Frame,
    Mask,
    Params,
    Summary,
    artifacts,
    attention,
    explain,
    features,
    frames,
    keeping_graph,
    key_of,
    recording,
    settle,
    summary,
    view,
    warm,
)
from dashboard.cache.pictures import (
    OwnPictures,
    from_bytes,
    from_sample,
    own_picture,
    own_pictures,
    sample,
    store,
    thumbnail,
    thumbnail_of,
)
from dashboard.cache.sweeps import (
    answered,
    made_sweeps,
    original,
    pictured,
    rows,
)

__all__ = [
    "Frame",
    "Mask",
    "OwnPictures",
    "Params",
    "Summary",
    "Wishes",
    "answered",
    "artifacts",
    "attention",
    "explain",
    "features",
    "frames",
    "from_bytes",
    "from_sample",
    "keeping_graph",
    "key_of",
    "made_sweeps",
    "model",
    "original",
    "own_picture",
    "own_pictures",
    "pictured",
    "ready",
    "recording",
    "refusal",
    "refuse",
    "results",
    "rows",
    "sample",
    "settle",
    "store",
    "summary",
    "thumbnail",
    "thumbnail_of",
    "view",
    "warm",
    "wishes",
]
