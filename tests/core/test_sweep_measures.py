"""Figures of a sweep against pandas and SciPy, and the command that checks thresholds."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy import stats

from core import SweepError
from core.paths import ROOT
from core.sweep import Answers, SweepMeasures, command, drops, measures, measures_of, open_sweep
from core.sweep.measures import BINS

DEMONSTRATION = ROOT / "data/sweeps/demonstration"
CNN, VIT = "efficientnet-lite0", "dinov2-small"


@pytest.fixture(scope="module")
def found() -> SweepMeasures:
    return measures(open_sweep(DEMONSTRATION))


@pytest.fixture(scope="module")
def answers() -> dict[str, pd.DataFrame]:
    rows = pd.read_parquet(DEMONSTRATION / "rows/answers.parquet")
    labeled = rows[rows.right.notna()]
    return {name: labeled[labeled.model == number] for number, name in enumerate((CNN, VIT))}


def changed(place: Path, column: str, values: dict[int, object]) -> Path:
    """A copy of the sweep in which the ViT's column has other values at some rows."""
    shutil.copytree(DEMONSTRATION, place)
    for path in sorted((place / "parts/answers").glob("*.parquet")):
        table = parquet.read_table(path)
        rows = table.to_pylist()
        for row in rows:
            if row["model"] == 1 and row["index"] in values:
                row[column] = values[row["index"]]
        parquet.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    return place


@pytest.mark.parametrize("number", [0, 1])
def test_figures_are_those_of_pandas_and_scipy(
    found: SweepMeasures, answers: dict[str, pd.DataFrame], number: int
) -> None:
    one = found.models[number]
    rows = answers[one.model]
    right = rows.right.astype(float).to_numpy()
    assert one.count == len(rows) > 50
    assert one.accuracy.value == right.mean()
    assert one.first_five.value == (rows.label_rank < 5).mean()
    assert one.negative_log_likelihood.value == pytest.approx(-rows.label_log_probability.mean())
    wanted = stats.bootstrap((right,), np.mean, method="percentile", rng=0).confidence_interval
    assert one.accuracy.low == pytest.approx(wanted.low, abs=0.02)
    assert one.accuracy.high == pytest.approx(wanted.high, abs=0.02)
    likely = stats.ttest_1samp(-rows.label_log_probability.astype(float), 0).confidence_interval()
    assert one.negative_log_likelihood.low == pytest.approx(likely.low)
    assert one.negative_log_likelihood.high == pytest.approx(likely.high)
    assert one.confidence_of_errors == pytest.approx(rows.probability[right == 0].mean())
    cut = pd.cut(rows.probability.astype(float), np.linspace(0, 1, BINS + 1))
    gaps = [len(of) * abs(of.probability.mean() - of.right.mean()) for _, of in rows.groupby(cut)]
    assert one.calibration_error == pytest.approx(np.nansum(gaps) / len(rows))
    assert sum(part.count for part in one.reliability) == one.count


def test_the_difference_is_paired(found: SweepMeasures, answers: dict[str, pd.DataFrame]) -> None:
    [one] = found.differences
    both = answers[CNN].set_index("index").join(answers[VIT].set_index("index").add_suffix("_vit"))
    pairs = both.right_vit.astype(float) - both.right.astype(float)
    assert (one.first, one.second, one.count) == (CNN, VIT, len(both))
    assert (one.only_first, one.only_second) == ((pairs < 0).sum(), (pairs > 0).sum())
    assert one.accuracy.value == pytest.approx(pairs.mean())
    wanted = stats.bootstrap((pairs,), np.mean, method="percentile", rng=0).confidence_interval
    assert one.accuracy.low == pytest.approx(wanted.low, abs=0.02)
    assert one.accuracy.high == pytest.approx(wanted.high, abs=0.02)
    assert one.is_real is bool(wanted.high < 0)
    likelier = both.label_log_probability - both.label_log_probability_vit
    assert one.negative_log_likelihood.value == pytest.approx(likelier.mean(), abs=1e-6)


