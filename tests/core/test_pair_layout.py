"""Sweeps of 0.4 and 0.5, of a pair and with wide rows, open as they are.

``tests/support/sweeps/pair-layout`` was written by version 0.5: three photographs of
``data/demo/pictures`` and a file that is no picture, with maps, evidence and a shared class.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import core
from core import sweep
from core.sweep import pair_layout
from core.sweep.schema import HEAVY, NUMBERED, light_schemas, schemas
from tests.core.test_sweep_folders import rewrite

STORED = Path(__file__).resolve().parents[1] / "support" / "sweeps" / "pair-layout"
KEYS = ("cnn_cam", "vit_rollout", "cnn_grad_cam")


@pytest.fixture
def old(tmp_path: Path) -> sweep.Sweep:
    """The sweep of then, in a folder of its own."""
    shutil.copytree(STORED, tmp_path / "old")
    return sweep.open_sweep(tmp_path / "old")


@pytest.fixture
def wide(old: sweep.Sweep) -> list[dict[str, Any]]:
    """Its rows as they were written."""
    parts = [parquet.read_table(path) for path in sorted((old.folder / "parts").iterdir())]
    rows: list[dict[str, Any]] = pa.concat_tables(parts).to_pylist()
    return rows


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def check(name: str, row: dict[str, Any], was: dict[str, Any]) -> None:
    """A long row says what the wide one did."""
    if name == "answers":
        key = ("cnn", "vit")[row["model"]]
        for column in ("answer", "probability", "top", "top_probabilities", "right"):
            assert row[column] == was[f"{key}_{column}"], column
        assert row["label_class"] == was[f"{key}_class"]
        assert row["artifacts"] == (was["artifacts"] if key == "vit" else None)
        assert row["label_rank"] is row["label_log_probability"] is None
        assert "embedding" not in row or row["embedding"] == was[f"embedding__{key}"]
    elif name == "maps":
        key = KEYS[row["map"]]
        for column in ("target", "prefix_mass", "deletion", "insertion"):
            assert row[column] == was[f"{column}__{key}"], column
        if "relevance" in row:
            held = (row["relevance"], row["scale"], row["shape"])
            assert held == (was[f"map__{key}"], was[f"scale__{key}"], was[f"shape__{key}"])
    elif name == "divergences":
        assert (row["first"], row["second"]) == (0, 1)
        assert row["divergence"] == was["divergence"]
    elif name == "agreements":
        two = f"{KEYS[row['first']]}__{KEYS[row['second']]}"
        assert row["correlation"] == was[f"correlation__{two}"]
        assert row["overlap"] == was[f"overlap__{two}"]
    else:
        assert all(row[column] == was[column] for column in row)


def test_its_manifest_says_what_it_said(old: sweep.Sweep) -> None:
    assert old.models == ("efficientnet-lite0", "dinov2-small")
    assert old.maps == (
        sweep.MapOf(0, "cam"),
        sweep.MapOf(1, "rollout"),
        sweep.MapOf(0, "grad_cam"),
    )
    assert old.finished
    plan = old.plan
    assert (plan.models, plan.target, plan.evidence) == (old.models, "shared", True)
    assert plan.maps == ("cam", "rollout", "cnn:grad_cam")
    assert plan.framing == core.Framing("crop", 224)
    assert [len(names) for names in old.manifest["classes"]] == [1000, 1000]
    assert [one["weights_sha256"][:4] for one in old.manifest["models"]] == [
        json.loads((old.folder / "manifest.json").read_text(encoding="utf-8"))["models"][key][
            "weights_sha256"
        ][:4]
        for key in ("cnn", "vit")
    ]


@pytest.mark.parametrize("name", NUMBERED)
def test_parts_are_read_as_long_ones(
    name: str, old: sweep.Sweep, wide: list[dict[str, Any]]
) -> None:
    columns = schemas()[name].names
    for indices in ([0, 1, 2, 3], [3, 1]):
        rows = old.read(name, indices, columns)
        each = {"pictures": 1, "answers": 2, "maps": 3, "divergences": 1, "agreements": 3}[name]
        assert [row["index"] for row in rows] == [i for i in indices for _ in range(each)]
        for row in rows:
            check(name, row, wide[row["index"]])


def test_rows_of_then_are_used_and_nothing_is_written(
    old: sweep.Sweep, wide: list[dict[str, Any]]
) -> None:
    before = digests(old.folder)
    old.collect()
    assert digests(old.folder) == before
    for name, stored in old.tables.items():
        assert stored.path == old.folder / "rows.parquet"
        columns = [column for column in light_schemas()[name].names if "umap" not in column]
        file = parquet.read_table(stored.path)
        table = pair_layout.stacked(file, name, stored.projections, columns)
        for row in table.to_pylist():
            check(name, row, wide[row["index"]])
            if name == "answers":
                key = ("cnn", "vit")[row["model"]]
                assert row["pca_1"] == file[f"{key}_pca_1"][row["index"]].as_py()


def test_rows_that_are_behind_are_gathered_beside_them(
    old: sweep.Sweep, wide: list[dict[str, Any]]
) -> None:
    """As of a sweep that was interrupted and never looked at."""
    stated = parquet.read_table(old.folder / "rows.parquet")
    (old.folder / "rows.parquet").unlink()
    before = digests(old.folder)
    old.collect()
    assert before.items() <= digests(old.folder).items()
    for name, stored in old.tables.items():
        table = parquet.read_table(stored.path)
        assert not set(table.column_names) & set(HEAVY)
        for row in table.to_pylist():
            check(name, row, wide[row["index"]])
    answers = parquet.read_table(old.tables["answers"].path).to_pylist()
    for row in answers:
        key = ("cnn", "vit")[row["model"]]
        for axis in ("pca_1", "pca_2"):
            was = stated[f"{key}_{axis}"][row["index"]].as_py()
            assert row[axis] == (was if was is None else pytest.approx(was, abs=1e-3))


def test_it_is_not_gone_on_with(old: sweep.Sweep, tmp_path: Path) -> None:
    before = digests(old.folder)
    with pytest.raises(core.SweepError, match="earlier version") as told:
        sweep.run(old.plan, old.folder, chunk=3)
    assert "another folder" in str(told.value)
    after = digests(old.folder)
    after.pop(".lock", None)
    assert after == before


def test_one_of_0_4_keeps_the_definition_of_then(old: sweep.Sweep) -> None:
    """Version 0.4 wrote no parameters into a plan, and RISE had no definition to be written."""

    def as_then(manifest: dict[str, Any]) -> None:
        del manifest["plan"]["parameters"]
        manifest["plan"]["maps"][0] = "cnn:rise"
        manifest["maps"]["cnn_cam"].update(method="rise", parameters={"count": 6})

    found = rewrite(old, as_then)
    assert found.manifest["maps"][0]["parameters"]["definition"] == "paper"
    assert found.plan.parameters == (("rise.definition", "paper"),)


def test_a_pair_whose_models_are_not_known_here_opens(old: sweep.Sweep) -> None:
    found = rewrite(old, lambda manifest: manifest["plan"].update(vit="gone"))
    assert found.models == ("efficientnet-lite0", "gone")
    assert len(found.read("answers", [0], ["answer"])) == 2
    with pytest.raises(core.ParallaxError, match="gone"):
        _ = found.plan


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["maps"].update({'cnn_x") FROM rows; --': {"method": "x"}}),
        lambda m: m["maps"]["cnn_cam"].update(method="../cam"),
        lambda m: m["maps"].update(
            {f"cnn_m{n}": {"method": "cam", "parameters": {}} for n in range(1000)}
        ),
        lambda m: m["classes"].update(cnn={"0": "tench"}),
        lambda m: m["plan"].pop("vit"),
        lambda m: m.update(models=[]),
        lambda m: m.update(version=2),
        lambda m: m.update(version=True),
    ],
)
def test_a_manifest_of_then_that_cannot_be_true_is_a_sentence(
    change: Any, old: sweep.Sweep
) -> None:
    with pytest.raises(core.SweepError, match="old") as told:
        rewrite(old, change)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("damage", ["a column less", "another type", "no Parquet"])
def test_a_damaged_part_of_then_is_a_sentence(damage: str, old: sweep.Sweep) -> None:
    (old.folder / "rows.parquet").unlink()
    table = parquet.read_table(old.part(0))
    if damage == "a column less":
        parquet.write_table(table.drop_columns(["map__cnn_cam"]), old.part(0))
    elif damage == "another type":
        place = table.column_names.index("map__cnn_cam")
        parquet.write_table(table.set_column(place, "map__cnn_cam", table["path"]), old.part(0))
    else:
        old.part(0).write_bytes(b"PAR1")
    with pytest.raises(core.SweepError) as told:
        old.read("maps", [0], ["relevance"])
    assert "\n" not in str(told.value)
