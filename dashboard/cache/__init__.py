"""Access of pages to shared results: wraps core, keys every picture by its digest.

All results are held by the `Application` of the process: recordings, maps, measurements, pictures,
views, and models beside the embedded pair by one `Memo`, within the operator's budget.
Streamlit's own cache returns the application and owns nothing.
"""

from dashboard.availability import Wishes
from dashboard.cache.held import (
    results,
    shared,
)
from dashboard.cache.models import (
    failed,
    look_again,
    model,
    ready,
    refusal,
    wishes,
)
from dashboard.cache.passes import (
    Frame,
    Mask,
    Params,
    Summary,
    all_artifacts,
    artifacts,
    attention,
    explain,
    features,
    frames,
    keeping_graph,
    key_of,
    recording,
    seen,
    settle,
    summary,
    view,
    warm,
)
from dashboard.cache.pictures import (
    from_bytes,
    from_sample,
    own_picture,
    own_pictures,
    reading_once,
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
    sweep_table,
)
from dashboard.uploads import OwnPictures

__all__ = [
    "Frame",
    "Mask",
    "OwnPictures",
    "Params",
    "Summary",
    "Wishes",
    "all_artifacts",
    "answered",
    "artifacts",
    "attention",
    "explain",
    "failed",
    "features",
    "frames",
    "from_bytes",
    "from_sample",
    "keeping_graph",
    "key_of",
    "look_again",
    "made_sweeps",
    "model",
    "original",
    "own_picture",
    "own_pictures",
    "pictured",
    "reading_once",
    "ready",
    "recording",
    "refusal",
    "results",
    "sample",
    "seen",
    "settle",
    "shared",
    "store",
    "summary",
    "sweep_table",
    "thumbnail",
    "thumbnail_of",
    "view",
    "warm",
    "wishes",
]
