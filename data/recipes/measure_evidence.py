"""Measure whether maps are true to their models, on held-out photographs.

Run by hand, with the pictures of ``held_out``::

    python -m data.recipes.measure_evidence --pictures pictures --table

``--only rise`` measures one method again, on the same photographs, and keeps the other rows.

Every method of both embedded models and three baseline maps are measured alike: the difference of
insertion and deletion, whether the map of a class lies on its picture in a grid of four (for maps
with a meaningful zero), and whether the map depends on learned weights. A method with random draws
draws again for each network, and the agreement of two draws on the intact one is stated beside it.
Both models get the same pixels; for each, its most probable class is explained. Methods
with many passes use as many as the pages (RISE 200 masks), on all pictures unless
``--fewer`` states fewer.
Each measured row is stored in the folder ``--work``, from which a stopped run
continues.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import core
from data.recipes.describe_files import EVIDENCE, evidence_markdown, write
from data.recipes.head_measures import SURE
from data.recipes.picture_sources import NATURAL, Source, collect, split

SEED = 11
REPLICATES = 2000
COUNT = 16
STEPS = 16
FILLS = ("blur", "mean")
GIVEN = core.Framing("given")
BASELINES = {
    "random": "Random order",
    "center": "From the center outward",
    "edges": "Edges of the picture",
}
MANY_PASSES: dict[str, dict[str, Any]] = {
    "occlusion": {"stride": 2},
    "rise": {"definition": "centered", "count": 200},
    "integrated_gradients": {"steps": 32},
    "smooth_grad": {"count": 24},
}
"""Methods with many passes and their numbers: the pages' defaults, except for RISE (500)."""


def chosen(models: Sequence[core.Model], sources: list[Source], count: int) -> list[Image.Image]:
    """Fitted held-out photographs of which both models are sure, no class twice.

    Parameters
    ----------
    models
        The pair.
    sources
        Result of `picture_sources.collect`; one picture of each family is used.
    count
        Most pictures, in a seeded random order.
    """
    families = split(sources)["test"][NATURAL]
    found: list[Image.Image] = []
    taken: list[set[int]] = [set() for _ in models]
    for place in np.random.default_rng(SEED).permutation(len(families)):
        view = core.shared_view(models, sources[families[place][0]].image)
        answers = [core.predict(model, view, 1, GIVEN) for model in models]
        if all(
            answer.probabilities[0] > SURE and answer.top not in known
            for answer, known in zip(answers, taken, strict=True)
        ):
            found.append(view)
            for answer, known in zip(answers, taken, strict=True):
                known.add(answer.top)
        if len(found) == count:
            break
    return found


def mean(values: Sequence[float]) -> dict[str, float] | None:
    """Mean, standard error by a bootstrap over the values, and number; ``nan`` left out."""
    known = np.array([value for value in values if np.isfinite(value)])
    if not known.size:
        return None
    places = np.random.default_rng(SEED).integers(known.size, size=(REPLICATES, known.size))
    error = float(known[places].mean(axis=1).std())
    return {"value": round(float(known.mean()), 3), "error": round(error, 3), "n": known.size}


def differences(
    model: core.Model,
    views: Sequence[Image.Image],
    maps: Sequence[np.ndarray],
    targets: Sequence[int | None],
    fill: str,
    grid: tuple[int, int],
) -> list[float]:
    """Insertion minus deletion of each map; ``nan`` for a constant map."""
    ordered = [i for i, relevance in enumerate(maps) if np.ptp(relevance) > 0]
    found = np.full(len(maps), np.nan)
    for i, curves in zip(
        ordered,
        core.faithfulness_stream(
            model,
            [(views[i], maps[i], targets[i]) for i in ordered],
            framing=GIVEN,
            fill=fill,
            steps=STEPS,
            grid=grid,
        ),
        strict=True,
    ):
        found[i] = curves.difference
    return found.tolist()


def baseline_row(
    model: core.Model, views: Sequence[Image.Image], name: str, grid: tuple[int, int]
) -> dict[str, Any]:
    """The measurements of a map that does not depend on the model."""
    maps = [core.baseline_maps(view, grid, seed)[name] for seed, view in enumerate(views)]
    none = [None] * len(views)
    found = {fill: mean(differences(model, views, maps, none, fill, grid)) for fill in FILLS}
    return {"method": name, "title": BASELINES[name], "parameters": {}} | found


