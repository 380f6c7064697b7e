"""Questions to the rows of a sweep, against the same answers from pandas; sweeps of visitors."""

from __future__ import annotations

import gc
import io
import json
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import core
from core import sweep
from dashboard import sweeps
from dashboard.sweeping import KEPT, MOST_PICTURES, Made
from dashboard.sweeps import SweepTable, Unfit, method_title, model_title
from pages.data_set.scatter import scatter
from tests.support.rows import synthetic

COUNT = 500
CNN, VIT, OTHER_VIT = "efficientnet-lite0", "dinov2-small", "timm/deit_tiny_patch16_224.fb_in1k"
THREE = (CNN, VIT, OTHER_VIT)
PAIR_LAYOUT = Path(__file__).resolve().parents[1] / "support" / "sweeps" / "pair-layout"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> SweepTable:
    """Five hundred made-up rows."""
    return SweepTable(synthetic(tmp_path_factory.mktemp("sweep"), COUNT))


def wide(rows: SweepTable) -> pd.DataFrame:
    """The rows of two models in pandas, a line for each picture."""

    def table(name: str, **chosen: int) -> pd.DataFrame:
        found: pd.DataFrame = parquet.read_table(rows.sweep.tables[name].path).to_pandas()
        for column, number in chosen.items():
            found = found[found[column] == number]
        return found.drop(columns=list(chosen)).set_index("index")

    found = table("pictures")
    for place, number in zip(("first", "second"), rows.compared, strict=False):
        found = found.join(table("answers", model=number).add_prefix(f"{place}_"))
    if len(rows.compared) == 2:
        first, second = sorted(rows.compared)
        found = found.join(table("divergences", first=first, second=second))
        found = found.join(table("agreements", first=first, second=second))
        found["same"] = found["first_answer"].eq(found["second_answer"]).astype(object)
        found.loc[found["first_answer"].isna() | found["second_answer"].isna(), "same"] = None
    return found.reset_index()


@pytest.fixture(scope="module")
def frame(rows: SweepTable) -> pd.DataFrame:
    """The same rows in pandas."""
    return wide(rows)


FILTERS: dict[tuple[str, ...], Any] = {
    (): lambda f: f["index"] >= 0,
    ("divergence>0.5",): lambda f: f["divergence"] > 0.5,
    ("same_answer=no", f"artifacts:{VIT}>=1"): lambda f: (
        f["same"].eq(False) & (f["second_artifacts"] >= 1)
    ),
    ("same_answer=no", "artifacts>=1"): lambda f: (
        f["same"].eq(False) & (f["second_artifacts"] >= 1)
    ),
    ("label=class 7",): lambda f: f["label"] == "class 7",
    ("label!=",): lambda f: f["label"] != "",
    (f"right:{CNN}=unknown",): lambda f: f["first_right"].isna(),
    (f"right:{VIT}=yes", f"right:{CNN}=no"): lambda f: (
        f["second_right"].eq(True) & f["first_right"].eq(False)
    ),
    ("vit_right=yes", "cnn_right=no"): lambda f: (
        f["second_right"].eq(True) & f["first_right"].eq(False)
    ),
    (f"label_rank:{VIT}>0", f"label_log_probability:{CNN}<-1"): lambda f: (
        (f["second_label_rank"] > 0) & (f["first_label_log_probability"] < -1)
    ),
    ("overlap__cnn_cam__vit_gradient_rollout<0.1",): lambda f: f["overlap"] < 0.1,
    (f"correlation:{CNN}:cam:{VIT}:gradient_rollout>0.2",): lambda f: f["correlation"] > 0.2,
}


@pytest.mark.parametrize("filters", FILTERS)
def test_figures_are_those_of_the_rows_that_are_left(
    filters: tuple[str, ...], rows: SweepTable, frame: pd.DataFrame
) -> None:
    left = frame[FILTERS[filters](frame).fillna(False).astype(bool)]
    found = rows.figures(filters)
    assert (found.pictures, found.all) == (len(left), COUNT)
    assert found.failed == (left["error"] != "").sum()
    assert found.labeled == left["first_right"].notna().sum()
    for median, column in ((found.correlation, "correlation"), (found.overlap, "overlap")):
        assert median == pytest.approx(left[column].median())
    for share, column in (
        (found.same, "same"),
        (found.first_right, "first_right"),
        (found.second_right, "second_right"),
    ):
        known = left[column].dropna().astype(float)
        assert share == (pytest.approx(known.mean()) if len(known) else None)


