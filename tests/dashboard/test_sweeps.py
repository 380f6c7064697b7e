"""Questions to the rows of a sweep, against the same answers from pandas; sweeps of visitors."""

from __future__ import annotations

import gc
import io
import json
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
from dashboard.scatter import scatter
from dashboard.sweeping import KEPT, MOST_PICTURES, Made
from dashboard.sweeps import ORDERS, Rows, Unfit, map_title, title
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


# -- sweeps that somebody else wrote --------------------------------------------------------------


def foreign(folder: Path, key: str) -> sweep.Sweep:
    """Made-up rows whose manifest calls the first map by another key, as the rows do."""
    found = synthetic(folder, 64, parts=1)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    maps = manifest["maps"]
    manifest["maps"] = {key: maps["cnn_cam"], "vit_x": maps["vit_gradient_rollout"]}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return found


def every_question(found: Rows) -> None:
    """Ask all that the page asks."""
    found.figures()
    found.classes()
    for name in found.orders():
        found.gallery(name, (), 0, 12)
    for name in found.numbers:
        found.scatter(name, "divergence", "label")
    for name in found.columns:
        with suppress(Unfit):
            found.figures((f"{name}=1",))
    found.download("csv")
    found.download("parquet")


def test_a_key_of_a_map_is_never_run(tmp_path: Path) -> None:
    """It closes its quotation and writes a file: the whole question is one that DuckDB can run."""
    target = tmp_path / "written"
    key = f"cnn_cam__vit_gradient_rollout\") FROM rows; COPY (SELECT 42) TO '{target}'; --"
    foreign(tmp_path / "sweep", key)
    with suppress(Exception):  # it may be refused in any way, as long as nothing is written
        every_question(Rows(sweep.open_sweep(tmp_path / "sweep")))
    assert not target.exists()
    assert [*sweep.list_sweeps(tmp_path)[1]] == ["sweep"]


def test_a_column_of_the_file_is_never_run(tmp_path: Path) -> None:
    target = tmp_path / "written"
    found = synthetic(tmp_path / "sweep", 64, parts=1)
    table = parquet.read_table(found.rows)
    name = f"x\" IS NULL; COPY (SELECT 42) TO '{target}'; --"
    column = pa.array(np.zeros(64, np.float32))
    parquet.write_table(table.append_column(name, column), found.rows)
    rows = Rows(found)
    every_question(rows)
    assert not target.exists()
    assert name not in rows.columns
    assert set(rows.gallery("listed", (), 0, 1)[0][0]) == set(table.column_names)


@pytest.mark.parametrize("place", ["beside", "temporary", "itself"])
def test_a_question_can_write_no_file(place: str, tmp_path: Path) -> None:
    found = synthetic(tmp_path / "sweep", 64, parts=1)
    before = found.rows.read_bytes()
    target = {
        "beside": tmp_path / "sweep" / "written",
        "temporary": Path(tempfile.gettempdir()) / f"written-{tmp_path.name}",
        "itself": found.rows,
    }[place]
    if place == "temporary":  # the folder is shared with earlier runs
        target.unlink(missing_ok=True)
    with pytest.raises(core.SweepError):
        Rows(found)._ask(f"COPY (SELECT 42) TO '{target}'")
    assert found.rows.read_bytes() == before
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
    rows = Rows(synthetic(tmp_path / "sweep", 64, parts=1))
    with pytest.raises(core.SweepError):
        rows._ask(question.format(other=other))
    assert rows.figures().pictures == 64


def test_what_does_not_fit_into_memory_goes_to_a_file_and_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "MEMORY", "40MB")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spilled"))
    (tmp_path / "spilled").mkdir()
    rows = Rows(synthetic(tmp_path / "sweep", 200_000, chunk=10**5))
    spilled: list[Path] = []
    seen = threading.Event()

    def watch() -> None:
        while not seen.wait(0.002):
            spilled.extend(p for p in (tmp_path / "spilled").rglob("*") if p.is_file())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        ordered = "SELECT row_number() OVER (ORDER BY digest, path) AS place, digest FROM rows"
        asked = rows._ask(f"SELECT max(place), max(digest) FROM ({ordered})")
        assert asked.fetchone() == (200_000, f"{199_999:064d}")
    finally:
        seen.set()
        watching.join()
    assert spilled, "nothing was spilled: take less memory"
    del rows, asked
    gc.collect()
    assert not any((tmp_path / "spilled").iterdir())


@pytest.mark.parametrize("damage", ["a column less", "another type", "a half", "no Parquet"])
def test_rows_of_something_else_are_a_sentence(damage: str, tmp_path: Path) -> None:
    found = synthetic(tmp_path / "sweep", 64, parts=1)
    table = parquet.read_table(found.rows)
    if damage == "a column less":
        parquet.write_table(table.drop_columns(["divergence"]), found.rows)
    elif damage == "another type":
        place = table.column_names.index("artifacts")
        parquet.write_table(table.set_column(place, "artifacts", table["path"]), found.rows)
    else:
        whole = found.rows.read_bytes()
        found.rows.write_bytes(whole[: len(whole) // 2] if damage == "a half" else b"x" * 100)
    with pytest.raises(core.SweepError, match="made anew"):
        Rows(found)


def test_a_folder_may_be_called_anything(tmp_path: Path) -> None:
    found = synthetic(tmp_path / "it's [1]=*", 64, parts=1)
    every_question(Rows(found))


def test_a_map_of_a_method_that_is_gone_has_a_name(tmp_path: Path) -> None:
    assert map_title("cnn_forgotten") == "CNN forgotten"


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
    rows = Rows(found)
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
    indices = parquet.read_table(found.collect())["index"].to_pylist()
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
