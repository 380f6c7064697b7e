"""Sweep the demonstration pictures with the embedded pair, for the page *Data set*.

Run by hand after the weights or a map have changed::

    python -m data.recipes.demo_sweep --work build/demo-sweep

The sweep is made in the folder ``--work``, where an interrupted one is continued, and then copied
to ``data/sweeps/demonstration``. There its pictures are named relative to the folder, so that the
sweep can be read wherever the application is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from core import sweep
from core.paths import DATA, SWEEPS

PICTURES = DATA / "demo" / "pictures"
TARGET = SWEEPS / "demonstration"
CHUNK = 64
FILES = ("manifest.json", "pictures.parquet", "rows", "parts")


def publish(made: Path, target: Path, pictures: Path) -> None:
    """Copy a finished sweep into the shipped data, with its pictures named relative to it.

    Parameters
    ----------
    made
        Folder of the sweep.
    target
        Destination; existing content is replaced.
    pictures
        The pictures that were swept.

    Raises
    ------
    SystemExit
        The sweep is not finished.
    """
    found = sweep.open_sweep(made)
    if not found.finished:
        raise SystemExit(f"{made} is not finished: {found.done} of {found.total} pictures.")
    found.collect()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in FILES:
        copy = shutil.copytree if (made / name).is_dir() else shutil.copyfile
        copy(made / name, target / name)
    manifest = json.loads((made / "manifest.json").read_text(encoding="utf-8"))
    root = Path(os.path.relpath(pictures.resolve(), target.resolve())).as_posix()
    manifest["pictures"]["source"]["root"] = root
    manifest["plan"]["pictures"] = root
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    (target / "manifest.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Sweep, or continue, and publish."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--work", type=Path, default=Path("build/demo-sweep"))
    work = parser.parse_args().work
    sweep.run(
        sweep.Plan(str(PICTURES), target="shared"),
        work,
        chunk=CHUNK,
        command="python -m data.recipes.demo_sweep",
        on_progress=lambda done, total: print(f"{done} of {total}", file=sys.stderr) or True,
    )
    publish(work, TARGET, PICTURES)
    size = sum(path.stat().st_size for path in TARGET.rglob("*") if path.is_file())
    print(f"{TARGET}: {size:,} bytes")


if __name__ == "__main__":
    main()