@pytest.mark.parametrize("filters", [(), ("divergence>0.5",), (f"right:{CNN}=yes",)])
def test_accuracy_and_likelihood_are_those_of_the_labeled_rows_that_are_left(
    filters: tuple[str, ...], rows: SweepTable, frame: pd.DataFrame
) -> None:
    chosen = {**FILTERS, (f"right:{CNN}=yes",): lambda f: f["first_right"].eq(True)}[filters]
    left = frame[chosen(frame).fillna(False).astype(bool)]
    found = rows.measures(filters)
    for place, one in zip(("first", "second"), found.models, strict=True):
        known = left[left[f"{place}_right"].notna()]
        assert one.count == len(known) > 0
        assert one.accuracy.value == pytest.approx(known[f"{place}_right"].astype(float).mean())
        likelihood = -known[f"{place}_label_log_probability"].mean()
        assert one.negative_log_likelihood.value == pytest.approx(likelihood, rel=1e-5)
        assert one.first_five.value == (known[f"{place}_label_rank"] < 5).mean()
    [difference] = found.differences
    both = left[left["first_right"].notna() & left["second_right"].notna()]
    pairs = both["second_right"].astype(float) - both["first_right"].astype(float)
    assert difference.count == len(both)
    assert difference.accuracy.value == pytest.approx(pairs.mean())


@pytest.mark.parametrize(
    "text",
    ["", "nothing>1", "divergence", "divergence>high", "same_answer=perhaps", "label>3", "x;DROP"],
)
def test_a_filter_that_means_nothing_is_one_sentence(text: str, rows: SweepTable) -> None:
    with pytest.raises(Unfit) as told:
        rows.condition([text])
    assert "\n" not in str(told.value)


def test_a_value_of_a_filter_is_never_code(rows: SweepTable) -> None:
    assert rows.figures(["label=x' OR '1'='1"]).pictures == 0


def test_a_way_through_the_pictures_is_paged_without_gaps(rows: SweepTable) -> None:
    assert len(rows.orders()) == 8
    for order in rows.orders():
        every: list[int] = []
        total = 1
        while len(every) < total:
            leaf, total = rows.gallery(order, (), len(every), 97)
            every += [seen.picture["index"] for seen in leaf]
        assert len(set(every)) == len(every) == total, order
        assert total <= COUNT


def test_orders_put_first_what_they_say(rows: SweepTable, frame: pd.DataFrame) -> None:
    by_index = frame.set_index("index")

    def first(order: str, of: SweepTable = rows) -> pd.Series:
        found: pd.Series = by_index.loc[of.gallery(order, (), 0, 1)[0][0].picture["index"]]
        return found

    assert first("maps")["correlation"] == frame["correlation"].min()
    assert first("alike")["correlation"] == frame["correlation"].max()
    assert first("divergence")["divergence"] == frame["divergence"].max()
    assert first("artifacts")["second_artifacts"] == frame["second_artifacts"].max()
    wrong = frame[frame["second_right"].eq(True) & frame["first_right"].eq(False)]
    assert first("second_right")["second_probability"] == wrong["second_probability"].max()
    wrong = frame[frame["first_right"].eq(True) & frame["second_right"].eq(False)]
    assert first("first_right")["first_probability"] == wrong["first_probability"].max()
    apart = frame[frame["same"].eq(False)]
    surest = apart[["first_probability", "second_probability"]].min(axis=1).max()
    seen = first("surest")
    assert min(seen["first_probability"], seen["second_probability"]) == surest
    alone = rows.comparing(1, 1)
    wrong = frame[frame["second_right"].eq(False)]
    assert first("wrong", alone)["second_probability"] == wrong["second_probability"].max()


