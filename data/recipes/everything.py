"""Rebuild all shipped files: a list of steps, each of which continues where it was stopped.

Run by hand; later changes of weights, methods or layouts run it again::

    python -m data.recipes.everything --list
    python -m data.recipes.everything --photographs FOLDER --packages FOLDER --pictures FOLDER \\
        --earlier FILE
    python -m data.recipes.everything --from demo-sweep …

``data/README.md`` states the sources of photographs, packages, pictures and the earlier fit. A
finished step is recorded in the folder ``--work`` and skipped next time, unless ``--from`` or
``--only`` names it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes
    ----------
    name
        Name, also for ``--from``.
    module
        Module for ``python -m``.
    arguments
        ``{photographs}`` and the like are replaced by folders of the command line.
    makes
        Files that it writes.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    makes: str


STEPS = (
    Step(
        "samples",
        "data.recipes.build_samples",
        ("--packages", "{packages}"),
        "data/samples, data/labels",
    ),
    Step(
        "demo-pictures",
        "data.recipes.build_demo_pictures",
        ("--packages", "{packages}"),
        "data/demo",
    ),
    Step(
        "weights",
        "data.recipes.build_weights",
        ("--verify",),
        "data/weights, but for what is fitted",
    ),
    Step(
        "features",
        "data.recipes.photograph_features",
        ("--photographs", "{photographs}", "--cache", "{cache}"),
        "what the classes are fitted to, in the folder --cache",
    ),
    Step(
        "held-out",
        "data.recipes.held_out",
        ("--pictures", "{pictures}", "--cache", "{cache}"),
        "what agreement is measured on, in the folder --cache",
    ),
    Step(
        "folds",
        "data.recipes.fit_head",
        ("--cache", "{cache}", "--earlier", "{earlier}", "--folds"),
        "answers of five fits to what each left out, in the folder --cache",
    ),
    Step(
        "classes",
        "data.recipes.fit_head",
        ("--cache", "{cache}", "--earlier", "{earlier}"),
        "the fitted weights, their card, the reliability curve",
    ),
    Step(
        "spectrum",
        "data.recipes.mean_spectrum",
        ("--photographs", "{photographs}/imagenet-samples"),
        "data/spectrum.npz",
    ),
    Step(
        "maps",
        "data.recipes.measure_maps",
        ("--pictures", "{pictures}"),
        "the table of maps that point, in the card",
    ),
    Step(
        "evidence",
        "data.recipes.measure_evidence",
        ("--pictures", "{pictures}", "--table"),
        "data/evidence.json and its table",
    ),
    Step(
        "demo-sweep",
        "data.recipes.demo_sweep",
        ("--work", "{work}/demo-sweep"),
        "data/sweeps/demonstration",
    ),
    Step(
        "maximizations",
        "pages.activation_maximization.make_examples",
        ("--work", "{work}/maximizations"),
        "data/maximizations.jpg and .json, the gallery of Activation maximization",
    ),
    Step(
        "maximizations-measured",
        "data.recipes.measure_maximizations",
        ("--work", "{work}/maximizations-measured", "--table"),
        "data/maximization_measures.json and its table",
    ),
    Step(
        "stills",
        "pages.compare.make_stills",
        (),
        "data/opening.jpg and .json, the first screen of each sample",
    ),
    Step(
        "representation",
        "pages.representation.make_results",
        (),
        "data/representation.npz, what Representation opens on",
    ),
    Step(
        "shapes",
        "data.recipes.weight_shapes",
        (),
        "core/models/shapes.json.gz, by the libraries that are installed",
    ),
    Step(
        "tables",
        "data.recipes.describe_files",
        (),
        "the tables of data/README.md and docs/measurements.md",
    ),
)


def wanted(first: str | None, only: Sequence[str], ended: Sequence[str]) -> list[Step]:
    """The steps to run.

    Parameters
    ----------
    first
        Name of the first step to run, finished or not, with all later ones.
    only
        Names of the only steps to run, finished or not.
    ended
        Names of finished steps.

    Raises
    ------
    SystemExit
        A name is unknown.
    """
    names = [step.name for step in STEPS]
    for name in (*only, *([first] if first else [])):
        if name not in names:
            raise SystemExit(f"There is no step {name!r}; expected one of {', '.join(names)}.")
    if only:
        return [step for step in STEPS if step.name in only]
    if first:
        return list(STEPS[names.index(first) :])
    return [step for step in STEPS if step.name not in ended]


def command(step: Step, folders: dict[str, Path | None]) -> list[str]:
    """The command of a step.

    Parameters
    ----------
    step
        The step.
    folders
        Folders by the names in its arguments.

    Raises
    ------
    SystemExit
        A folder that it needs was not given.
    """
    for name, folder in folders.items():
        if folder is None and any(f"{{{name}}}" in argument for argument in step.arguments):
            raise SystemExit(f"The step {step.name} needs --{name}; see data/README.md.")
    arguments = [argument.format_map(folders) for argument in step.arguments]
    return [sys.executable, "-m", step.module, *arguments]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the steps in order; stop at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--photographs", type=Path, help="photographs to fit and measure with")
    parser.add_argument("--packages", type=Path, help="where packages are unpacked")
    parser.add_argument("--pictures", type=Path, help="unpacked packages to measure with")
    parser.add_argument("--earlier", type=Path, help="weights of the fit to go on from")
    parser.add_argument("--cache", type=Path, default=Path("build/features"))
    parser.add_argument("--work", type=Path, default=Path("build"))
    parser.add_argument("--from", dest="first", help="this step and all that follow")
    parser.add_argument("--only", nargs="+", default=[], help="these steps only")
    parser.add_argument("--list", action="store_true", help="say what the steps are, and end")
    given = parser.parse_args(arguments)
    if given.list:
        for step in STEPS:
            print(f"{step.name:14} {step.makes}")
        return
    record = given.work / "steps.json"
    ended: list[str] = json.loads(record.read_text("utf-8")) if record.is_file() else []
    steps = wanted(given.first, given.only, ended)
    folders = {
        name: getattr(given, name)
        for name in ("photographs", "packages", "pictures", "earlier", "cache", "work")
    }
    commands = [command(step, folders) for step in steps]  # all are checked before any runs
    record.parent.mkdir(parents=True, exist_ok=True)
    for step, asked in zip(steps, commands, strict=True):
        print(f"{step.name}: {step.makes}", file=sys.stderr, flush=True)
        done = subprocess.run(asked, check=False)
        if done.returncode:
            raise SystemExit(
                f"The step {step.name} failed (exit code {done.returncode}); once that is mended, "
                "the same command goes on from there."
            )
        ended = [*(name for name in ended if name != step.name), step.name]
        record.write_text(json.dumps(ended), encoding="utf-8")


if __name__ == "__main__":
    main()
