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
from core.sweep import check
from core.sweep.classes import read_exceptions
from core.sweep.plan import DEFAULT, FITS, MOST_MODELS, Plan, Target
from core.sweep.run import Engine, run
from core.sweep.store import CHUNK

DESCRIPTION = (
    "Run several models on many pictures, and store answers, maps and their agreement as "
    "Parquet. Started again with the same arguments, an interrupted sweep continues. "
    "“check FOLDER” as arguments states how well the models of a sweep answer (see check --help); "
    "a folder of pictures of that name is ./check."
)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    found = argparse.ArgumentParser(prog="python -m core.sweep", description=DESCRIPTION)
    add = found.add_argument
    add("pictures", help="a folder, a Parquet file, or an address supported by fsspec")
    add("--out", type=Path, required=True, help="folder of the sweep")
    add(
        "--models",
        help=f"comma-separated ids of 1 to {MOST_MODELS} models of any kind (default: "
        f"{','.join(DEFAULT)})",
    )
    add("--cnn", help="id of a convolutional network, in a sweep of a pair")
    add("--vit", help="id of a vision transformer, in a sweep of a pair")
    add(
        "--maps",
        default="",
        help="comma-separated methods; each is applied to the models that it supports, and "
        "MODEL:METHOD to one only (default: the usual one of each model)",
    )
    add("--framing", choices=FITS, default="crop", help="how pictures are fitted")
    add(
        "--size",
        type=int,
        help="side of the fitted picture in pixels (default: that of the first transformer)",
    )
    add(
        "--target",
        choices=get_args(Target),
        default="own",
        help="class of the maps: each model's own first answer, or one for all models",
    )
    add("--evidence", action="store_true", help="measure deletion and insertion of every map")
    add("--exceptions", type=Path, help="TOML file of labels whose class has another name")
    add("--chunk", type=int, default=CHUNK, help="pictures per part (default: %(default)s)")
    add("--engine", choices=get_args(Engine), default="here", help="where the sweep runs")
    add("--address", help="address of a Ray cluster (default: one on this machine)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sweep, or check one; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["check"]:
        return check.main(words[1:])
    given = parser().parse_args(words)
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
        print("Stopped; the same command continues from here.", file=sys.stderr)
        return 130
    return 0


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _models(models: str | None, cnn: str | None, vit: str | None) -> tuple[str, ...]:
    """Ids of the models; ``--cnn`` and ``--vit`` name the models of a pair."""
    if models is None:
        pair = {"cnn": cnn or DEFAULT[0], "vit": vit or DEFAULT[1]}
        for family, model_id in pair.items():
            if find_spec(model_id).family != family:
                raise ParameterError(f"The model {model_id!r} is not a {family}; swap the two.")
        return tuple(pair.values())
    if cnn or vit:
        raise ParameterError(
            "Models are given by --models or by --cnn and --vit; use one of the two."
        )
    return _listed(models)
