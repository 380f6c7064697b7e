"""Measure whether maximized pictures convince the network that they were not made for.

Run by hand, after the weights::

    python -m data.recipes.measure_maximizations --table

For some classes, both embedded models and both parameterizations: the probability of the class in
the model that the picture was made for and in the other one, the seam energy, and the time of the
processor. Both parameterizations look at the picture equally often: a step with the phase looks at
`CROPS` crops, a step with Fourier coefficients once.

Pictures take about ten minutes of one core. What is finished is kept in the folder ``--work`` and
not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

import core
from core import Model
from data.recipes.describe_files import MAXIMIZATIONS, maximizations_markdown, write

CLASSES = ("castle", "espresso", "giant panda", "goldfish", "zebra", "strawberry")
LOOKS, CROPS, SIDE, SEED = 192, 3, 168, 0


def one(models: list[Model], own: int, name: str, parameterization: str) -> dict[str, Any]:
    """Make a picture for a class of the model ``own``, and ask all models."""
    model, index = models[own], models[own].labels.index(name)
    options: dict[str, Any] = {"steps": LOOKS, "parameterization": "fourier"}
    if parameterization == "phase":
        crops = core.Crops(count=CROPS)
        options = {"steps": LOOKS // CROPS, "parameterization": "phase", "transforms": crops}
    patch = max(getattr(each, "patch", 0) for each in models)
    started = time.process_time()
    made = core.maximize(
        model, core.class_logit(index), size=SIDE, seed=SEED, patch=patch, **options
    )
    seconds = time.process_time() - started
    answers = [core.predict(each, made.image) for each in models]
    chances = [
        answer.probability(each.labels.index(name))
        for answer, each in zip(answers, models, strict=True)
    ]
    return {
        "class": name,
        "model": model.spec.title,
        "parameterization": parameterization,
        "own": round(chances[own], 4),
        "other": round(chances[1 - own], 4),
        "seam": round(made.seam_energy, 3),
        "seconds": round(seconds, 1),
    }


def measure(models: list[Model], names: tuple[str, ...], work: Path) -> dict[str, Any]:
    """All pictures of the classes; finished ones are read from a folder."""
    rows = []
    work.mkdir(parents=True, exist_ok=True)
    digests = {model.spec.id: model.weights_digest for model in models}
    for name in names:
        for own in range(len(models)):
            for parameterization in ("phase", "fourier"):
                asked = f"{name}-{models[own].spec.id}-{parameterization}-{LOOKS}-{SIDE}"
                weights = "".join(digest[:6] for digest in digests.values())
                kept = work / f"{asked}-{weights}.json".replace(" ", "-")
                if not kept.exists():
                    row = one(models, own, name, parameterization)
                    kept.write_text(json.dumps(row), encoding="utf-8")
                rows.append(json.loads(kept.read_text(encoding="utf-8")))
    return {"weights": digests, "looks": LOOKS, "crops": CROPS, "side": SIDE, "rows": rows}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--work", type=Path, default=Path("build/maximizations-measured"))
    parser.add_argument("--classes", nargs="+", default=CLASSES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--table", action="store_true", help="put the table into docs/measurements.md"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    models = [core.open_model(name, "cpu") for name in ("efficientnet-lite0", "dinov2-small")]
    result = measure(models, tuple(given.classes), given.work)
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    MAXIMIZATIONS.write_text(text, encoding="utf-8")
    print(maximizations_markdown(result))
    if given.table:
        write("maximizations")


if __name__ == "__main__":
    main()
