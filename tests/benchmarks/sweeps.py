"""Sweeps against bare passes, engines against each other, and questions to a million rows.

What memory is asked of runs in a process of its own: ``python -m tests.benchmarks.sweeps CALL …``.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import core
from core import sweep
from core.images import fit_image
from core.recording.batches import ON_CPU
from dashboard.sweeps import SweepTable
from tests.benchmarks.memory import MIB, resident
from tests.benchmarks.timing import Row
from tests.support.rows import synthetic

ROOT = Path(__file__).resolve().parents[2]
MAPS = ("cam", "rollout")
GRADIENT = ("cam", "gradient_rollout")
PICTURES = 48
ROUNDS = 5
ENGINES = 500
FEW, MANY = 500, 5_000
MILLION = 1_000_000
FILTERS: tuple[tuple[str, ...], ...] = (
    (),
    ("divergence>0.5",),
    ("same_answer=no", "artifacts:dinov2-small>=1"),
    ("label=class 7",),
    ("right:efficientnet-lite0=no", "right:dinov2-small=yes", "overlap<0.1"),
)
AXES = (("divergence", "correlation"), ("pca_1:dinov2-small", "pca_2:dinov2-small"))
LEAF = 12


def rows() -> list[Row]:
    """All figures of sweeps and of the page over them."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        return [*passes(place), engines(place), memory(), *questions(place)]


# -- pictures a second ----------------------------------------------------------------------------


def write_pictures(folder: Path, count: int) -> None:
    """Crops of the samples, 500 × 375 pixels, all different."""
    folder.mkdir()
    images = [core.read_image(sample.path) for sample in core.samples()]
    for number in range(count):
        image = images[number % len(images)]
        inset = number // len(images)
        box = (inset, inset, image.width - inset, image.height - inset)
        fit_image(image.crop(box), "crop", (375, 500)).save(folder / f"{number:04d}.jpg")


def swept(pictures: Path, maps: tuple[str, ...], **options: Any) -> tuple[float, float]:
    """Seconds a picture: from the beginning to the last row, and from the first part to it."""
    times: list[tuple[float, int]] = []

    def tell(done: int, total: int) -> None:
        times.append((time.perf_counter(), done))

    with tempfile.TemporaryDirectory() as out:
        sweep.run(sweep.Plan(str(pictures), maps=maps), out, on_progress=tell, **options)
    (start, none), (first, some), (end, every) = times[0], times[1], times[-1]
    return (end - start) / (every - none), (end - first) / max(1, every - some)


def bare(pictures: list[Image.Image], pair: tuple[core.Model, core.Model]) -> float:
    """Seconds a picture of plain batched passes over decoded pictures."""
    started = time.perf_counter()
    for start in range(0, len(pictures), ON_CPU):
        for model in pair:
            views = [
                model.view(image, core.Framing("crop", 224)) for image in pictures[start:][:ON_CPU]
            ]
            batch = torch.cat([model.normalize(view) for view in views])
            with torch.inference_mode():
                model.module(batch)
    return (time.perf_counter() - started) / len(pictures)


def passes(folder: Path) -> list[Row]:
    """The sweep in this process against bare passes; they take turns."""
    write_pictures(folder / "passes", PICTURES)
    decoded = [core.read_image(path) for path in sorted((folder / "passes").iterdir())]
    pair = core.open_model("efficientnet-lite0"), core.open_model("dinov2-small")
    times: dict[str, list[float]] = {"bare": [], "sweep": [], "gradient": []}
    for number in range(ROUNDS + 1):
        found = {
            "bare": bare(decoded, pair),
            "sweep": swept(folder / "passes", MAPS, models=pair)[0],
            "gradient": swept(folder / "passes", GRADIENT, models=pair)[0],
        }
        for name, seconds in found.items():
            times[name] += [seconds] if number else []  # the first warms up
    middle = {name: statistics.median(each) for name, each in times.items()}
    details = {f"{name} ms a picture": round(1000 * s, 1) for name, s in middle.items()}
    against = "bare batched passes of both models on the same decoded pictures"
    return [
        Row(
            f"sweep, {', '.join(maps)}, with reading and writing: time of a picture",
            against,
            middle[name] / middle["bare"],
            reach=reach,
            details=details,
            repeats=ROUNDS,
            reason="attention is rebuilt twice beside the passes, for the map and for the artifact "
            "patches, and pictures are read and fitted meanwhile by nobody else",
        )
        for name, maps, reach in (("sweep", MAPS, 1.3), ("gradient", GRADIENT, None))
    ]


def engines(folder: Path) -> Row:
    """Ray on this machine against this process, without what it takes to begin."""
    write_pictures(folder / "engines", ENGINES)
    pair = core.open_model("efficientnet-lite0"), core.open_model("dinov2-small")
    here = swept(folder / "engines", MAPS, models=pair, chunk=16)[1]
    ray = swept(folder / "engines", MAPS, engine="ray", chunk=16)[1]
    return Row(
        f"sweep with Ray on this machine, {ENGINES} pictures, without start-up",
        "the same in one process",
        ray / here,
        reach=1.05,
        details={"ray ms a picture": 1000 * ray, "here ms a picture": 1000 * here},
        reason="processes of one thread each share the cores with Ray's own",
        note="a cluster of G cards is expected to take 1/G of the time of one card as long as "
        "reading pictures keeps up: chunks are independent and a row is about 8 kB: not measured",
    )


