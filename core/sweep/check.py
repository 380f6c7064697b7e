"""``python -m core.sweep check``: figures of a sweep, and thresholds for continuous integration."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from core.errors import ParallaxError, ParameterError
from core.sweep.measures import (
    Difference,
    Interval,
    ModelMeasures,
    SweepMeasures,
    drops,
    measures,
)
from core.sweep.store import open_sweep

RISING, FALLING = ("accuracy", "first_five"), ("negative_log_likelihood", "calibration_error")
"""Figures of which more is better, and of which less is."""


def parser() -> argparse.ArgumentParser:
    """The parser of the subcommand."""
    found = argparse.ArgumentParser(
        prog="python -m core.sweep check",
        description="Print how well the models of a sweep answer its labeled pictures. The exit "
        "status is 1 if a threshold is missed, 2 if nothing could be measured.",
    )
    add = found.add_argument
    add("out", type=Path, help="folder of the sweep")
    add(
        "--min",
        action="append",
        default=[],
        metavar="FIGURE=VALUE",
        help=f"least value of {' or '.join(RISING)}, of every model; may be repeated",
    )
    add(
        "--max",
        action="append",
        default=[],
        metavar="FIGURE=VALUE",
        help=f"largest value of {' or '.join(FALLING)}, of every model; may be repeated",
    )
    add("--against", type=Path, help="folder of an earlier sweep of the same pictures")
    add(
        "--max-drop",
        type=float,
        help="largest loss of accuracy of any model against that sweep, such as 0.01",
    )
    add("--json", type=Path, help="file that the figures are written to")
    return found


def main(arguments: Sequence[str]) -> int:
    """Check a sweep; returns the exit status."""
    given = parser().parse_args(arguments)
    try:
        least, most = _limits(given.min, RISING, "--min"), _limits(given.max, FALLING, "--max")
        if (given.max_drop is None) != (given.against is None):
            raise ParameterError("--max-drop and --against belong together; state both.")
        sweep = open_sweep(given.out)
        found = measures(sweep)
        lost = () if given.against is None else drops(open_sweep(given.against), sweep)
    except ParallaxError as error:
        print(error, file=sys.stderr)
        return 2
    missed = _missed(found, least, most)
    missed += [
        f"{one.second} loses {-one.accuracy.value:.3f} of accuracy, at most {given.max_drop}"
        for one in lost
        if not -one.accuracy.value <= given.max_drop
    ]
    for line in _lines(found, lost):
        print(line)
    for line in missed:
        print(f"Missed: {line}.", file=sys.stderr)
    if given.json is not None:
        report = found.as_dict() | {
            "against": SweepMeasures((), lost).as_dict()["differences"],
            "missed": missed,
        }
        given.json.write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    return 1 if missed else 0


def _limits(texts: Sequence[str], known: Sequence[str], option: str) -> dict[str, float]:
    """The stated figures and their limits."""
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            limit = float(value)
        except ValueError:
            limit = math.nan
        if name.strip() not in known or math.isnan(limit):
            raise ParameterError(
                f"{option} is {text!r}, expected FIGURE=VALUE with one of {', '.join(known)}, such "
                f"as {known[0]}=0.8."
            )
        found[name.strip()] = limit
    return found


def _missed(found: SweepMeasures, least: dict[str, float], most: dict[str, float]) -> list[str]:
    """What does not hold; a figure that could not be counted holds nowhere."""
    asked = [(name, "at least", limit) for name, limit in least.items()]
    asked += [(name, "at most", limit) for name, limit in most.items()]
    missed = []
    for model in found.models:
        for name, bound, limit in asked:
            value = _value(model, name)
            holds = value >= limit if bound == "at least" else value <= limit
            if not holds:
                what = name.replace("_", " ")
                missed.append(f"{what} of {model.model} is {value:.3f}, {bound} {limit} was asked")
    return missed


def _value(model: ModelMeasures, name: str) -> float:
    found = getattr(model, name)
    return found.value if isinstance(found, Interval) else float(found)


def _lines(found: SweepMeasures, lost: Sequence[Difference]) -> list[str]:
    lines = [
        f"{one.model}: {one.count:,} labeled pictures, accuracy {_text(one.accuracy)}, among the "
        f"first five {_text(one.first_five)}, negative log-likelihood "
        f"{_text(one.negative_log_likelihood)}, calibration error {one.calibration_error:.3f}"
        for one in found.models
    ]
    lines += [
        f"{one.second} rather than {one.first}: {_compared(one)}" for one in found.differences
    ]
    lines += [f"{one.second} since the earlier sweep: {_compared(one)}" for one in lost]
    return lines


def _compared(one: Difference) -> str:
    certain = "" if one.is_real else "; the interval includes no difference"
    return f"accuracy {_text(one.accuracy, '+')} on {one.count:,} pictures{certain}"


def _text(one: Interval, sign: str = "") -> str:
    form = f"{sign}.3f"
    return f"{one.value:{form}} ({one.low:{form}} to {one.high:{form}})"
