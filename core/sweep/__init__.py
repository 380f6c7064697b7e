"""Many pictures through any number of models, kept as Parquet.

``python -m core.sweep PICTURES --out FOLDER`` and `run` do the same. What is kept is listed in
`core.sweep.schema`, where pictures may come from in `core.sweep.pictures`, which class a label
means in `core.sweep.classes`.
"""

from core.paths import SWEEPS
from core.sweep.classes import read_exceptions
from core.sweep.plan import FITS, MOST_MODELS, Plan
from core.sweep.run import run
from core.sweep.schema import NUMBERED, light_schemas, schemas
from core.sweep.store import MapOf, Stored, Sweep, find_sweeps, list_sweeps, open_sweep

__all__ = [
    "FITS",
    "MOST_MODELS",
    "MapOf",
    "NUMBERED",
    "Plan",
    "SWEEPS",
    "Stored",
    "Sweep",
    "find_sweeps",
    "light_schemas",
    "list_sweeps",
    "open_sweep",
    "read_exceptions",
    "run",
    "schemas",
]
