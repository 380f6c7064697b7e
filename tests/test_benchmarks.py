"""The benchmarks measure what they say, and the pages of text show what they wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import core
from tests.benchmarks import evidence, memory, speed, timing
from tests.benchmarks.__main__ import (
    EVERYTHING,
    RESULTS,
    TOLD_APART,
    as_markdown,
    groups,
    of_group,
)
from tests.support.builders import close


@pytest.mark.parametrize(
    ("path", "mark", "table"),
    [
        (EVERYTHING, "benchmarks", as_markdown),
        *((path, group, partial(of_group, group=group)) for group, path in TOLD_APART.items()),
    ],
    ids=["all", *TOLD_APART],
)
def test_what_is_written_is_what_was_measured(
    path: Path, mark: str, table: Callable[[Any], str]
) -> None:
    text = path.read_text(encoding="utf-8")
    shown = text.split(f"<!-- {mark} -->")[1].split(f"<!-- /{mark} -->")[0]
    result = json.loads(RESULTS.read_text(encoding="utf-8"))
    lines = [line.replace(" ", "") for line in table(result).splitlines() if line]
    found = [line.replace(" ", "") for line in shown.splitlines() if line]
    assert [line for line in found if "--" not in line] == [x for x in lines if "--" not in x]


def test_the_results_are_of_every_group() -> None:
    result = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = {row["group"] for row in result["rows"]}
    assert found >= set(groups(1, 1))
    for row in result["rows"]:
        assert row["value"] > 0 or row["reach"] == 0
        if row["reach"] is not None and not row["met"]:
            assert row["reason"], f"{row['what']} missed its target and does not say why"


def test_calls_take_turns() -> None:
    order: list[str] = []
    timing.medians({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3)
    assert order[-6:] == ["a", "b"] * 3


@pytest.mark.parametrize(
    ("value", "at_most", "met"), [(1.0, True, True), (1.2, True, False), (1.2, False, True)]
)
def test_targets(value: float, at_most: bool, met: bool) -> None:
    assert timing.Row("a", "b", value, reach=1.1, at_most=at_most).met is met
    assert timing.Row("a", "b", value).met is None


def test_the_usual_way_gives_the_same_map() -> None:
    """Otherwise its time would be the time of something else."""
    _, vit = speed.pair()
    view = speed.view_of(vit)
    for method, usual in (
        ("rollout", speed.usual_rollout),
        ("gradient_rollout", speed.usual_gradient_rollout),
    ):
        ours = core.explain(vit, view, method, speed.target_of(method), framing=speed.GIVEN)
        close(ours.relevance.ravel(), usual(vit, view)().cpu(), 1e-3)


def test_five_maps_from_one_recording_are_the_five_asked_for_alone() -> None:
    _, vit = speed.pair()
    view = speed.view_of(vit)
    for name, found in zip(speed.FIVE, speed.five_from_one(vit, view), strict=True):
        alone = core.explain(vit, view, name, speed.target_of(name), framing=speed.GIVEN)
        close(found.relevance, alone.relevance, 1e-6)


def test_evidence_needs_the_passes_that_it_is_measured_against(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cnn, _ = speed.pair()
    view, passes, score = speed.view_of(cnn), [], cnn.score
    monkeypatch.setattr(cnn, "score", lambda x: (passes.append(len(x)), score(x))[1])
    evidence.curves(cnn, view)
    assert sum(passes) == 2 * evidence.STEPS
    bare = evidence.passes(cnn, view, 17)()
    assert [len(part) for part in bare] == [4, 4, 4, 4, 1]  # type: ignore[attr-defined]


def test_the_bare_pass_answers_as_the_recorded_one() -> None:
    for model in speed.pair():
        view = speed.view_of(model)
        logits = speed.bare(model, view)()[0].cpu().numpy()
        assert (core.predict(model, view, framing=speed.GIVEN).logits == logits).all()


def test_peak_memory_is_seen() -> None:
    """A call that holds 200 MiB is measured as one that does."""
    name = next(iter(memory.MODELS))
    memory.CALLS["greedy"] = lambda model, _: torch.ones(200, 2**18, device=model.device).sum()
    try:
        rest = memory.resident("VmRSS")
        found = memory.scenario(name, "greedy")
    finally:
        del memory.CALLS["greedy"]
    assert rest > 0
    assert 190 < found["rise"] < 260
    assert found["one layer's attention"] == pytest.approx(6 * 1370**2 * 4 / 2**20)
