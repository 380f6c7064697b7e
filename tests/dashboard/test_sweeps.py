"""Questions to the rows of a sweep, against the same answers from pandas; sweeps of visitors."""

from __future__ import annotations

import io
import time
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
from dashboard.scatter import scatter
from dashboard.sweeping import KEPT, MOST_PICTURES, Made
from dashboard.sweeps import ORDERS, Rows, Unfit, title
from tests.support.rows import synthetic

COUNT = 500
MAIN = "correlation__cnn_cam__vit_gradient_rollout"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Five hundred made-up rows."""
    return Rows(synthetic(tmp_path_factory.mktemp("sweep"), COUNT))


@pytest.fixture(scope="module")
def frame(rows: Rows) -> pd.DataFrame:
    """The same rows in pandas."""
    found: pd.DataFrame = parquet.read_table(rows.path).to_pandas()
    return found


FILTERS: dict[tuple[str, ...], Any] = {
    (): lambda f: f["index"] >= 0,
    ("divergence>0.5",): lambda f: f["divergence"] > 0.5,
    ("same_answer=no", "artifacts>=1"): lambda f: (
        f["same_answer"].eq(False) & (f["artifacts"] >= 1)
    ),
    ("label=class 7",): lambda f: f["label"] == "class 7",
    ("label!=",): lambda f: f["label"] != "",
    ("cnn_right=unknown",): lambda f: f["cnn_right"].isna(),
    ("vit_right=yes", "cnn_right=no"): lambda f: f["vit_right"].eq(True) & f["cnn_right"].eq(False),
}


@pytest.mark.parametrize("filters", FILTERS)
def test_figures_are_those_of_the_rows_that_are_left(
    filters: tuple[str, ...], rows: Rows, frame: pd.DataFrame
) -> None:
    left = frame[FILTERS[filters](frame).fillna(False).astype(bool)]
    found = rows.figures(filters)
    assert (found.pictures, found.all) == (len(left), COUNT)
    assert found.failed == (left["error"] != "").sum()
    assert found.correlation == pytest.approx(left[MAIN].median())
    for share, column in (
        (found.same, "same_answer"),
        (found.cnn_right, "cnn_right"),
        (found.vit_right, "vit_right"),
    ):
        known = left[column].dropna().astype(float)
        assert share == (pytest.approx(known.mean()) if len(known) else None)


@pytest.mark.parametrize(
    "text",
    ["", "nothing>1", "divergence", "divergence>high", "same_answer=perhaps", "label>3", "x;DROP"],
)
def test_a_filter_that_means_nothing_is_one_sentence(text: str, rows: Rows) -> None:
    with pytest.raises(Unfit) as told:
        rows.condition([text])
    assert "\n" not in str(told.value)


def test_a_value_of_a_filter_is_never_code(rows: Rows) -> None:
    assert rows.figures(["label=x' OR '1'='1"]).pictures == 0


@pytest.mark.parametrize("order", ORDERS)
def test_a_way_through_the_pictures_is_paged_without_gaps(order: str, rows: Rows) -> None:
    every: list[int] = []
    total = 1
    while len(every) < total:
        leaf, total = rows.gallery(order, (), len(every), 97)
        every += [row["index"] for row in leaf]
    assert len(set(every)) == len(every) == total
    assert total <= COUNT


def test_orders_put_first_what_they_say(rows: Rows, frame: pd.DataFrame) -> None:
    def first(order: str) -> dict[str, Any]:
        return rows.gallery(order, (), 0, 1)[0][0]

    assert first("maps")[MAIN] == pytest.approx(frame[MAIN].min())
    assert first("alike")[MAIN] == pytest.approx(frame[MAIN].max())
    assert first("artifacts")["artifacts"] == frame["artifacts"].max()
    wrong = frame[frame["vit_right"].eq(True) & frame["cnn_right"].eq(False)]
    assert first("vit_right")["vit_probability"] == pytest.approx(wrong["vit_probability"].max())
    apart = frame[frame["same_answer"].eq(False)]
    surest = apart[["cnn_probability", "vit_probability"]].min(axis=1).max()
    seen = first("surest")
    assert min(seen["cnn_probability"], seen["vit_probability"]) == pytest.approx(surest)


@pytest.mark.parametrize("color", ["agreement", "outcome", "label"])
def test_a_scatter_shows_all_or_a_sample_that_stays(color: str, rows: Rows) -> None:
    every = rows.scatter("divergence", MAIN, color)
    assert len(every.frame) == every.total
    few = rows.scatter("divergence", MAIN, color, most=50)
    assert len(few.frame) == 50
    assert few.total == every.total
    assert few.frame.equals(rows.scatter("divergence", MAIN, color, most=50).frame)
    assert set(few.frame["group"]) <= set(few.groups)
    figure = scatter(every, "x", "y")
    assert sum(len(trace.x) for trace in figure.data) == every.total


def test_the_table_of_classes(rows: Rows, frame: pd.DataFrame) -> None:
    table = rows.classes()
    known = frame[frame["cnn_right"].notna() & (frame["error"] == "")]
    assert table["pictures"].sum() == len(known)
    one = known[known["label"] == table["name"].iloc[0]]
    assert table["cnn"].iloc[0] == pytest.approx(one["cnn_right"].astype(float).mean())
    assert table["correlation"].iloc[0] == pytest.approx(one[MAIN].median())
    difference = (table["cnn"] - table["vit"]).abs().to_numpy()
    assert (np.diff(difference) <= 1e-9).all()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_is_filtered_can_be_taken_away(kind: Any, rows: Rows, frame: pd.DataFrame) -> None:
    data = io.BytesIO(rows.download(kind, ("divergence>0.5",)))
    found = pd.read_csv(data) if kind == "csv" else pd.read_parquet(data)
    wanted = frame[frame["divergence"] > 0.5]
    assert found["index"].tolist() == wanted["index"].tolist()
    assert found["divergence"].to_numpy() == pytest.approx(wanted["divergence"].to_numpy())


def test_columns_have_names_for_people() -> None:
    assert title(MAIN) == "Rank correlation: CNN CAM, ViT Gradient rollout"
    assert title("vit_pca_2") == "ViT embedding, component 2"


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
    assert Rows(found).figures().failed in (0, 1)


def test_a_stopped_sweep_keeps_its_rows_and_can_begin_anew(
    pair: tuple[core.Model, core.Model],
) -> None:
    made = Made()
    files = [(f"{number}.png", png(number)) for number in range(24)]
    run = made.begin("many", files, plan, pair)
    deadline = time.monotonic() + 120
    while not run.done and time.monotonic() < deadline:
        time.sleep(0.01)
    run.stop()
    assert run.wait(120)
    assert 0 < sweep.open_sweep(run.folder).done < 24
    assert made.begin("many", files, plan, pair) is not run


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