def test_all_rows_of_a_picture_come_together(rows: SweepTable, frame: pd.DataFrame) -> None:
    indices = [7, 3, 100_000]
    found = rows.rows(indices)
    assert [seen.picture["index"] for seen in found] == [7, 3]
    for seen in found:
        was = frame.set_index("index").loc[seen.picture["index"]]
        assert seen.picture["path"] == was["path"]
        assert seen.answers[0]["answer"] == was["first_answer"]
        assert seen.answers[1]["probability"] == was["second_probability"]
        assert seen.divergences[0, 1]["divergence"] == was["divergence"]
        assert seen.agreements[0, 1]["overlap"] == was["overlap"]
        assert set(seen.maps) == {0, 1}


@pytest.mark.parametrize("color", ["agreement", "outcome", "label"])
def test_a_scatter_shows_all_or_a_sample_that_stays(color: str, rows: SweepTable) -> None:
    every = rows.scatter("divergence", "correlation", color)
    assert len(every.frame) == every.total
    few = rows.scatter("divergence", "correlation", color, most=50)
    assert len(few.frame) == 50
    assert few.total == every.total
    again = rows.scatter("divergence", "correlation", color, most=50)
    assert few.frame.equals(again.frame)
    assert set(few.frame["group"]) <= set(few.groups)
    figure = scatter(every, "x", "y")
    assert sum(len(trace.x) for trace in figure.data) == every.total


def test_the_groups_of_a_scatter(rows: SweepTable, frame: pd.DataFrame) -> None:
    points = rows.scatter("divergence", "correlation", "outcome")
    assert points.groups["second"] == "only DINOv2 ViT-S/14 right"
    merged = points.frame.merge(frame, on="index")
    for group, first, second in (
        ("both", True, True),
        ("first", True, False),
        ("second", False, True),
        ("neither", False, False),
    ):
        part = merged[merged["group"] == group]
        assert len(part)
        assert part["first_right"].eq(first).all()
        assert part["second_right"].eq(second).all()
    assert merged[merged["group"] == "unlabeled"]["first_right"].isna().all()
    points = rows.scatter("divergence", "correlation", "agreement")
    merged = points.frame.merge(frame, on="index")
    assert merged["group"].eq("same").equals(merged["same"].eq(True))


def test_the_table_of_classes(rows: SweepTable, frame: pd.DataFrame) -> None:
    table = rows.classes()
    known = frame[frame["first_right"].notna() & (frame["error"] == "")]
    assert table["pictures"].sum() == len(known)
    one = known[known["label"] == table["name"].iloc[0]]
    assert table["first"].iloc[0] == pytest.approx(one["first_right"].astype(float).mean())
    assert table["second"].iloc[0] == pytest.approx(one["second_right"].astype(float).mean())
    assert table["correlation"].iloc[0] == pytest.approx(one["correlation"].median())
    difference = (table["first"] - table["second"]).abs().to_numpy()
    assert (np.diff(difference) <= 1e-9).all()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_is_filtered_can_be_taken_away(
    kind: Any, rows: SweepTable, frame: pd.DataFrame
) -> None:
    data = io.BytesIO(rows.download(kind, ("divergence>0.5",)))
    found = pd.read_csv(data) if kind == "csv" else pd.read_parquet(data)
    wanted = frame[frame["divergence"] > 0.5]
    assert found["index"].tolist() == sorted(wanted["index"])
    assert found["divergence"].to_numpy() == pytest.approx(wanted["divergence"].to_numpy())
    answers = found[f"answer:{VIT}"].to_list()
    assert answers == wanted["second_answer"].to_list()


def test_columns_have_names_for_people(rows: SweepTable) -> None:
    assert rows.title("correlation") == "Rank correlation"
    assert rows.title("vit_pca_2") == "DINOv2 ViT-S/14, embedding, component 2"
    assert rows.title(f"prefix_mass:{VIT}:gradient_rollout") == (
        "Mass on prefix tokens: DINOv2 ViT-S/14 Gradient rollout"
    )
    assert rows.title("nothing") == "nothing"


