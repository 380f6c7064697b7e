"""Sweeps: many pictures through several models, stored as Parquet.

``python -m core.sweep PICTURES --out FOLDER`` and `run` do the same. `core.sweep.schema` lists the
stored columns, `core.sweep.pictures` the sources of pictures, `core.sweep.classes` how labels are
matched to classes.
"""

from core.paths import SWEEPS
from core.sweep.classes import read_exceptions
from core.sweep.measures import (
    Answers,
    Difference,
    Interval,
    ModelMeasures,
    SweepMeasures,
    drops,
    measures,
    measures_of,
)
from core.sweep.plan import FITS, MOST_MODELS, Plan
from core.sweep.run import run
from core.sweep.schema import NUMBERED, light_schemas, schemas
from core.sweep.store import MapOf, Stored, Sweep, find_sweeps, list_sweeps, open_sweep

__all__ = [
    "Answers",
    "Difference",
    "FITS",
    "Interval",
    "MOST_MODELS",
    "MapOf",
    "ModelMeasures",
    "NUMBERED",
    "Plan",
    "SWEEPS",
    "Stored",
    "Sweep",
    "SweepMeasures",
    "drops",
    "find_sweeps",
    "light_schemas",
    "list_sweeps",
    "measures",
    "measures_of",
    "open_sweep",
    "read_exceptions",
    "run",
    "schemas",
]
