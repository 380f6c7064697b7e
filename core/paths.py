"""Paths of the files shipped with the application."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
LABELS = DATA / "labels"
SAMPLES = DATA / "samples"
SWEEPS = DATA / "sweeps"
WEIGHTS = DATA / "weights"
