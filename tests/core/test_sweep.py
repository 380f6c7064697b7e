"""Sweeps: exact rows, both engines, interrupted at any place, sources, refusals."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

import core
from core import sweep
from core.sweep import projection
from core.sweep.classes import class_of
from core.sweep.command import main
from core.sweep.pictures import Source, list_pictures, read
from core.sweep.schema import COMPONENTS, HEAVY, NUMBERED, light_schemas, schemas
from core.sweep.work import Chunk, Work, divergence
from data.recipes import demo_sweep
from tests.support.builders import GIVEN, close

ROOT = Path(__file__).resolve().parents[2]
MAPS = ("cam", "gradient_rollout", "grad_cam")
MADE = ((0, "cam"), (1, "gradient_rollout"), (0, "grad_cam"), (1, "grad_cam"))
"""Numbers of the models and methods that these make of the tiny pair."""

PAIR = ("tiny-cnn", "tiny-vit")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog with tiny models that every process can open: a pair, and another of each kind."""
    import timm
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("models")
    tables = []
    for name, family, architecture in (
        ("tiny-cnn", "cnn", "test_efficientnet"),
        ("tiny-vit", "vit", "test_vit"),
        ("other-cnn", "cnn", "test_efficientnet"),
        ("other-vit", "vit", "test_vit"),
    ):
        torch.manual_seed(len(tables))
        module = timm.create_model(architecture)
        save_file(module.state_dict(), folder / f"{name}.safetensors")
        tables.append(
            f'[[model]]\nid = "{name}"\nfamily = "{family}"\narchitecture = "{architecture}"\n'
            f'weights = "{name}.safetensors"\nlabels = "imagenet1k"\n'
            "[model.defaults.rise]\ncount = 6\n"
        )
    (folder / "models.toml").write_text("\n".join(tables), encoding="utf-8")
    return folder / "models.toml"


