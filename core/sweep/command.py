"""The command line of sweeps."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from core.errors import ParallaxError, ParameterError
from core.images import Framing
from core.models.spec import find_spec
from core.sweep.classes import read_exceptions
from core.sweep.plan import DEFAULT, FITS, MOST_MODELS, Plan, Target
from core.sweep.run import Engine, run
from core.sweep.store import CHUNK

DESCRIPTION = (
    "Look at many pictures with several models, and keep answers, maps and how far they agree as "
    "Parquet. Started again with the same arguments, an interrupted sweep goes on."
)


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    found = argparse.ArgumentParser(prog="python -m core.sweep", description=DESCRIPTION)
    add = found.add_argument
    add("pictures", help="a folder, a Parquet file, or an address that fsspec knows")
    add("--out", type=Path, required=True, help="folder of the sweep")
    add(
        "--models",
        help=f"ids of 1 to {MOST_MODELS} models of any kind, with commas between them (default: "
        f"{','.join(DEFAULT)})",
    )
    add("--cnn", help="id of a convolutional network, in a sweep of a pair")
    add("--vit", help="id of a vision transformer, in a sweep of a pair")
    add(
        "--maps",
        default="",
        help="methods, with commas between them; each is asked of the models that it serves, and "
        "MODEL:METHOD of one only (default: the usual one of each model)",
    )
    add("--framing", choices=FITS, default="crop", help="how pictures are fitted")
    add(
        "--size",
        type=int,
        help="side in pixels of what is seen (default: that of the first transformer)",
    )
    add(
        "--target",
        choices=get_args(Target),
        default="own",
        help="class of the maps: each model's own first answer, or one that all share",
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
            models=_models(given.models, given.cnn, given.vit),
            maps=_listed(given.maps),
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


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _models(models: str | None, cnn: str | None, vit: str | None) -> tuple[str, ...]:
    """Ids of the models; ``--cnn`` and ``--vit`` name one of a pair, as they always did."""
    if models is None:
        pair = {"cnn": cnn or DEFAULT[0], "vit": vit or DEFAULT[1]}
        for family, model_id in pair.items():
            if find_spec(model_id).family != family:
                raise ParameterError(f"The model {model_id!r} is no {family}; swap the two.")
        return tuple(pair.values())
    if cnn or vit:
        raise ParameterError("Models are named by --models or by --cnn and --vit; use one way.")
    return _listed(models)
