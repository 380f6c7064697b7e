"""The command line of sweeps."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from core.errors import ParallaxError
from core.images import Framing
from core.sweep.classes import read_exceptions
from core.sweep.plan import FITS, Plan, Target
from core.sweep.run import Engine, run
from core.sweep.store import CHUNK

DESCRIPTION = (
    "Look at many pictures with a CNN and a ViT, and keep answers, maps and how far they agree as "
    "Parquet. Started again with the same arguments, an interrupted sweep goes on."
)


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    found = argparse.ArgumentParser(prog="python -m core.sweep", description=DESCRIPTION)
    add = found.add_argument
    add("pictures", help="a folder, a Parquet file, or an address that fsspec knows")
    add("--out", type=Path, required=True, help="folder of the sweep")
    add("--cnn", default=Plan.cnn, help="id of the convolutional network (default: %(default)s)")
    add("--vit", default=Plan.vit, help="id of the vision transformer (default: %(default)s)")
    add(
        "--maps",
        default=",".join(Plan.maps),
        help="methods, with commas between them; cnn:NAME asks one model only (default: "
        "%(default)s)",
    )
    add("--framing", choices=FITS, default="crop", help="how pictures are fitted")
    add("--size", type=int, help="side in pixels of what is seen (default: the ViT's own)")
    add(
        "--target",
        choices=get_args(Target),
        default="own",
        help="class of the maps: each model's own first answer, or one that both share",
    )
    add("--evidence", action="store_true", help="measure deletion and insertion of every map")
    add("--exceptions", type=Path, help="TOML file of labels whose class is called otherwise")
    add("--chunk", type=int, default=CHUNK, help="pictures of one part (default: %(default)s)")
    add("--engine", choices=get_args(Engine), default="here", help="where it runs")
    add("--address", help="of a Ray cluster (default: one on this machine)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sweep; returns the exit status."""
    given = parser().parse_args(arguments)
    started = time.monotonic()
    first: list[int] = []

    def tell(done: int, total: int) -> None:
        first[:] = first or [done]
        pace = (done - first[0]) / max(1e-9, time.monotonic() - started)
        speed = f", {pace:.1f} a second" if done > first[0] else ""
        print(f"{done:,} of {total:,} pictures{speed}", file=sys.stderr, flush=True)

    try:
        plan = Plan(
            pictures=given.pictures,
            cnn=given.cnn,
            vit=given.vit,
            maps=tuple(name.strip() for name in given.maps.split(",") if name.strip()),
            framing=Framing(given.framing, given.size),
            target=given.target,
            evidence=given.evidence,
            exceptions=read_exceptions(given.exceptions) if given.exceptions else (),
        )
        words = arguments if arguments is not None else sys.argv[1:]
        run(
            plan,
            given.out,
            engine=given.engine,
            address=given.address,
            chunk=given.chunk,
            on_progress=tell,
            command=f"python -m core.sweep {shlex.join(words)}",
        )
    except ParallaxError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    return 0
