"""Scripts in a Python of their own, which holds nothing that other tests have left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def alone(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script from the project's folder; it must end without an error."""
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert ended.returncode == 0, ended.stderr
    return ended
