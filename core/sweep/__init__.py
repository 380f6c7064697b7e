"""Many pictures through both models, kept as Parquet.

``python -m core.sweep PICTURES --out FOLDER`` and `run` do the same. What is kept is listed in
`core.sweep.schema`, where pictures may come from in `core.sweep.pictures`, which class a label
means in `core.sweep.classes`.
"""

from core.paths import SWEEPS
from core.sweep.classes import read_exceptions
from core.sweep.plan import FITS, Plan
from core.sweep.run import run
from core.sweep.schema import pairs, schema
from core.sweep.store import Sweep, find_sweeps, list_sweeps, open_sweep

__all__ = [
    "FITS",
    "Plan",
    "SWEEPS",
    "Sweep",
    "find_sweeps",
    "list_sweeps",
    "open_sweep",
    "pairs",
    "read_exceptions",
    "run",
    "schema",
]