def test_columns_that_are_empty_are_no_axis(rows: SweepTable) -> None:
    assert f"artifacts:{VIT}" in rows.numbers
    assert f"prefix_mass:{VIT}:gradient_rollout" in rows.numbers
    for name in (f"artifacts:{CNN}", f"umap_1:{VIT}", f"deletion:{CNN}:cam", "bytes:x"):
        assert name not in rows.numbers
        assert name not in rows.offered


# -- any number of models -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> SweepTable:
    """Made-up rows of three models."""
    return SweepTable(synthetic(tmp_path_factory.mktemp("three"), COUNT, models=THREE))


@pytest.mark.parametrize("two", [(0, 1), pytest.param((1, 2), marks=pytest.mark.slow), (2, 0)])
def test_any_two_of_three_are_compared(two: tuple[int, int], three: SweepTable) -> None:
    found = three.comparing(*two)
    frame = wide(found)
    figures = found.figures(("divergence>0.3",))
    left = frame[frame["divergence"] > 0.3]
    assert figures.pictures == len(left)
    assert figures.same == pytest.approx(left["same"].dropna().astype(float).mean())
    for share, column in (
        (figures.first_right, "first_right"),
        (figures.second_right, "second_right"),
    ):
        assert share == pytest.approx(left[column].dropna().astype(float).mean())
    assert figures.correlation == pytest.approx(left["correlation"].median())
    one, other = (found.titles[number] for number in two)
    assert found.orders()["first_right"] == f"{one} right, {other} wrong"
    every_question(found)


def test_a_filter_may_name_a_model_that_is_not_compared(three: SweepTable) -> None:
    found = three.comparing(0, 1)
    answers = parquet.read_table(three.sweep.tables["answers"].path).to_pandas()
    third = answers[(answers["model"] == 2) & answers["right"].eq(True)]
    assert found.figures((f"right:{OTHER_VIT}=yes",)).pictures == len(third)
    apart = parquet.read_table(three.sweep.tables["divergences"].path).to_pandas()
    apart = apart[(apart["first"] == 1) & (apart["second"] == 2) & (apart["divergence"] > 0.5)]
    assert found.figures((f"divergence:{VIT}:{OTHER_VIT}>0.5",)).pictures == len(apart)
    assert found.title(f"divergence:{VIT}:{OTHER_VIT}").endswith("DeiT-Ti/16")


@pytest.mark.parametrize("model", [CNN, VIT])
@pytest.mark.parametrize("labels", [True, False])
def test_one_model_alone(model: str, labels: bool, tmp_path: Path) -> None:
    made = synthetic(tmp_path / "sweep", COUNT, models=(model,), labels=labels)
    found = SweepTable(made)
    frame = wide(found)
    figures = found.figures()
    assert figures.same is figures.second_right is figures.correlation is None
    known = frame["first_right"].dropna().astype(float)
    assert figures.first_right == (pytest.approx(known.mean()) if labels else None)
    assert "agreement" not in found.colors()
    orders = set(found.orders())
    expected = {"listed"} | ({"wrong"} if labels else set())
    assert orders == expected | ({"artifacts"} if model == VIT else set())
    every_question(found)
    table = found.classes()
    column = "label" if labels else "first_answer"
    seen = frame[(frame["error"] == "") & (frame[column] != "") & frame[column].notna()]
    assert table["pictures"].sum() == len(seen)
    if labels:
        assert (np.diff(table["first"].to_numpy()) >= 0).all(), "the most errors first"