# -- memory ---------------------------------------------------------------------------------------


def apart(call: str, *arguments: str) -> dict[str, float]:
    """A scenario in a process of its own."""
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "0"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.sweeps", call, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak_of_a_sweep(count: int) -> dict[str, float]:
    """Peak of the resident memory while a pair of tiny random models sweeps small pictures."""
    import timm
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        tables = []
        for family, name in (("cnn", "test_efficientnet"), ("vit", "test_vit")):
            save_file(timm.create_model(name).state_dict(), place / f"{family}.safetensors")
            tables.append(
                f'[[model]]\nid = "{family}"\nfamily = "{family}"\narchitecture = "{name}"\n'
                f'weights = "{family}.safetensors"\nlabels = "imagenet1k"\n'
            )
        (place / "models.toml").write_text("\n".join(tables), encoding="utf-8")
        os.environ["PARALLAX_MODELS"] = str(place / "models.toml")
        (place / "pictures").mkdir()
        for number in range(count):
            color = (number % 256, number // 256, 90)
            Image.new("RGB", (96, 96), color).save(place / "pictures" / f"{number:05d}.png")
        gc.collect()
        plan = sweep.Plan(str(place / "pictures"), ("cnn", "vit"), MAPS)
        sweep.run(plan, place / "sweep")
    return {"peak": resident("VmHWM")}


def memory() -> Row:
    """What a sweep ten times as long takes."""
    few, many = (apart("sweep", str(count))["peak"] for count in (FEW, MANY))
    return Row(
        f"peak memory of a sweep of {MANY:,} pictures, tiny models",
        f"of {FEW:,} pictures",
        many / few,
        reach=1.1,
        details={f"{FEW} pictures MiB": round(few), f"{MANY} pictures MiB": round(many)},
        note="the models are tiny, so that what grows with the pictures would show",
    )


# -- the page over a million rows -----------------------------------------------------------------


def every_question(found: SweepTable) -> Iterator[tuple[str, Callable[[], object]]]:
    """All that the page asks, at every filter: a name, and a call."""
    for filters in FILTERS:
        named = " and ".join(filters) or "no filter"
        yield f"figures, {named}", lambda f=filters: found.figures(f)
        yield f"classes, {named}", lambda f=filters: found.classes(f)
        for (x, y), color in itertools.product(AXES, ("agreement", "outcome", "label")):
            yield (
                f"scatter by {color}, {named}",
                lambda x=x, y=y, c=color, f=filters: found.scatter(x, y, c, f),
            )
        for order in found.orders():
            total = found.gallery(order, filters, 0, 1)[1]
            for start in (0, max(0, total - LEAF)):
                yield (
                    f"gallery by {order} from {start:,}, {named}",
                    lambda o=order, s=start, f=filters: found.gallery(o, f, s, LEAF),
                )


def questions(folder: Path, count: int = MILLION) -> list[Row]:
    """The slowest answer, and the memory that all of them take."""
    made = synthetic(folder / "million", count, parts=1)
    started = time.perf_counter()
    found = SweepTable(made)
    found.numbers, found.labeled  # noqa: B018
    opened = time.perf_counter() - started
    times: dict[str, float] = {}
    for name, call in every_question(found):
        each = []
        for _ in range(3):
            started = time.perf_counter()
            call()
            each.append(time.perf_counter() - started)
        times[name] = statistics.median(each)
    slowest = max(times, key=lambda name: times[name])
    rise = apart("questions", str(made.folder))["rise"]
    return [
        Row(
            f"data-set page over {count:,} rows: the slowest of {len(times)} filters, sorts, "
            "scatters and gallery pages",
            "absolute",
            times[slowest],
            "s",
            reach=1.0,
            details={"median s": round(statistics.median(times.values()), 3), "open s": opened},
            repeats=3,
            note=f"the slowest is: {slowest}",
            reason="medians of a million values are taken exactly",
        ),
        Row(
            f"memory that the same questions take, {count:,} rows",
            "absolute",
            rise,
            "MB",
            reach=500,
            note="the rows stay in their file; DuckDB may take 256 MB",
            reason="DuckDB keeps buffers",
        ),
    ]


def rise_of_questions(folder: Path) -> dict[str, float]:
    """By how much the peak of the resident memory rises above rest over all questions."""
    import pandas as pd

    pd.DataFrame({"a": [1]}).groupby("a").size()  # what any page has loaded
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forgets the last peak
    rest = resident("VmRSS")
    for _, call in every_question(SweepTable(sweep.open_sweep(folder))):
        call()
    return {"rise": (resident("VmHWM") - rest) * MIB / 1e6}


CALLS: dict[str, Callable[[str], dict[str, float]]] = {
    "sweep": lambda count: peak_of_a_sweep(int(count)),
    "questions": lambda folder: rise_of_questions(Path(folder)),
}

if __name__ == "__main__":
    print(json.dumps(CALLS[sys.argv[1]](sys.argv[2])))