def answered(index: list[int], right: list[float]) -> Answers:
    """Of a model that gives each label a tenth per place of the picture in the list."""
    count = len(index)
    columns = {
        "index": np.array(index, dtype=float),
        "probability": np.full(count, 0.5),
        "right": np.array(right),
        "label_log_probability": np.log(np.array(index) / 10),
        "label_rank": 1.0 - np.array(right),
    }
    return Answers.read(columns)


def test_a_difference_is_of_the_pictures_that_both_know() -> None:
    first = answered([4, 1, 2, 3], [1.0, math.nan, 1.0, 0.0])  # knows 2, 3 and 4
    second = answered([5, 3, 2, 1], [1.0, 1.0, 0.0, 1.0])
    found = measures_of(["a", "b"], [first, second])
    assert [one.count for one in found.models] == [3, 4]
    [one] = found.differences
    assert (one.count, one.only_first, one.only_second) == (2, 1, 1)
    assert one.accuracy.value == 0
    assert one.negative_log_likelihood.value == 0


def test_a_drop_is_of_the_same_pictures(tmp_path: Path, answers: dict[str, pd.DataFrame]) -> None:
    rows = answers[VIT]
    lost = rows[rows.right.astype(bool)]["index"].tolist()[:8]
    worse = open_sweep(changed(tmp_path / "worse", "right", dict.fromkeys(lost, False)))
    cnn, vit = drops(open_sweep(DEMONSTRATION), worse)
    assert (cnn.accuracy.value, cnn.is_real) == (0.0, False)
    assert vit.accuracy.value == pytest.approx(-8 / len(rows))
    assert (vit.only_first, vit.only_second, vit.is_real) == (8, 0, True)


def test_without_labels_nothing_is_measured(tmp_path: Path) -> None:
    empty = changed(tmp_path / "empty", "right", {})
    for path in (empty / "parts/answers").glob("*.parquet"):
        table = parquet.read_table(path)
        place = table.schema.get_field_index("right")
        nothing = pa.nulls(len(table), pa.bool_())
        parquet.write_table(table.set_column(place, table.schema.field(place), nothing), path)
    with pytest.raises(SweepError, match="No picture of empty has a label"):
        measures(open_sweep(empty))


def test_thresholds_decide_the_exit_status(
    tmp_path: Path, answers: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, report = str(DEMONSTRATION), tmp_path / "figures.json"
    assert command.main(["check", sweep, "--min", "accuracy=0.5", "--json", str(report)]) == 0
    assert f"{CNN}: 79 labeled pictures, accuracy 0.7" in capsys.readouterr().out
    figures = json.loads(report.read_text(encoding="utf-8"))
    assert [one["model"] for one in figures["models"]] == [CNN, VIT]
    assert figures["missed"] == []
    assert command.main(["check", sweep, "--min", "accuracy=0.7"]) == 1
    assert f"Missed: accuracy of {VIT} is 0.5" in capsys.readouterr().err
    assert command.main(["check", sweep, "--max", "calibration_error=0.01"]) == 1
    capsys.readouterr()
    lost = answers[VIT][answers[VIT].right.astype(bool)]["index"].tolist()[:2]
    worse = str(changed(tmp_path / "worse", "right", dict.fromkeys(lost, False)))
    against = ["check", worse, "--against", sweep, "--max-drop"]
    assert command.main([*against, "0.03"]) == 0
    assert command.main([*against, "0.02"]) == 1
    assert f"{VIT} loses 0.025 of accuracy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--min", "acuracy=1"], "expected FIGURE=VALUE"),
        (["--min", "accuracy"], "expected FIGURE=VALUE"),
        (["--min", "calibration_error=1"], "expected FIGURE=VALUE"),
        (["--max-drop", "0.1"], "belong together"),
        (["--against", "nowhere", "--max-drop", "0.1"], "contains no sweep"),
    ],
)
def test_wrong_arguments_are_named(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["check", str(DEMONSTRATION), *words]) == 2
    assert said in capsys.readouterr().err


def test_what_cannot_be_counted_is_null(found: SweepMeasures) -> None:
    text = json.dumps(found.as_dict(), allow_nan=False)
    assert not math.isnan(json.loads(text)["models"][0]["accuracy"]["value"])