def test_addresses_of_before_mean_what_they_meant() -> None:
    """Columns and orders of 0.4 and 0.5, asked of a sweep of then."""
    rows = SweepTable(sweep.open_sweep(PAIR_LAYOUT))
    was = parquet.read_table(PAIR_LAYOUT / "rows.parquet").to_pandas()
    numbers = [
        name
        for name in was.columns
        if was[name].dtype.kind in "fi" and name != "index" and not was[name].isna().all()
    ]
    assert len(numbers) > 20
    for name in numbers:
        middle = float(was[name].median())
        low = was[was[name] <= middle + 1e-6]
        assert rows.figures((f"{name}<={middle + 1e-6}",)).pictures == len(low), name
        points = rows.scatter(name, "height", "label")
        values = was.set_index("index")[name].loc[points.frame["index"]]
        assert points.frame["x"].to_numpy() == pytest.approx(values.to_numpy()), name
    for name in ("cnn_right", "vit_right", "same_answer"):
        assert rows.figures((f"{name}=yes",)).pictures == was[name].eq(True).sum()
    for name in ("cnn_answer", "vit_answer", "target__cnn_cam", "path", "label"):
        value = was[name][1]
        assert rows.figures((f"{name}={value}",)).pictures == was[name].eq(value).sum()
    orders = rows.orders()
    assert orders[rows.order_named("vit_right")] == (
        "DINOv2 ViT-S/14 right, EfficientNet-Lite0 wrong"
    )
    assert orders[rows.order_named("cnn_right")] == (
        "EfficientNet-Lite0 right, DINOv2 ViT-S/14 wrong"
    )
    turned = rows.comparing(1, 0)
    assert turned.orders()[turned.order_named("vit_right")] == orders["second_right"]
    every_question(rows)


# -- sweeps that somebody else wrote --------------------------------------------------------------


def foreign(folder: Path, key: str) -> sweep.Sweep:
    """The sweep of a pair whose manifest calls its first map by another key, as its rows do."""
    shutil.copytree(PAIR_LAYOUT, folder)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    maps = manifest["maps"]
    manifest["maps"] = {key if name == "cnn_cam" else name: one for name, one in maps.items()}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    rows = parquet.read_table(folder / "rows.parquet")
    names = [name.replace("cnn_cam", key) for name in rows.column_names]
    parquet.write_table(rows.rename_columns(names), folder / "rows.parquet")
    return sweep.open_sweep(folder)


def every_question(found: SweepTable) -> None:
    """Ask all that the page asks, with each axis in one color and each color on one axis."""
    found.figures()
    found.classes()
    for name in found.orders():
        found.gallery(name, (), 0, 12)
    axes, colors = found.numbers, [*found.colors()]
    for place in range(max(len(axes), len(colors))):
        found.scatter(axes[place % len(axes)], axes[0], colors[place % len(colors)])
    for name in found.columns:
        with suppress(Unfit):
            found.figures((f"{name}=1",))
    found.download("csv")
    found.download("parquet")


def test_a_key_of_a_map_is_never_run(tmp_path: Path) -> None:
    """It closes its quotation and writes a file: the whole question is one that DuckDB can run."""
    target = tmp_path / "written"
    key = f"cnn_cam__vit_gradient_rollout\") FROM rows; COPY (SELECT 42) TO '{target}'; --"
    with suppress(core.SweepError):
        foreign(tmp_path / "sweep", key)
    with suppress(Exception):  # it may be refused in any way, as long as nothing is written
        every_question(SweepTable(sweep.open_sweep(tmp_path / "sweep")))
    assert not target.exists()
    assert [*sweep.list_sweeps(tmp_path)[1]] == ["sweep"]


@pytest.mark.parametrize("place", ["id", "family"])
def test_the_id_of_a_model_is_never_run(place: str, tmp_path: Path) -> None:
    target = tmp_path / "written"
    hostile = f"x\") FROM pictures; COPY (SELECT 42) TO '{target}'; --{{}}"
    found = synthetic(tmp_path / "sweep", 64, parts=1, models=(CNN, VIT))
    path = found.folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["models"][0][place] = hostile
    if place == "id":
        manifest["plan"]["models"][0] = hostile
    path.write_text(json.dumps(manifest), encoding="utf-8")
    rows = SweepTable(sweep.open_sweep(found.folder))
    every_question(rows)
    assert rows.figures().pictures == 64
    assert not target.exists()