def method_row(
    model: core.Model, views: Sequence[Image.Image], method: core.Method, grid: tuple[int, int]
) -> dict[str, Any]:
    """All measurements of a method."""
    params = MANY_PASSES.get(method.name, {})
    first = core.depths_of(model)[1]  # the classifier and the last layer
    last = core.depths_of(model)[-1]
    forgotten = core.randomization(
        model, list(views), method.name, framing=GIVEN, depths=[first, last], **params
    )
    maps = [one.original.relevance for one in forgotten]
    targets = [one.target for one in forgotten]
    fours = [list(views[i : i + 4]) for i in range(0, len(views) - 3, 4)]
    try:
        pointing = [
            core.grid_pointing(model, four, None, method.name, framing=GIVEN, **params).mean()
            for four in fours
        ]
    except core.NoZero:  # then there are no shares
        pointing = []
    found: dict[str, Any] = {"method": method.name, "title": method.title, "parameters": params}
    for fill in FILLS:
        found[fill] = mean(differences(model, views, maps, targets, fill, grid))
    found["pointing"] = mean(pointing)
    found["last"] = mean([one.rank_correlation[0] for one in forgotten])
    found["all"] = mean([one.rank_correlation[-1] for one in forgotten])
    found["ceiling"] = mean([one.ceiling for one in forgotten if one.ceiling is not None])
    return found


def measure(
    models: Sequence[core.Model],
    views: Sequence[Image.Image],
    fewer: int,
    known: Sequence[dict[str, Any]] = (),
    on_row: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
) -> dict[str, Any]:
    """Measure every method of every model.

    Parameters
    ----------
    models
        The pair; the patches of the transformer are removed from both.
    views
        Fitted pictures, all of one size.
    fewer
        Number of pictures for the methods of `MANY_PASSES`.
    known
        Rows that are already measured.
    on_row
        Called with all rows so far, after each measurement.
    """
    size = (views[0].height, views[0].width)
    lead = next((model for model in models if model.multiple > 1), models[0])
    grid = core.removal_grid(lead, size)
    kept = {(row["model"], row["method"]): row for row in known}
    rows: list[dict[str, Any]] = []
    for model in models:
        title = model.spec.title
        for method in (*core.methods(model), *BASELINES):
            name = method if isinstance(method, str) else method.name
            if (title, name) in kept:
                rows.append(kept[title, name])
                continue
            print(f"{title}: {name} …", file=sys.stderr, flush=True)
            if isinstance(method, str):
                found = baseline_row(model, views, method, grid)
            else:
                some = views[:fewer] if name in MANY_PASSES else views
                found = method_row(model, some, method, grid)
            rows.append({"model": title} | found)
            on_row(rows)
    settings = {"pictures": len(views), "fewer": fewer, "steps": STEPS, "sure": SURE}
    weights = {model.spec.id: model.weights_digest for model in models}
    return settings | {"weights": weights, "rows": rows}


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pictures", type=Path, required=True, help="unpacked packages")
    parser.add_argument("--count", type=int, default=COUNT, help="most photographs")
    parser.add_argument("--fewer", type=int, default=COUNT, help="for methods of many passes")
    parser.add_argument(
        "--only", nargs="+", default=[], help="methods that are measured again; the others stay"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("build"), help="for rows, one by one")
    parser.add_argument("--json", type=Path, default=EVIDENCE, help="file to write")
    parser.add_argument(
        "--table",
        action="store_true",
        help="put the table of data/evidence.json into docs/measurements.md",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    models = [core.open_model("efficientnet-lite0"), core.open_model("dinov2-small")]
    views = chosen(models, collect(arguments.pictures), arguments.count)
    if arguments.only:
        before = json.loads(arguments.json.read_text(encoding="utf-8"))["rows"]
        known = [row for row in before if row["method"] not in arguments.only]
    else:
        known = []
    asked = [len(views), arguments.fewer, STEPS, MANY_PASSES, arguments.only]
    asked += [model.weights_digest for model in models]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    work = arguments.work / f"evidence-{digest}.json"
    if work.is_file():
        known = json.loads(work.read_text(encoding="utf-8"))
    work.parent.mkdir(parents=True, exist_ok=True)

    def keep(rows: list[dict[str, Any]]) -> None:
        measured = {(row["model"], row["method"]) for row in rows}
        later = [row for row in known if (row["model"], row["method"]) not in measured]
        work.write_text(json.dumps([*rows, *later], ensure_ascii=False), encoding="utf-8")

    result = measure(models, views, arguments.fewer, known, keep)
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    arguments.json.write_text(text, encoding="utf-8")
    print(evidence_markdown(result))
    if arguments.table:
        write("evidence")


if __name__ == "__main__":
    main()