@pytest.fixture
def tiny(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Ids of the tiny pair, which the catalog of this test has."""
    monkeypatch.setenv("PARALLAX_MODELS", str(catalog))
    return PAIR


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures of many shapes below three labels."""
    folder = tmp_path_factory.mktemp("forty")
    generator = np.random.default_rng(0)
    sizes = ((200, 160), (160, 200), (333, 171), (96, 96))
    for index in range(40):
        coarse = generator.integers(0, 256, (7, 9, 3), dtype=np.uint8)
        label = ("001.Egyptian_cat", "espresso", "a_unicorn")[index % 3]
        (folder / label).mkdir(exist_ok=True)
        picture = Image.fromarray(coarse).resize(sizes[index % 4], Image.Resampling.BICUBIC)
        picture.save(folder / label / f"{index:02d}.png")
    return folder


def plan_of(pictures: Path | str, models: tuple[str, ...], **options: Any) -> sweep.Plan:
    return sweep.Plan(str(pictures), models, maps=options.pop("maps", MAPS), **options)


def rows_of(found: sweep.Sweep, table: str = "pictures") -> list[dict[str, Any]]:
    """Every column of a table, of every picture."""
    return found.read(table, range(found.total), schemas()[table].names)


def by_picture(found: sweep.Sweep, table: str) -> dict[tuple[int, ...], dict[str, Any]]:
    """The rows of a table by picture and numbers."""
    by = ("index", *NUMBERED[table])
    return {tuple(row[name] for name in by): row for row in rows_of(found, table)}


class Rows:
    """All tables of a sweep, to look rows up in."""

    def __init__(self, found: sweep.Sweep) -> None:
        self.pictures = rows_of(found)
        self.answers, self.maps, self.divergences, self.agreements = (
            by_picture(found, name) for name in ("answers", "maps", "divergences", "agreements")
        )


def check_picture(
    row: dict[str, Any], rows: Rows, image: Image.Image, models: list[core.Model], made: Any = MADE
) -> None:
    """The rows of a picture are what `core` says of the picture alone."""
    view = core.shared_view(models, image, core.Framing("crop"))
    index = row["index"]
    assert row["error"] == ""
    assert row["digest"] == core.digest(image)
    assert (row["width"], row["height"]) == image.size
    maps = []
    for number, (model, method) in enumerate(made):
        alone = core.explain(models[model], view, method, framing=GIVEN)
        maps.append(alone.relevance)
        kept = rows.maps[index, number]
        stored = np.array(kept["relevance"], np.float32) * kept["scale"]
        assert kept["shape"] == list(alone.relevance.shape)
        largest = float(np.abs(alone.relevance).max())
        assert kept["scale"] == pytest.approx(largest, rel=1e-5)
        assert np.abs(stored - alone.relevance.ravel()).max() <= largest * (2**-11 + 1e-5)
        assert kept["target"] == alone.label
        mass = alone.prefix_mass
        assert kept["prefix_mass"] == (None if mass is None else pytest.approx(mass))
    for a, b in combinations(range(len(maps)), 2):
        correlation, overlap = core.heatmaps.agreement(maps[a], maps[b])
        assert rows.agreements[index, a, b]["correlation"] == pytest.approx(correlation, abs=2e-3)
        assert rows.agreements[index, a, b]["overlap"] == pytest.approx(overlap, abs=0.1)
    shares = []
    for number, model in enumerate(models):
        answer, kept = core.predict(model, view, framing=GIVEN), rows.answers[index, number]
        logits = answer.logits.astype(np.float64)
        shares.append(np.exp(logits) / np.exp(logits).sum())
        assert kept["answer"] == answer.labels[0]
        assert kept["top"] == answer.indices.tolist()
        close(np.array(kept["top_probabilities"]), answer.probabilities, 1e-4)
        if (known := kept["label_class"]) is not None:
            stated = kept["label_log_probability"]
            assert stated == pytest.approx(np.log(shares[-1][known]), abs=1e-3)
            assert kept["label_rank"] == answer.rank(known)
        recording = core.record(model, view, GIVEN, core.Needs(["head.input"]))
        held = recording.tensor("head.input")
        vector = held.mean(dim=(2, 3)) if model.spec.family == "cnn" else held[:, 0]
        close(np.array(kept["embedding"], np.float32), vector[0].cpu().numpy(), 1e-3)
        if model.spec.family == "vit":
            assert kept["artifacts"] == core.attention(model, view, GIVEN).artifacts().sum()
        else:
            assert kept["artifacts"] is None
    for a, b in combinations(range(len(models)), 2):
        p, q = shares[a], shares[b]
        middle = (p + q) / 2
        expected = (p * np.log2(p / middle) + q * np.log2(q / middle)).sum() / 2
        found = rows.divergences[index, a, b]["divergence"]
        assert found == pytest.approx(expected, abs=1e-5)
    with Image.open(io.BytesIO(row["thumbnail"])) as small:
        assert max(small.size) == 96


def opened(plan: sweep.Plan) -> list[core.Model]:
    return [core.open_model(model_id) for model_id in plan.models]


@pytest.mark.parametrize(
    "engine",
    [
        "here",
        pytest.param("ray", marks=[pytest.mark.slow, pytest.mark.filterwarnings("ignore")]),
    ],
)
def test_rows_are_what_core_says_of_each_picture_alone(
    engine: Any, forty: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    plan = plan_of(forty, tiny)
    found = sweep.run(plan, tmp_path / "out", engine=engine, chunk=16)
    rows, models = Rows(found), opened(plan)
    assert [row["index"] for row in rows.pictures] == list(range(40))
    for row in rows.pictures:
        check_picture(row, rows, core.read_image(forty / row["path"]), models)
        assert row["label"] == row["path"].split("/")[0].removeprefix("001.").replace("_", " ")
        known = {"Egyptian cat": "Egyptian cat", "espresso": "espresso"}.get(row["label"])
        for number, model in enumerate(models):
            kept = rows.answers[row["index"], number]
            index = None if known is None else model.labels.index(known)
            assert kept["label_class"] == index
            assert kept["right"] == (None if known is None else kept["answer"] == known)
            if known is None:
                assert kept["label_rank"] is kept["label_log_probability"] is None


ANY_MODELS: dict[str, tuple[tuple[str, ...], tuple[tuple[int, str], ...]]] = {
    "one": (("tiny-vit",), ((0, "gradient_rollout"),)),
    "one of the other kind": (("tiny-cnn",), ((0, "cam"),)),
    "two of a kind": (("tiny-cnn", "other-cnn"), ((0, "cam"), (1, "cam"))),
    "three": (
        ("other-vit", "tiny-cnn", "tiny-vit"),
        ((0, "gradient_rollout"), (1, "cam"), (2, "gradient_rollout")),
    ),
    "four": (
        ("tiny-vit", "other-vit", "other-cnn", "tiny-cnn"),
        ((0, "gradient_rollout"), (1, "gradient_rollout"), (2, "cam"), (3, "cam")),
    ),
}


@pytest.mark.parametrize(("models", "made"), ANY_MODELS.values(), ids=ANY_MODELS.keys())
def test_any_models_each_with_its_usual_map(
    models: tuple[str, ...],
    made: tuple[tuple[int, str], ...],
    forty: Path,
    tiny: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A picture is decoded once for all models, and a pass serves all maps of a model."""
    from core.sweep import work

    pictures = tmp_path / "pictures"
    (pictures / "espresso").mkdir(parents=True)
    for path in sorted((forty / "espresso").iterdir())[:3]:
        os.link(path, pictures / "espresso" / path.name)
    decoded: list[str] = []
    decode = work.read_image

    def counted(data: Any, name: str) -> Image.Image:
        decoded.append(name)
        return decode(data, name)

    monkeypatch.setattr(work, "read_image", counted)
    plan = plan_of(pictures, models, maps=())
    found = sweep.run(plan, tmp_path / "out")
    assert len(decoded) == 3
    assert found.models == models
    assert [(of.model, of.method) for of in found.maps] == list(made)
    rows, opened_models = Rows(found), opened(plan)
    for row in rows.pictures:
        image = core.read_image(pictures / row["path"])
        check_picture(row, rows, image, opened_models, made)
    two = len(models) * (len(models) - 1) // 2
    counts = {"pictures": 3, "answers": 3 * len(models), "maps": 3 * len(made)}
    counts |= {"divergences": 3 * two, "agreements": 3 * two}
    found.collect()
    for name, stored in found.tables.items():
        assert parquet.read_metadata(stored.path).num_rows == counts[name], name


def test_all_maps_of_a_model_are_of_one_pass(
    forty: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work.open(plan_of(forty, tiny, maps=("cam", "grad_cam", "layer_cam", "rollout")))
    passes: list[int] = []
    for number, model in enumerate(work.models):
        forward = model.module.forward

        def counted(*given: Any, forward: Any = forward, number: int = number) -> Any:
            passes.append(number)
            return forward(*given)

        monkeypatch.setattr(model.module, "forward", counted)
    source, items = list_pictures(str(forty))
    work.look(Chunk(0, source, tuple(items[:4])))
    assert passes == [0, 1]


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ((), "0 models"),
        (("tiny-cnn",) * 2, "named twice"),
        (("tiny-cnn", "tiny-vit", "other-cnn", "other-vit", "dinov2-small"), "5 models"),
        (("tiny-dog",), "tiny-dog"),
    ],
)
def test_models_that_cannot_be_swept_together_are_a_sentence(
    models: tuple[str, ...], said: str, tiny: tuple[str, ...]
) -> None:
    with pytest.raises(core.ParallaxError, match=said):
        plan_of("somewhere", models)


def test_a_map_is_asked_of_a_model_of_a_family_or_of_all_that_it_serves(
    forty: Path, tiny: tuple[str, ...]
) -> None:
    models = ("tiny-cnn", "tiny-vit", "other-vit")
    names = ("cam", "vit:rollout", "other-vit:legrad", "grad_cam")
    work = Work.open(plan_of(forty, models, maps=names))
    assert [(one.model, one.method) for one in work.asked] == [
        (0, "cam"),
        (1, "rollout"),
        (2, "rollout"),
        (2, "legrad"),
        (0, "grad_cam"),
        (1, "grad_cam"),
        (2, "grad_cam"),
    ]


def test_maps_before_rounding_are_those_of_each_picture_alone(
    forty: Path, tiny: tuple[str, ...]
) -> None:
    plan = plan_of(forty, tiny)
    work = Work.open(plan)
    source, items = list_pictures(str(forty))
    for one in work.look(Chunk(0, source, tuple(items))):
        assert one.view is not None
        for model, seen in one.seen.items():
            for number, together in seen.maps.items():
                method = work.asked[number].method
                alone = core.explain(work.models[model], one.view, method, framing=GIVEN)
                largest = np.abs(alone.relevance).max()
                assert np.abs(together.relevance - alone.relevance).max() <= 1e-5 * largest


@pytest.mark.slow
def test_the_default_models_on_the_samples(tmp_path: Path) -> None:
    samples = core.samples()[:3]
    for sample in samples:
        os.link(sample.path, tmp_path / sample.path.name)
    plan = sweep.Plan(str(tmp_path), maps=MAPS)
    found = sweep.run(plan, tmp_path / "out")
    models, rows = opened(plan), Rows(found)
    for row in rows.pictures:
        check_picture(row, rows, core.read_image(tmp_path / row["path"]), models)


def test_a_shared_class_is_asked_of_all_models(
    forty: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    found = sweep.run(plan_of(forty, tiny, target="shared"), tmp_path / "out")
    rows = Rows(found)
    for row in rows.pictures:
        index, label = row["index"], row["label"]
        wanted = label if label != "a unicorn" else rows.answers[index, 0]["answer"]
        assert {rows.maps[index, number]["target"] for number in range(4)} == {wanted}


def test_evidence_is_what_core_measures_of_each_picture(
    forty: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "three"
    folder.mkdir()
    for path in sorted((forty / "espresso").iterdir())[:3]:
        os.link(path, folder / path.name)
    plan = plan_of(folder, tiny, maps=("cam", "rollout"), evidence=True)
    found = sweep.run(plan, tmp_path / "out")
    models, rows = opened(plan), Rows(found)
    for row in rows.pictures:
        view = core.shared_view(models, core.read_image(folder / row["path"]))
        for number, method in enumerate(("cam", "rollout")):
            model, kept = models[number], rows.maps[row["index"], number]
            alone = core.explain(model, view, method, framing=GIVEN)
            areas = core.faithfulness(
                model, view, alone.relevance, alone.target, framing=GIVEN, steps=8
            )
            assert kept["deletion"] == pytest.approx(areas.deletion_area, rel=1e-3)
            assert kept["insertion"] == pytest.approx(areas.insertion_area, rel=1e-3)


# -- interrupted ----------------------------------------------------------------------------------

KILLED = """
import sys
from core import sweep
from core.sweep import projection
sweep.run(sweep.Plan(sys.argv[1], ("tiny-cnn", "tiny-vit")), sys.argv[2], chunk=2)
"""


def columns(found: sweep.Sweep, table: str = "pictures") -> pa.Table:
    """All light rows of a table, as their file has them."""
    found.collect()
    return parquet.read_table(found.tables[table].path)


def same_rows(first: sweep.Sweep, second: sweep.Sweep) -> None:
    for table in NUMBERED:
        for a, b in zip(rows_of(first, table), rows_of(second, table), strict=True):
            assert a.keys() == b.keys()
            for name, value in a.items():
                if isinstance(value, float):
                    assert b[name] == pytest.approx(value, abs=1e-4, rel=1e-4), name
                elif isinstance(value, list):
                    assert b[name] == pytest.approx(value, abs=2e-3, rel=2e-3), name
                else:
                    assert b[name] == value, name


@pytest.mark.slow
def test_killed_twice_it_ends_as_if_undisturbed(
    forty: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    out, total = tmp_path / "killed", 20
    command = [sys.executable, "-c", KILLED, str(forty), str(out)]
    parts = out / "parts" / "pictures"
    last = 0
    for _ in range(2):
        process = subprocess.Popen(command, cwd=ROOT)
        until = random.randint(last, total - 4)
        deadline = time.monotonic() + 240
        while len(list(parts.glob("[0-9]*"))) < until or not parts.is_dir():
            assert process.poll() is None, "it was to be killed before its end"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
        last = min(len(list(parts.glob("[0-9]*"))), total - 4)
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("[0-9]*")}
    plan = plan_of(forty, tiny, maps=())
    resumed = sweep.run(plan, out, chunk=2)
    assert resumed.finished
    assert resumed.done == 40
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    same_rows(resumed, sweep.run(plan, tmp_path / "undisturbed", chunk=2))
    assert columns(resumed)["index"].to_pylist() == list(range(40))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_of_ray_costs_no_row(
    forty: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    plan = plan_of(forty, tiny, maps=())
    killed: list[int] = []

    def kill_one(done: int, total: int) -> None:
        for process in psutil.Process().children(recursive=True) if done > 0 and not killed else ():
            with suppress(psutil.NoSuchProcess):  # it may end while it is asked
                if "_Worker" in " ".join(process.cmdline()) or "MapWorker" in process.name():
                    process.kill()
                    killed.append(process.pid)
                    return

    found = sweep.run(plan, tmp_path / "killed", engine="ray", chunk=2, on_progress=kill_one)
    assert killed, "no worker was found"
    assert found.finished
    same_rows(found, sweep.run(plan, tmp_path / "undisturbed", chunk=2))


def test_it_can_be_stopped_and_goes_on(forty: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    plan = plan_of(forty, tiny, maps=("cam",))
    stopped = sweep.run(plan, tmp_path, chunk=8, on_progress=lambda done, total: done < 16)
    assert stopped.done == 16
    assert not stopped.finished
    assert len(columns(stopped)) == 16
    said: list[tuple[int, int]] = []
    found = sweep.run(plan, tmp_path, chunk=8, on_progress=lambda *both: said.append(both))
    assert said == [(done, 40) for done in (16, 24, 32, 40)]
    assert len(columns(found)) == 40
    assert [run["command"] for run in found.manifest["runs"]] == ["core.sweep.run"] * 2
    assert sweep.open_sweep(tmp_path).plan == plan


def test_a_parameter_of_another_map_is_refused(tiny: tuple[str, ...]) -> None:
    with pytest.raises(core.ParameterError, match=r"none of the maps.*method\.parameter"):
        plan_of("somewhere", tiny, maps=("cam",), parameters=(("rise.definition", "paper"),))


class Interrupted(BaseException):
    """What ends a run in the middle, as a key of the keyboard does."""


def test_interrupted_after_parts_it_makes_nothing_twice(
    forty: Path, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once between two parts, once in the middle of one; each part is made and written once."""
    plan = plan_of(forty, tiny, maps=("cam",))
    looked: list[int] = []
    written: list[int] = []
    look, write = Work.look, sweep.Sweep.write

    def looking(work: Work, chunk: Chunk) -> Any:
        looked.append(chunk.number)
        if looked.count(3) == 1 and chunk.number == 3:
            raise Interrupted
        return look(work, chunk)

    def writing(found: sweep.Sweep, number: int, tables: Any) -> None:
        write(found, number, tables)
        written.append(number)

    def between(done: int, total: int) -> None:
        if done == 8:
            raise Interrupted

    monkeypatch.setattr(Work, "look", looking)
    monkeypatch.setattr(sweep.Sweep, "write", writing)
    for options in ({"on_progress": between}, {}):
        with pytest.raises(Interrupted):
            sweep.run(plan, tmp_path, chunk=8, **options)
    assert written == [0, 1, 2], "parts must be there when it is gone on with"
    before = {path: path.read_bytes() for path in (tmp_path / "parts").rglob("[0-9]*")}
    assert len(before) == 3 * len(NUMBERED)
    found = sweep.run(plan, tmp_path, chunk=8)
    assert written == [0, 1, 2, 3, 4]
    assert looked == [0, 1, 2, 3, 3, 4]
    after = {path: path.read_bytes() for path in (tmp_path / "parts").rglob("[0-9]*")}
    assert before.items() <= after.items()
    assert columns(found)["index"].to_pylist() == list(range(40))
    assert sweep.run(plan, tmp_path, chunk=8).done == 40
    assert written == [0, 1, 2, 3, 4], "one that has finished makes nothing"


@pytest.mark.parametrize("steps", [1, 5, 9, 13])
def test_who_watches_ends_it_in_the_middle_of_a_part(
    steps: int, forty: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """To be stopped is no error of a picture: no row says so, and the next run makes them."""
    plan = plan_of(forty, tiny, maps=("cam",))
    told: list[int] = []

    def goes_on(done: int, total: int) -> bool:
        told.append(done)
        return len(told) < steps

    with pytest.raises(core.Stopped), core.watching(goes_on):
        sweep.run(plan, tmp_path, chunk=8)
    assert len(told) == steps
    found = sweep.run(plan, tmp_path, chunk=8)
    assert found.finished
    assert set(columns(found)["error"].to_pylist()) == {""}


def test_a_second_writer_is_refused_in_a_sentence(
    forty: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    plan = plan_of(forty, tiny, maps=("cam",))
    refused: list[str] = []

    def begin_another(done: int, total: int) -> None:
        if done == 20:
            with pytest.raises(core.SweepError) as told:
                sweep.run(plan, tmp_path, chunk=20)
            refused.append(str(told.value))

    assert sweep.run(plan, tmp_path, chunk=20, on_progress=begin_another).finished
    [sentence] = refused
    assert "another run" in sentence
    assert "\n" not in sentence


def test_a_full_disk_ends_it_in_a_sentence_and_it_goes_on_later(
    forty: Path,
    tiny: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    given = [str(forty), "--out", str(out), "--cnn", "tiny-cnn", "--vit", "tiny-vit"]
    given += ["--maps", "cam", "--chunk", "8"]
    write = parquet.write_table

    def full(table: Any, where: Any, **options: Any) -> None:
        if "00002.parquet" in str(where):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(table, where, **options)

    with monkeypatch.context() as patch:
        patch.setattr(parquet, "write_table", full)
        assert main(given) == 2
    *_, sentence = capsys.readouterr().err.splitlines()
    assert "No space left on device" in sentence
    assert "continues" in sentence
    assert sweep.open_sweep(out).written == [0, 1]
    assert main(given) == 0
    assert columns(sweep.open_sweep(out))["index"].to_pylist() == list(range(40))


def test_pictures_of_strangers_give_the_same_rows(
    tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.sweep import work

    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, color in enumerate(("teal", "navy", "red", "olive", "white", "black")):
        (folder / f"{number}.jpg").write_bytes(jpeg(color))
    (folder / "2.jpg").write_bytes(b"\xff\xd8 no picture")
    plan = plan_of(folder, tiny, maps=("cam",))
    here = sweep.run(plan, tmp_path / "here")
    monkeypatch.delattr(work, "read_image")  # nothing is decoded in this process
    strange = sweep.run(plan, tmp_path / "strange", strange=True)
    same_rows(here, strange)
    assert [bool(row["error"]) for row in rows_of(strange)] == [n == 2 for n in range(6)]
    with pytest.raises(core.SweepError, match="ray"):
        sweep.run(plan, tmp_path / "ray", strange=True, engine="ray")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"maps": ("cam", "rollout")}, "maps"),
        ({"framing": core.Framing("pad")}, "framing"),
        ({"models": ("efficientnet-lite0", "tiny-vit")}, r"models\.0"),
        ({"models": ("tiny-cnn",)}, "models"),
        ({"target": "shared"}, "target"),
        ({"pictures": "elsewhere"}, "pictures"),
        ({"chunk": 4}, "chunk"),
    ],
)
def test_another_sweep_is_not_mixed_in(
    options: dict[str, Any], said: str, forty: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    plan = plan_of(forty, tiny, maps=("cam",))
    sweep.run(plan, tmp_path, chunk=8, on_progress=lambda done, total: done < 8)
    chunk = options.pop("chunk", 8)
    other = sweep.Plan(**{**vars(plan), **options})
    with pytest.raises(core.SweepError, match=said):
        sweep.run(other, tmp_path, chunk=chunk)


def test_other_weights_under_the_same_name_are_refused(
    forty: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    plan = plan_of(forty, tiny, maps=("cam",))
    found = sweep.run(plan, tmp_path, on_progress=lambda done, total: False)
    path = found.folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["models"][1]["weights_sha256"] = "0" * 64
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(core.SweepError, match="weights_sha256"):
        sweep.run(plan, tmp_path)
    manifest["version"] = 0
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(core.SweepError, match="layout 0"):
        sweep.run(plan, tmp_path)


def test_a_folder_of_something_else_is_left_alone(
    forty: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("dear to somebody", encoding="utf-8")
    with pytest.raises(core.SweepError, match=r"thesis\.txt"):
        sweep.run(plan_of(forty, tiny), tmp_path)
    with pytest.raises(core.SweepError, match="no sweep"):
        sweep.open_sweep(tmp_path)


def test_a_damaged_part_is_a_sentence(forty: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    found = sweep.run(plan_of(forty, tiny, maps=("cam",)), tmp_path, chunk=20)
    shutil.rmtree(found.rows)
    whole = found.part(1, "maps").read_bytes()
    for name in ("maps", "pictures"):
        found.part(1, name).write_bytes(b"PAR1")
        for call in (found.collect, lambda name=name: found.read(name, [30], ["index"])):
            with pytest.raises(core.SweepError):
                call()
    found.part(1, "maps").write_bytes(whole)
    found.part(1).unlink()
    assert sweep.run(found.plan, tmp_path, chunk=20).done == 40


# -- pictures -------------------------------------------------------------------------------------


def jpeg(color: str, size: tuple[int, int] = (120, 90)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_picture_that_cannot_be_read_is_a_row_with_its_error(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg("teal"))
    (folder / "b.jpg").write_bytes(b"\xff\xd8 no picture")
    (folder / "c.png").write_bytes(b"")
    (folder / "d.jpg").write_bytes(jpeg("navy"))
    found = sweep.run(plan_of(folder, tiny, maps=("cam", "rollout")), tmp_path / "out")
    rows = rows_of(found)
    assert [bool(row["error"]) for row in rows] == [False, True, True, False]
    assert "b.jpg" in rows[1]["error"]
    for table in ("answers", "maps"):
        assert {row["index"] for row in rows_of(found, table)} == {0, 3}
        assert len(columns(found, table)) == 4


@pytest.mark.parametrize("kind", ["bytes", "image", "path"])
def test_pictures_of_a_parquet_file(kind: str, tmp_path: Path) -> None:
    files = [jpeg(color) for color in ("red", "green", "blue", "white", "black")]
    if kind == "path":
        for index, data in enumerate(files):
            (tmp_path / f"{index}.jpg").write_bytes(data)
        held: Any = [f"{index}.jpg" for index in range(4)] + [str(tmp_path / "4.jpg")]
    else:
        held = files if kind == "bytes" else [{"bytes": data, "path": None} for data in files]
    table = pa.table({kind: held, "label": ["espresso", None, "tabby", "", "espresso"]})
    parquet.write_table(table, tmp_path / "list.parquet", row_group_size=2)
    source, items = list_pictures(str(tmp_path / "list.parquet"))
    assert [item.label for item in items] == ["espresso", "", "tabby", "", "espresso"]
    assert list(read(source, items)) == files
    assert list(read(source, items[3:])) == files[3:]
    assert list(read(source, [items[1], items[4]])) == [files[1], files[4]]


def test_pictures_of_an_address() -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    for name in ("pets/tabby/1.jpg", "pets/tabby/2.JPG", "pets/espresso/3.jpg", "pets/notes.txt"):
        system.pipe(f"/{name}", jpeg("olive"))
    source, items = list_pictures("memory://pets")
    assert [(item.path, item.label) for item in items] == [
        ("espresso/3.jpg", "espresso"),
        ("tabby/1.jpg", "tabby"),
        ("tabby/2.JPG", "tabby"),
    ]
    assert list(read(source, items)) == [jpeg("olive")] * 3
    with pytest.raises(core.SweepError, match="unheard"):
        list_pictures("unheard://of/pictures")


def test_an_original_is_read_inside_the_source_only(tiny: tuple[str, ...], tmp_path: Path) -> None:
    folder, secret = tmp_path / "pictures", tmp_path / "secret.jpg"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg("teal"))
    secret.write_bytes(jpeg("red"))
    (folder / "b.jpg").symlink_to(secret)
    found = sweep.run(plan_of(folder, tiny, maps=("cam",)), tmp_path / "out")
    assert found.original(0) == jpeg("teal")
    with pytest.raises(core.SweepError, match="outside"):
        found.original(1)
    (folder / "a.jpg").unlink()
    with pytest.raises(core.SweepError, match="moved"):
        found.original(0)
    with pytest.raises(core.SweepError, match="no picture 7"):
        found.original(7)


# -- labels, columns, the command -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("tabby", "tabby"),
        ("Egyptian_Cat", "Egyptian cat"),
        ("egyptian  cat", "Egyptian cat"),
        ("Felis tigris", "tiger cat, Felis tigris"),
        ("crane", None),
        ("unicorn", None),
        ("", None),
        ("kitty", "tabby"),
        ("wheelbarrow", None),
    ],
)
def test_labels_mean_classes_by_name(label: str, name: str | None) -> None:
    classes = ("tabby", "Egyptian cat", "tiger cat, Felis tigris", "crane", "Crane", "wheelbarrow")
    exceptions = {"Kitty": "tabby", "wheelbarrow": ""}
    found = class_of(label, classes, exceptions)
    assert (None if found is None else classes[found]) == name


def test_divergence_at_its_ends() -> None:
    def answer(*logits: float) -> core.Prediction:
        return core.Prediction(np.array([0]), ("a",), np.array([1.0]), np.array(logits, np.float32))

    every = np.array([[0, 1, 2], [0, 1, 2]])
    assert divergence(answer(1, 2, 3), answer(1, 2, 3), every) == 0
    assert divergence(answer(99, 0, 0), answer(0, 99, 0), every) == pytest.approx(1)
    swapped = np.array([[0, 1], [1, 0]])
    assert divergence(answer(1, 2, 9), answer(2, 1, -9), swapped) == pytest.approx(0, abs=1e-12)
    assert divergence(answer(1), answer(1), np.zeros((2, 0), int)) is None


def test_every_column_says_what_it_means() -> None:
    for tables in (schemas(), light_schemas()):
        assert list(tables) == list(NUMBERED)
        for schema in tables.values():
            for field in schema:
                assert field.metadata[b"meaning"]


def test_the_files_of_rows_hold_principal_components_and_nothing_heavy(
    forty: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    found = sweep.run(plan_of(forty, tiny, maps=("cam",)), tmp_path, chunk=16)
    for name in NUMBERED:
        held = set(parquet.read_schema(found.part(0, name)).names)
        more = set(COMPONENTS) if name == "answers" else set()
        assert set(columns(found, name).column_names) == held - set(HEAVY) | more
    table = columns(found, "answers").to_pylist()
    for number in range(2):
        rows = [row for row in rows_of(found, "answers") if row["model"] == number]
        vectors = np.array([row["embedding"] for row in rows], np.float64)
        vectors -= vectors.mean(axis=0)
        left, scale, _ = np.linalg.svd(vectors, full_matrices=False)
        for axis in range(2):
            held = np.array([r[f"pca_{axis + 1}"] for r in table if r["model"] == number])
            expected = left[:, axis] * scale[axis]
            close(held * np.sign(held @ expected), expected, 1e-4)


def test_the_rows_of_one_model_are_a_row_group(
    forty: Path, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.sweep import store

    monkeypatch.setattr(store, "ROW_GROUP", 20)
    found = sweep.run(plan_of(forty, tiny, maps=()), tmp_path, chunk=10)
    found.collect()
    file = parquet.ParquetFile(found.tables["answers"].path)
    groups = [file.read_row_group(place) for place in range(file.num_row_groups)]
    assert [(set(g["model"].to_pylist()), len(g)) for g in groups] == [({0}, 20), ({1}, 20)] * 2
    assert [g["index"][0].as_py() for g in groups] == [0, 0, 20, 20]


def test_umap_stands_beside_them_where_it_is_installed(
    forty: Path, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Umap:
        """Stands in for umap-learn, which takes long to import: the first two channels."""

        def __init__(self, **options: Any) -> None:
            assert options["random_state"] == 0

        def fit_transform(self, values: np.ndarray) -> np.ndarray:
            return values[:, :2]

    stand_in: Any = ModuleType("umap")
    stand_in.__spec__ = ModuleSpec("umap", None)
    stand_in.UMAP = Umap
    monkeypatch.setitem(sys.modules, "umap", stand_in)
    found = sweep.run(plan_of(forty, tiny, maps=("cam",)), tmp_path, chunk=16)
    table = columns(found, "answers").to_pylist()
    for number in range(2):
        rows = [row for row in rows_of(found, "answers") if row["model"] == number]
        vectors = np.array([row["embedding"] for row in rows], np.float64)
        for axis in range(2):
            held = np.array([r[f"umap_{axis + 1}"] for r in table if r["model"] == number])
            close(held, vectors[:, axis], 1e-3)
    monkeypatch.setattr(projection, "MOST_FOR_UMAP", 39)
    projection.write_rows(found.table, [0, 1, 2], 2, 1, tmp_path / "again", 100)
    answers = parquet.read_table(tmp_path / "again" / "answers.parquet")
    assert answers["pca_1"].null_count == 0
    assert answers["umap_1"].null_count == len(answers)


@pytest.fixture
def one_picture(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg("teal"))
    return folder


def test_the_command_makes_what_the_function_makes(
    one_picture: Path, tiny: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = [str(one_picture), "--out", str(out), "--cnn", "tiny-cnn", "--vit", "tiny-vit"]
    assert main([*given, "--maps", "cnn:grad_cam,rollout", "--framing", "pad"]) == 0
    found = sweep.open_sweep(out)
    assert found.finished
    assert found.models == PAIR
    assert found.maps == (sweep.MapOf(0, "grad_cam"), sweep.MapOf(1, "rollout"))
    assert found.plan.framing == core.Framing("pad")
    assert found.manifest["maps"][1]["parameters"]["fusion"]
    assert "--framing pad" in found.manifest["runs"][0]["command"]
    assert "1 of 1 pictures" in capsys.readouterr().err


def test_the_command_takes_any_models(
    one_picture: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    models = ("tiny-vit", "tiny-cnn", "other-vit")
    given = [str(one_picture), "--out", str(tmp_path / "out"), "--models", ",".join(models)]
    assert main([*given, "--maps", "cam,other-vit:rollout"]) == 0
    found = sweep.open_sweep(tmp_path / "out")
    assert found.models == models
    assert found.maps == (sweep.MapOf(1, "cam"), sweep.MapOf(2, "rollout"))
    assert main([*given[:1], "--out", str(tmp_path / "usual"), "--models", "tiny-vit"]) == 0
    assert sweep.open_sweep(tmp_path / "usual").maps == (sweep.MapOf(0, "gradient_rollout"),)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere"),
        ([".", "--maps", "magic"], "magic"),
        ([".", "--maps", "vit:cam"], "CAM"),
        ([".", "--maps", "dog:cam"], "dog"),
        ([".", "--cnn", "tiny-vit"], "tiny-vit"),
        ([".", "--cnn", "resnet-5000"], "resnet-5000"),
        ([".", "--models", "tiny-vit"], "one of the two"),
        ([".", "--address", "ray://somewhere:1"], "address"),
        ([".", "--exceptions", "nowhere.toml"], "nowhere.toml"),
        ([".", "--chunk", "0"], "pictures per part is 0"),
    ],
)
def test_what_the_command_refuses_is_one_sentence(
    arguments: list[str],
    said: str,
    one_picture: Path,
    tiny: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(one_picture)
    given = ["--cnn", "tiny-cnn", "--vit", "tiny-vit", "--out", str(tmp_path / "out")]
    assert main([*given, *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_ray_that_is_not_installed_is_named(
    one_picture: Path, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(core.SweepError, match="requirements"):
        sweep.run(plan_of(one_picture, tiny), tmp_path / "out", engine="ray")


def test_a_source_is_plain_data() -> None:
    assert Source("folder", "/pictures") == Source(**vars(Source("folder", "/pictures")))


def test_a_sweep_that_is_shipped_finds_its_pictures_wherever_both_lie(
    forty: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    pictures = tmp_path / "here" / "demo" / "pictures"
    shutil.copytree(forty, pictures)
    plan, made = plan_of(pictures, tiny, maps=("cam",)), tmp_path / "work"
    sweep.run(plan, made, chunk=32, on_progress=lambda done, total: done == 0)
    target = tmp_path / "here" / "sweeps" / "shown"
    with pytest.raises(SystemExit, match="32 of 40 pictures"):
        demo_sweep.publish(made, target, pictures)
    sweep.run(plan, made, chunk=32)
    demo_sweep.publish(made, target, pictures)
    moved = (tmp_path / "here").rename(tmp_path / "there")
    [found] = sweep.find_sweeps(moved / "sweeps")
    assert found.finished
    assert found.manifest["pictures"]["source"]["root"] == "../../demo/pictures"
    one = found.items[7]
    assert found.original(7) == (moved / "demo" / "pictures" / one.path).read_bytes()


def test_each_component_says_what_it_is() -> None:
    schema = light_schemas()["answers"]
    meanings = {name: schema.field(name).metadata[b"meaning"].decode() for name in COMPONENTS}
    assert meanings["pca_1"] == "principal component 1 of the model's embeddings"
    assert {meaning.split(" of ")[0] for name, meaning in meanings.items() if "umap" in name} == {
        "UMAP coordinate 1",
        "UMAP coordinate 2",
    }