def test_a_column_of_the_file_is_never_run(tmp_path: Path) -> None:
    target = tmp_path / "written"
    found = synthetic(tmp_path / "sweep", 64, parts=1)
    path = found.tables["pictures"].path
    table = parquet.read_table(path)
    name = f"x\" IS NULL; COPY (SELECT 42) TO '{target}'; --"
    column = pa.array(np.zeros(64, np.float32))
    parquet.write_table(table.append_column(name, column), path)
    rows = SweepTable(found)
    every_question(rows)
    assert not target.exists()
    assert name not in rows.columns
    assert set(rows.gallery("listed", (), 0, 1)[0][0].picture) == set(table.column_names)


@pytest.mark.parametrize("table", ["pictures", "answers", "divergences", "agreements"])
def test_a_picture_that_is_there_many_times_is_refused(table: str, tmp_path: Path) -> None:
    """Joined with itself it would be a table of any size."""
    found = synthetic(tmp_path / "sweep", 64, parts=1)
    path = found.tables[table].path
    rows = parquet.read_table(path)
    parquet.write_table(pa.concat_tables([rows, *[rows.slice(0, 1)] * 3]), path)
    with pytest.raises(core.SweepError, match="twice"):
        SweepTable(found).figures(("divergence>0",))


@pytest.mark.parametrize("place", ["beside", "temporary", "itself"])
def test_a_question_can_write_no_file(place: str, tmp_path: Path) -> None:
    found = synthetic(tmp_path / "sweep", 64, parts=1)
    rows = found.tables["answers"].path
    before = rows.read_bytes()
    target = {
        "beside": tmp_path / "sweep" / "written",
        "temporary": Path(tempfile.gettempdir()) / f"written-{tmp_path.name}",
        "itself": rows,
    }[place]
    if place == "temporary":  # the folder is shared with earlier runs
        target.unlink(missing_ok=True)
    with pytest.raises(core.SweepError):
        SweepTable(found).tables.ask(f"COPY (SELECT 42) TO '{target}'")
    assert rows.read_bytes() == before
    assert place == "itself" or not target.exists()


@pytest.mark.parametrize(
    "question",
    [
        "SELECT * FROM read_text('{other}')",
        "SELECT * FROM read_csv('{other}')",
        "SELECT * FROM glob('{other}')",
        "ATTACH '{other}.db'",
        "SET memory_limit = '100GB'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "LOAD httpfs",
        "EXPORT DATABASE '{other}-all'",
    ],
)
def test_a_question_can_open_nothing_else(question: str, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n", encoding="utf-8")
    rows = SweepTable(synthetic(tmp_path / "sweep", 64, parts=1))
    with pytest.raises(core.SweepError):
        rows.tables.ask(question.format(other=other))
    assert rows.figures().pictures == 64


def test_what_does_not_fit_into_memory_goes_to_a_file_and_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "MEMORY", "40MB")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spilled"))
    (tmp_path / "spilled").mkdir()
    rows = SweepTable(synthetic(tmp_path / "sweep", 200_000, chunk=10**5))
    spilled: list[Path] = []
    seen = threading.Event()

    def watch() -> None:
        while not seen.wait(0.002):
            spilled.extend(p for p in (tmp_path / "spilled").rglob("*") if p.is_file())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        ordered = "SELECT row_number() OVER (ORDER BY digest, path) AS place, digest FROM pictures"
        asked = rows.tables.ask(f"SELECT max(place), max(digest) FROM ({ordered})")
        assert asked.fetchone() == (200_000, f"{199_999:064d}")
    finally:
        seen.set()
        watching.join()
    assert spilled, "nothing was spilled: take less memory"
    del rows, asked
    gc.collect()
    assert not any((tmp_path / "spilled").iterdir())


@pytest.mark.parametrize("table", ["pictures", "answers", "maps"])
@pytest.mark.parametrize(
    "damage", ["a column less", "another type", "a column twice", "a half", "no Parquet"]
)
def test_rows_of_something_else_are_a_sentence(damage: str, table: str, tmp_path: Path) -> None:
    found = synthetic(tmp_path / "sweep", 64, parts=1)
    path = found.tables[table].path
    rows = parquet.read_table(path)
    last = rows.column_names[-1]
    if damage == "a column less":
        parquet.write_table(rows.drop_columns([last]), path)
    elif damage == "another type":
        other = pa.array([[b"x"]] * len(rows))
        parquet.write_table(rows.set_column(rows.num_columns - 1, last, other), path)
    elif damage == "a column twice":
        parquet.write_table(rows.append_column(last, rows[last]), path)
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if damage == "a half" else b"x" * 100)
    with pytest.raises(core.SweepError, match="made again"):
        SweepTable(found)


def test_a_folder_may_be_called_anything(tmp_path: Path) -> None:
    found = synthetic(tmp_path / "it's [1]=*", 64, parts=1)
    every_question(SweepTable(found))


def test_a_method_and_a_model_that_are_gone_have_names() -> None:
    assert method_title("forgotten") == "forgotten"
    assert model_title("forgotten") == "forgotten"


# -- sweeps that the application makes ------------------------------------------------------------


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (number, 90, 120)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def pair() -> tuple[core.Model, core.Model]:
    return core.open_model("efficientnet-lite0"), core.open_model("dinov2-small")


def plan(pictures: str) -> sweep.Plan:
    return sweep.Plan(pictures, maps=("cam",))


def test_files_of_a_visitor_become_a_sweep(pair: tuple[core.Model, core.Model]) -> None:
    made = Made()
    files = [("../../a.png", png(1)), ("b", png(2)), ("c.png", b"no picture")]
    run = made.begin("three", files, plan, pair)
    assert run.wait(120)
    assert run.problem == ""
    assert run.done == run.total == 3
    assert made.get(run.name) is run
    assert made.begin("again", files, plan, pair) is run
    found = sweep.open_sweep(run.folder)
    assert found.finished
    assert found.original(1) == png(2)
    names = [item.path for item in found.items]
    assert all("/" not in name and ".." not in name.removesuffix(".png") for name in names)
    rows = SweepTable(found)
    assert rows.figures().failed == 1
    assert [path for path, _ in rows.failures()] == ["002 c.png"]


def test_a_stopped_sweep_keeps_its_rows_and_begins_anew_while_it_still_writes(
    pair: tuple[core.Model, core.Model],
) -> None:
    made = Made()
    files = [(f"{number}.png", png(number)) for number in range(24)]
    run = made.begin("many", files, plan, pair)
    deadline = time.monotonic() + 120
    while not run.done and time.monotonic() < deadline:
        time.sleep(0.01)
    run.stop()
    assert not run.ended, "it must still be at work when it is begun anew"
    again = made.begin("many", files, plan, pair)
    assert again is not run
    assert again.wait(240)
    assert (run.problem, again.problem) == ("", "")
    assert run.ended
    assert 0 < run.done < 24
    found = sweep.open_sweep(again.folder)
    assert found.finished
    found.collect()
    indices = parquet.read_table(found.tables["pictures"].path)["index"].to_pylist()
    assert indices == list(range(24))
    assert len(found.manifest["runs"]) == 2


def test_too_many_files_are_refused_and_old_sweeps_go(
    pair: tuple[core.Model, core.Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made()
    for files in ([], [("a.png", png(1))] * (MOST_PICTURES + 1)):
        with pytest.raises(core.SweepError, match=str(len(files))):
            made.begin("none", files, plan, pair)
    monkeypatch.setattr(core.sweep, "run", lambda *given, **options: None)
    runs = []
    for number in range(KEPT + 3):
        runs.append(made.begin(str(number), [("a.png", png(number))], plan, pair))
        assert runs[-1].wait(10)
    assert made.get(runs[0].name) is None
    assert not runs[0].folder.parent.exists()
    assert made.get(runs[-1].name) is runs[-1]


def test_the_samples_and_every_two_of_the_first(tmp_path: Path) -> None:
    """Not of all: with each sample more the sweep would take longer than anyone waits."""
    from dashboard.sweeping import write_samples

    single = [one for one in core.samples() if not one.halves]
    count = write_samples(tmp_path / "pictures.parquet")
    assert len(single) > 7
    assert count == len(core.samples()) + 7 * 6 // 2
    table: pa.Table = parquet.read_table(tmp_path / "pictures.parquet")
    for data in table["bytes"].to_pylist():
        assert core.read_image(data)
