"""Evidence: slow transcriptions, a peer, networks whose curves are known, properties."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import core
from core import heatmaps, probes
from core.models.preprocessing import Preprocessing
from core.recording.batches import ON_CPU
from tests.core.test_probes import assert_untouched, state
from tests.support.builders import (
    CLASSES,
    GIVEN,
    PATCH,
    RECIPES,
    VITS,
    Built,
    answer,
    as_model,
    builds,
    built,
    picture,
    pictures,
    sentence,
    shake,
    timm_vit,
)

BOTH = ("timm registers", "plain")
GRIDS = {"timm registers": (2, 3), "plain": (8, 12)}
Array = npt.NDArray[np.float64]


def noise(shape: tuple[int, int], seed: int = 0) -> npt.NDArray[np.float32]:
    """A map without ties."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# -- deletion and insertion: transcription, peer, known curves ------------------------------------


def slow_curves(
    case: Built, view: Image.Image, relevance: npt.ArrayLike, target: int, steps: int, fill: str
) -> tuple[list[float], list[float], float, float]:
    """Both curves and their areas, one picture at a time, pixel by pixel, in double precision."""
    values = np.asarray(relevance)
    rows, cols = values.shape
    cells = [(row, col) for row in range(rows) for col in range(cols)]
    ranked = sorted(cells, key=lambda cell: -float(values[cell]))  # stable: ties in reading order
    intact = np.asarray(view, dtype=np.float64)
    other = np.asarray(core.filled(view, fill), dtype=np.float64)
    network = copy.deepcopy(case.bare).double()
    how = case.model.preprocessing

    def probability(removed: Sequence[tuple[int, int]]) -> float:
        mixed = intact.copy()
        for y in range(view.height):
            for x in range(view.width):
                if (y * rows // view.height, x * cols // view.width) in removed:
                    mixed[y, x] = other[y, x]
        standard = (mixed / 255 - np.array(how.mean)) / np.array(how.std)
        with torch.no_grad():
            logits = answer(network, torch.from_numpy(standard).permute(2, 0, 1).unsqueeze(0))[0]
        return float(logits.exp()[target] / logits.exp().sum())

    counts = [round(i * len(cells) / steps) for i in range(steps + 1)]
    deletion = [probability(ranked[:count]) for count in counts]
    insertion = [probability(ranked[count:]) for count in counts]
    widths = [(b - a) / len(cells) for a, b in pairwise(counts)]
    areas = [
        sum(w * (a + b) / 2 for w, (a, b) in zip(widths, pairwise(curve), strict=True))
        for curve in (deletion, insertion)
    ]
    return deletion, insertion, areas[0], areas[1]


@pytest.mark.parametrize("fill", core.FILLS)
@pytest.mark.parametrize("name", BOTH)
def test_curves_are_the_transcription(name: str, fill: str) -> None:
    case, view = built(name), pictures(name, 1)[0]
    relevance = noise(GRIDS[name]).round(1)  # with ties
    found = core.faithfulness(
        case.model, view, relevance, 2, framing=GIVEN, fill=fill, steps=5, grid=GRIDS[name]
    )
    deletion, insertion, deleted, inserted = slow_curves(case, view, relevance, 2, 5, fill)
    np.testing.assert_allclose(found.deletion, deletion, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.insertion, insertion, rtol=1e-4, atol=1e-6)
    assert found.deletion_area == pytest.approx(deleted, rel=1e-4)
    assert found.insertion_area == pytest.approx(inserted, rel=1e-4)
    assert found.difference == pytest.approx((inserted - deleted) / deletion[0], abs=1e-4)


class FullSize(nn.Module):
    """A network whose last maps are as large as the picture, so that nobody resizes a map."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Tanh())
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        return self.fc(self.avgpool(self.layer1(pixels)).flatten(1))


def test_areas_are_those_of_torchcam() -> None:
    """Its metric removes pixels; on a grid of pixels ours must find the same areas."""
    from torchcam.methods import CAM
    from torchcam.metrics import DeletionInsertionMetric

    network = shake(FullSize(), scale=1.5)
    model = as_model(copy.deepcopy(network), "cnn", preprocessing=Preprocessing(size=16))
    view = picture(4, 4)
    pixels, fill = model.normalize(view), model.normalize(core.filled(view, "mean"))
    with CAM(network, "layer1", "fc") as extractor:
        metric = DeletionInsertionMetric(
            extractor, lambda logits: logits.softmax(-1), steps=16, baseline=fill
        )
        metric.update(pixels.requires_grad_(), 3)
        theirs = metric.summary()
        relevance = extractor(3, network(pixels))[0][0].detach().numpy()
    ours = core.faithfulness(
        model, view, relevance, 3, framing=GIVEN, fill="mean", steps=16, grid=(16, 16)
    )
    assert ours.deletion_area == pytest.approx(theirs["deletion_auc"], rel=1e-4)
    assert ours.insertion_area == pytest.approx(theirs["insertion_auc"], rel=1e-4)
    assert abs(ours.deletion_area - ours.insertion_area) > 1e-3


class Brightness(nn.Module):
    """The first logit is eight times the mean brightness in [0, 1], the second one is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Conv2d(3, 1, 1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(1, 2)
        with torch.no_grad():
            self.layer1.weight.fill_(1 / 3)
            self.layer1.bias.zero_()  # type: ignore[union-attr]
            self.fc.weight.copy_(torch.tensor([[8.0], [0.0]]))
            self.fc.bias.zero_()

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        return self.fc(self.avgpool(self.layer1(pixels)).flatten(1))


def brightness() -> core.Model:
    """The network above, taking values in [0, 1] as they are."""
    plain = Preprocessing(size=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return as_model(Brightness(), "cnn", 2, plain)


def sigmoid(x: npt.ArrayLike) -> Array:
    """Probability of the first of two classes."""
    return np.asarray(1 / (1 + np.exp(-np.asarray(x, dtype=np.float64))))


def test_curves_that_are_known() -> None:
    """White on the left half: the right order first takes all of it, the reverse order nothing."""
    white = np.zeros((32, 32, 3), np.uint8)
    white[:, :16] = 255
    view, model = Image.fromarray(white), brightness()
    good = np.arange(64, dtype=np.float32).reshape(8, 8)[:, ::-1] % 8  # falls from left to right
    right, wrong = core.faithfulness(
        model, view, [good, -good], 0, framing=GIVEN, fill="black", steps=8, grid=(8, 8)
    )
    share = np.arange(9) / 8
    np.testing.assert_allclose(right.fractions, share)
    np.testing.assert_allclose(right.deletion, sigmoid(8 * np.maximum(0.5 - share, 0)), 1e-5)
    np.testing.assert_allclose(right.insertion, sigmoid(8 * np.minimum(0.5, share)), 1e-5)
    np.testing.assert_allclose(wrong.deletion, right.insertion[::-1], 1e-5)
    assert right.intact == pytest.approx(float(sigmoid(4)), rel=1e-5)
    assert right.difference > 0.2 > -0.2 > wrong.difference
    assert right.deletion_share == pytest.approx(right.deletion_area / right.intact)


def test_ties_go_in_reading_order() -> None:
    relevance = np.zeros((8, 12), np.float32)
    relevance[3, 5] = 1
    found = core.faithfulness(
        built("plain").model,
        pictures("plain", 1)[0],
        relevance,
        framing=GIVEN,
        steps=96,
        grid=(8, 12),
    )
    at = 3 * 12 + 5
    assert found.order.tolist() == [at, *(i for i in range(96) if i != at)]
    assert np.flatnonzero(found.removed(3, "deletion")).tolist() == [0, 1, at]
    assert (found.removed(3, "insertion") == ~found.removed(3, "deletion")).all()


def test_a_map_on_another_grid_is_resized() -> None:
    case, view = built("timm"), pictures("timm", 1)[0]
    large = noise((8, 9))
    found = core.faithfulness(case.model, view, large, framing=GIVEN, steps=3)
    assert found.grid == (2, 3)
    np.testing.assert_array_equal(found.relevance, heatmaps.resize(large, (2, 3)))
    again = core.faithfulness(case.model, view, found.relevance, framing=GIVEN, steps=3)
    np.testing.assert_allclose(found.deletion, again.deletion, rtol=1e-6)


# -- what is removed, to the pixel ----------------------------------------------------------------


@pytest.mark.parametrize(("name", "cell"), [("timm registers", PATCH), ("plain", 8)])
def test_edges_of_the_fill_are_those_of_the_cells(name: str, cell: int) -> None:
    """Every tile has one color; after removal every tile still has one, its own or the fill."""
    colors = np.random.default_rng(1).integers(1, 256, (6, 8, 3)).astype(np.uint8)
    view = Image.fromarray(colors.repeat(cell, axis=0).repeat(cell, axis=1))
    model = built(name).model
    found = core.faithfulness(
        model, view, noise((6, 8)), framing=GIVEN, fill="black", steps=7, grid=(6, 8)
    )
    for curve in ("deletion", "insertion"):
        for step in range(8):
            removed = found.removed(step, curve)  # type: ignore[arg-type]
            wanted = np.where(removed[..., None], 0, colors)
            shown = found.picture(step, curve)  # type: ignore[arg-type]
            tiles = np.asarray(shown).reshape(6, cell, 8, cell, 3).swapaxes(1, 2)
            assert (tiles == wanted[:, :, None, None]).all()
            # What is shown is what the model got.
            answered = core.predict(model, shown, framing=GIVEN).probability(found.target)
            assert answered == pytest.approx(getattr(found, curve)[step], rel=1e-4)


def test_transformers_have_their_own_grid_and_others_cells_of_14_pixels() -> None:
    vit, cnn = built("timm").model, built("plain").model
    assert core.removal_grid(vit, (8, 12)) == (2, 3)
    assert core.removal_grid(cnn, (224, 298)) == (16, 21)
    assert core.removal_grid(cnn, (224, 298), (7, 5)) == (7, 5)
    assert core.removal_grid(vit, (16, 16), (2, 2)) == (2, 2)
    assert core.removal_grid(vit, (16, 16), (16, 8)) == (16, 8)


@pytest.mark.parametrize("name", BOTH)
def test_what_if(name: str) -> None:
    model, view = built(name).model, pictures(name, 1)[0]
    nothing = np.zeros(GRIDS[name], bool)
    intact = core.predict(model, view, framing=GIVEN)
    kept = core.what_if(model, view, nothing, framing=GIVEN)
    np.testing.assert_array_equal(kept.logits, intact.logits)
    gone = core.what_if(model, view, ~nothing, framing=GIVEN, fill="mean", k=2)
    filled = core.predict(model, core.filled(view, "mean"), framing=GIVEN)
    np.testing.assert_array_equal(gone.logits, filled.logits)
    assert gone.indices.shape == (2,)
    nothing[0, 1] = True
    assert (core.what_if(model, view, nothing, framing=GIVEN).logits != intact.logits).any()


# -- batches --------------------------------------------------------------------------------------


def cases_of(name: str) -> list[tuple[Image.Image, npt.NDArray[np.float32], int | None]]:
    """Seven pictures of two sizes, with maps on several grids."""
    scale = 1 if name in VITS else 6
    sizes = [(2, 3), (3, 2)]
    return [
        (picture(scale * rows, scale * cols, i), noise((4 + i, 5), i), (None, 3)[i % 2])
        for i, (rows, cols) in enumerate(sizes[i % 2] for i in range(7))
    ]


@pytest.mark.parametrize("name", BOTH)
def test_batching_does_not_matter(name: str) -> None:
    model, cases = built(name).model, cases_of(name)
    images, maps, targets = zip(*cases, strict=True)
    alone = [core.faithfulness(model, i, m, t, framing=GIVEN, steps=5) for i, m, t in cases]
    together = core.faithfulness(model, images, maps, targets, framing=GIVEN, steps=5)
    streamed = list(core.faithfulness_stream(model, iter(cases * 3), framing=GIVEN, steps=5))
    assert len(streamed) == 21
    for one, listed, *others in zip(
        alone, together, streamed[:7], streamed[7:14], streamed[14:], strict=True
    ):
        for other in (listed, *others):
            assert (other.target, other.picture_digest) == (one.target, one.picture_digest)
            np.testing.assert_allclose(other.deletion, one.deletion, rtol=0, atol=1e-5)
            np.testing.assert_allclose(other.insertion, one.insertion, rtol=0, atol=1e-5)


def test_peak_does_not_grow_with_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """More steps and more maps make more passes, not larger ones."""
    model = as_model(shake(timm_vit()))
    passes: list[int] = []
    score = model.score
    monkeypatch.setattr(model, "score", lambda x: (passes.append(len(x)), score(x))[1])
    for steps, maps in ((16, 1), (64, 1), (10, 9)):
        passes.clear()
        view = picture(16, 16)
        core.faithfulness(model, view, [noise((16, 16))] * maps, framing=GIVEN, steps=steps)
        assert sum(passes) == 2 * steps * maps
        assert max(passes) == ON_CPU
        assert sum(size < ON_CPU for size in passes) <= 1


def test_a_stream_is_read_as_it_is_needed() -> None:
    read: list[int] = []

    def endless() -> Any:
        while True:
            read.append(len(read))
            yield pictures("timm", 1)[0], noise((2, 3))

    stream = core.faithfulness_stream(built("timm").model, endless(), framing=GIVEN, steps=2)
    first = [next(stream) for _ in range(20)]
    assert len(first) == 20
    assert len(read) == 32


def test_progress_and_stop() -> None:
    model, view = built("timm").model, pictures("timm", 1)[0]
    told: list[tuple[int, int]] = []
    with core.watching(lambda done, total: told.append((done, total))):
        core.faithfulness(model, view, [noise((2, 3))] * 3, framing=GIVEN, steps=16)
        core.randomization(model, view, "grad_cam", framing=GIVEN)
    depths, curves = len(core.depths_of(model)), 3 * 32 // ON_CPU
    assert told == [(i, total) for total in (curves, depths) for i in range(total + 1)]
    for call in (
        lambda: core.faithfulness(model, view, [noise((2, 3))] * 3, framing=GIVEN, steps=16),
        lambda: core.randomization(model, view, "rollout", framing=GIVEN),
        lambda: core.robustness(model, [view] * 9, "gray", framing=GIVEN),
    ):
        before = state(model.module)
        with core.watching(lambda done, total: done < 1), pytest.raises(core.Stopped):
            call()
        assert_untouched(built("timm"), before)


# -- baselines ------------------------------------------------------------------------------------


def test_baseline_random_follows_its_seed() -> None:
    view = picture(4, 4)
    first, again, other = (core.baseline_maps(view, (4, 6), seed)["random"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (4, 6)
    assert 0 <= first.min() < first.max() < 1
    assert abs(heatmaps.rank_correlation(first, other)) < 0.6


def test_baseline_center_falls_with_the_distance() -> None:
    center = core.baseline_maps(Image.new("RGB", (60, 40)), (4, 6))["center"]
    for row in range(4):
        for col in range(6):
            wanted = -((((row - 1.5) * 10) ** 2 + ((col - 2.5) * 10) ** 2) ** 0.5) / 40
            assert center[row, col] == pytest.approx(wanted, rel=1e-5)


def test_baseline_edges_are_sobel() -> None:
    view = picture(4, 6)
    luminance = np.asarray(view.convert("L"), dtype=np.float64)
    height, width = luminance.shape
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    sums = np.zeros((2, 3))
    for y in range(height):
        for x in range(width):
            around = np.array(
                [
                    [luminance[min(max(y + i, 0), height - 1), min(max(x + j, 0), width - 1)]
                     for j in (-1, 0, 1)]
                    for i in (-1, 0, 1)
                ]
            )  # fmt: skip
            gradient = np.hypot((kernel * around).sum(), (kernel.T * around).sum()) / 8
            sums[y // 8, x // 8] += gradient / 64
    np.testing.assert_allclose(core.baseline_maps(view, (2, 3))["edges"], sums, rtol=1e-4)
    assert not core.baseline_maps(Image.new("RGB", (16, 16), "red"), (4, 4))["edges"].any()


# -- pictures changed as a whole ------------------------------------------------------------------


@pytest.mark.parametrize("kind", core.CHANGES)
def test_changes(kind: str) -> None:
    view, change = picture(8, 12), core.CHANGES[kind]
    strong = 4 if kind == "shuffle" else change.high
    assert core.changed(view, kind, change.low).tobytes() == view.tobytes()
    first, again, other = (core.changed(view, kind, strong, seed) for seed in (0, 0, 1))
    assert first.size == view.size
    assert first.tobytes() == again.tobytes() != view.tobytes()
    assert (first.tobytes() == other.tobytes()) == (kind in ("blur", "gray", "drop"))


def test_shuffled_tiles_change_places_whole() -> None:
    view = picture(8, 12)  # 32 × 48 pixels
    shuffled = np.asarray(core.changed(view, "shuffle", 4))

    def tiles(pixels: npt.NDArray[np.uint8]) -> list[bytes]:
        cut = pixels.reshape(4, 8, 4, 12, 3).swapaxes(1, 2).reshape(16, -1)
        return [tile.tobytes() for tile in cut]

    before, after = tiles(np.asarray(view)), tiles(shuffled)
    assert sorted(before) == sorted(after)
    assert before != after
    uneven = np.asarray(core.changed(view, "shuffle", 5))
    assert (uneven[30:] == np.asarray(view)[30:]).all()
    assert (uneven[:, 45:] == np.asarray(view)[:, 45:]).all()


def test_a_stronger_drop_takes_more_of_the_same() -> None:
    white, dropped = Image.new("RGB", (40, 40), "white"), []
    for share in (0.25, 0.5, 0.75, 1.0):
        black = np.asarray(core.changed(white, "drop", share, 3, (4, 4))).sum(axis=2) == 0
        assert black.mean() == share
        assert not dropped or (black >= dropped[-1]).all()
        dropped.append(black)


def test_gray_is_the_luminance() -> None:
    view = picture(4, 4)
    gray = core.changed(view, "gray", 1)
    assert gray.tobytes() == view.convert("L").convert("RGB").tobytes()


@pytest.mark.parametrize("kind", core.CHANGES)
@pytest.mark.parametrize("name", BOTH)
def test_robustness_is_what_the_changed_pictures_say(name: str, kind: str) -> None:
    model, views = built(name).model, pictures(name, 2)
    strengths = (1, 2, 4) if kind == "shuffle" else (0, 0.1, 0.2)
    found = core.robustness(model, views, kind, strengths, [None, 3], framing=GIVEN, seed=5)
    for one, view, target in zip(found, views, (None, 3), strict=True):
        intact = core.predict(model, view, framing=GIVEN)
        assert one.target == (intact.top if target is None else target)
        assert one.intact == pytest.approx(intact.probability(one.target), rel=1e-4)
        grid = core.removal_grid(model, (view.height, view.width))
        for i, strength in enumerate(strengths):
            seen = core.changed(view, kind, strength, 5, grid)
            answered = core.predict(model, seen, framing=GIVEN)
            assert one.probabilities[i] == pytest.approx(
                answered.probability(one.target), rel=1e-4, abs=1e-6
            )
            assert one.stays[i] == (answered.top == intact.top)
    alone = core.robustness(model, views[0], kind, framing=GIVEN)
    fitting = [s for s in core.CHANGES[kind].strengths if s <= min(views[0].size)]
    assert alone.strengths.tolist() == fitting


# -- randomization --------------------------------------------------------------------------------


def a_method_of(name: str) -> str:
    """A method that every model of this kind serves."""
    return "rollout" if name in VITS else "grad_cam"


@pytest.mark.parametrize("name", builds(RECIPES))
def test_every_family_can_forget(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each depth changes what belongs to it and nothing else; the last one everything learned."""
    case = built(name)
    model = case.model
    before, learned = state(model.module), dict(model.module.named_parameters())
    seen: list[dict[str, Tensor]] = []

    def explain(private: core.Model, *args: Any, **params: Any) -> Any:
        if private is not model:
            seen.append({n: p.detach().clone() for n, p in private.module.named_parameters()})
            assert not any(parameter.requires_grad for parameter in private.module.parameters())
        return core.explain(private, *args, **params)

    monkeypatch.setattr("core.evidence.randomization.explain", explain)
    found = core.randomization(model, pictures(name, 1)[0], a_method_of(name), framing=GIVEN)
    layers = [layer.name for layer in reversed(model.layers)]
    assert list(found.depths) == list(core.depths_of(model)) == ["classifier", *layers]
    assert len(seen) == len(found.depths) == len(found.relevance) == len(found.rank_correlation)
    assert found.relevance.shape[1:] == found.original.relevance.shape
    fresh: set[str] = set()
    for tensors, layer in zip(seen, [None, *reversed(model.layers)], strict=True):
        changed = {n for n in tensors if not torch.equal(tensors[n], learned[n])}
        assert fresh <= changed
        inside = {n for n in learned if layer is not None and n.startswith(f"{layer.module}.")}
        others = {
            n for o in model.layers if o is not layer for n in learned if n.startswith(o.module)
        }
        assert {n for n in inside if learned[n].std(correction=0) > 0} <= changed
        assert not (changed - fresh) & (others - inside)
        fresh = changed
    assert fresh == {n for n in learned if learned[n].std(correction=0) > 0}
    for n in fresh:  # of the same scale
        if learned[n].numel() > 100:
            assert seen[-1][n].std() == pytest.approx(float(learned[n].std()), rel=0.3)
    assert_untouched(case, before)


@pytest.mark.parametrize("name", BOTH)
def test_randomization_follows_its_seed(name: str) -> None:
    model, images = built(name).model, pictures(name, 2)
    first, again, other = (
        core.randomization(model, images, "grad_cam", 1, seed=seed, framing=GIVEN)
        for seed in (0, 0, 1)
    )
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one.relevance, same.relevance)
        assert (one.relevance[-1] != different.relevance[-1]).any()
        assert one.target == 1
    last = core.depths_of(model)[-1]
    part = core.randomization(
        model, images[1], "grad_cam", 1, framing=GIVEN, depths=["classifier", last]
    )
    assert part.depths == ("classifier", last)
    np.testing.assert_allclose(part.relevance, first[1].relevance[[0, -1]], rtol=1e-3, atol=1e-6)


def test_rank_correlations_are_spearman() -> None:
    found = core.randomization(built("timm").model, picture(4, 4), "rollout", framing=GIVEN)
    assert found.depths[0] == "classifier"
    assert found.rank_correlation[0] == pytest.approx(1)  # knows nothing of the classifier
    assert found.target is None
    original = found.original.relevance
    for i, relevance in enumerate(found.relevance):
        ranks = [np.argsort(np.argsort(one.ravel())) for one in (relevance, original)]
        assert found.rank_correlation[i] == pytest.approx(np.corrcoef(ranks)[0, 1], abs=1e-6)
    np.testing.assert_allclose(found.absolute_rank_correlation, found.rank_correlation)
    signed = core.randomization(built("plain").model, pictures("plain", 1)[0], "cam", framing=GIVEN)
    assert (signed.absolute_rank_correlation != signed.rank_correlation).any()


@pytest.mark.parametrize("method", ["rise", "smooth_grad"])
def test_a_method_that_draws_draws_anew_for_each_network(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, view, seeds = built("plain").model, picture(12, 12), list[tuple[bool, int]]()

    def explain(private: core.Model, *args: Any, **params: Any) -> Any:
        found = core.explain(private, *args, **params)
        seeds.append((private is model, found[0].params["seed"]))
        return found

    monkeypatch.setattr("core.evidence.randomization.explain", explain)
    brief = {"count": 8, "patch": 8}
    found = core.randomization(model, view, method, 1, framing=GIVEN, method_seed=9998, **brief)
    assert [intact for intact, _ in seeds] == [True, True] + [False] * len(found.depths)
    assert [seed for _, seed in seeds][:3] == [9998, 9999, 0]
    assert len({seed for _, seed in seeds}) == len(seeds)
    again = core.explain(model, view, method, 1, framing=GIVEN, seed=9999, **brief)
    wanted = heatmaps.rank_correlation(again.relevance, found.original.relevance)
    assert found.ceiling == pytest.approx(wanted, abs=1e-6)
    assert found.original.params["seed"] == 9998
    part = core.randomization(
        model, view, method, 1, framing=GIVEN, method_seed=9998, depths=[found.depths[-1]], **brief
    )
    np.testing.assert_allclose(part.relevance[0], found.relevance[-1], rtol=1e-3, atol=1e-6)


def test_a_method_that_draws_nothing_has_no_ceiling() -> None:
    model, view = built("plain").model, picture(12, 12)
    assert core.randomization(model, view, "grad_cam", 1, framing=GIVEN).ceiling is None
    with pytest.raises(core.ParameterError, match="'seed'"):
        core.randomization(model, view, "grad_cam", 1, framing=GIVEN, method_seed=1)


def test_a_network_that_forgot_all_is_not_told_by_its_masks() -> None:
    """Of the same masks the paper's sums are alike whatever a network learned."""
    model, view = built("plain").model, picture(24, 24)
    brief = {"count": 40, "patch": 8, "definition": "paper"}
    found = core.randomization(model, view, "rise", 1, framing=GIVEN, **brief)
    assert found.rank_correlation[-1] < 0.6


# -- better than chance ---------------------------------------------------------------------------


def measured(model: core.Model, view: Any, relevance: Any) -> core.Faithfulness:
    return core.faithfulness(model, view, relevance, 1, framing=GIVEN, steps=4, grid=(4, 4))


def with_difference(one: core.Faithfulness, difference: float) -> core.Faithfulness:
    """Curves whose insertion minus deletion is this."""
    deletion = np.full(5, 0.5)
    insertion = np.full(5, 0.5 * (1 + difference))
    return dataclasses.replace(one, deletion=deletion, insertion=insertion)


@pytest.mark.parametrize(
    ("map_", "center", "words", "better"),
    [
        (0.52, 0.44, ["better", "not distinguishable", "better"], False),
        (0.52, 0.20, ["better", "better", "better"], True),
        (0.02, 0.44, ["not distinguishable", "worse", "worse"], False),
        (-0.30, -0.29, ["worse", "not distinguishable", "worse"], False),
    ],
)
def test_chance_is_random_order_center_and_edges(
    map_: float, center: float, words: list[str], better: bool
) -> None:
    """Random orders have a spread of .05: pairs of single ones differ by up to ±.16."""
    one = measured(built("plain").model, picture(12, 12), noise((4, 4)))
    draws = np.tile([-0.05, 0.05], 5) * np.sqrt(9 / 10)
    found = core.judged(
        with_difference(one, map_),
        {
            "random": [with_difference(one, draw) for draw in draws],
            "center": [with_difference(one, center)],
            "edges": [with_difference(one, 0.3)],
        },
    )
    assert [rival.name for rival in found.rivals] == ["random", "center", "edges"]
    assert [rival.verdict for rival in found.rivals] == words
    assert found.better is better
    assert found.difference == pytest.approx(map_)
    assert found.rivals[0].margin == pytest.approx(2.262 * 0.05 * np.sqrt(1.1), abs=1e-4)
    assert found.rivals[1].margin == pytest.approx(2.262 * 0.05 * np.sqrt(2), abs=1e-4)
    assert "95%" in found.interval
    assert "10 random orders" in found.interval
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.difference = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(("count", "quantile"), [(5, 2.776445), (10, 2.262157), (20, 2.093024)])
def test_the_interval_holds_what_it_says(count: int, quantile: float) -> None:
    """Of orders without meaning one in twenty lies outside, whatever their number."""
    one = measured(built("plain").model, picture(12, 12), noise((4, 4)))
    rng = np.random.default_rng(0)
    orders = [with_difference(one, draw) for draw in rng.normal(0, 0.1, count)]
    spread = np.std([order.difference for order in orders], ddof=1)
    margin = core.judged(one, {"random": orders}).rivals[0].margin / spread
    assert margin == pytest.approx(quantile * np.sqrt(1 + 1 / count), abs=1e-5)
    draws = rng.normal(0, 1, (20_000, count + 1))
    reach = margin * draws[:, 1:].std(axis=1, ddof=1)
    inside = np.abs(draws[:, 0] - draws[:, 1:].mean(axis=1)) <= reach
    assert inside.mean() == pytest.approx(0.95, abs=0.006)


def test_judging_refuses_what_cannot_be_compared() -> None:
    model, view = built("plain").model, picture(12, 12)
    one = measured(model, view, noise((4, 4)))
    random = [measured(model, view, noise((4, 4), seed)) for seed in range(5)]
    assert core.judged(one, {"random": random, "edges": []}).orders == 5
    for baselines, told in (
        ({"random": random[:4]}, "at least 5"),
        ({}, "0 random orders"),
        ({"random": random, "luck": random}, "'luck'"),
        ({"random": random, "center": [dataclasses.replace(one, target=0)]}, "another picture"),
    ):
        with pytest.raises(core.ParameterError, match=told) as error:
            core.judged(one, baselines)
        sentence(error)


def test_a_copied_network_has_no_probe_and_keeps_its_own_hooks() -> None:
    shared = built("timm").model.module
    copied = probes.copied(shared)
    counts = [sum(len(p._forward_hooks) for p in m.modules()) for m in (shared, copied)]
    assert counts[0] > counts[1] == 0
    pointers = [{p.data_ptr() for p in module.parameters()} for module in (shared, copied)]
    assert not pointers[0] & pointers[1]
    own = timm_vit()
    own.register_forward_hook(lambda *_: None)
    assert len(probes.copied(own)._forward_hooks) == 1


# -- grid pointing --------------------------------------------------------------------------------


def test_quarter_shares() -> None:
    values = np.array([[1.0, 2, 3], [4, 6, 8], [-5, 10, 12]])
    total = 46
    wanted = [1 + 1 + 2 + 1.5, 1 + 3 + 1.5 + 4, 2 + 1.5 + 0 + 5, 1.5 + 4 + 5 + 12]
    np.testing.assert_allclose(heatmaps.quarter_shares(values), np.array(wanted) / total)
    assert np.isnan(heatmaps.quarter_shares(-np.ones((2, 2)))).all()


@pytest.mark.parametrize("name", ["timm", "plain"])
def test_grid_pointing(name: str) -> None:
    model = built(name).model
    images = [picture(16, 16, seed) for seed in range(4)]
    view = core.pointing_grid(model, images, GIVEN)
    assert view.size == (64, 64)
    for place, image in enumerate(images):
        row, col = divmod(place, 2)
        quarter = view.crop((32 * col, 32 * row, 32 * col + 32, 32 * row + 32))
        small = image.resize((32, 32), model.preprocessing.resample)
        assert quarter.tobytes() == small.tobytes()
    found = core.grid_pointing(model, images, [0, 1, 2, 3], "grad_cam", framing=GIVEN)
    assert found.shape == (4,)
    for place in range(4):
        relevance = core.explain(model, view, "grad_cam", place, framing=GIVEN).relevance
        np.testing.assert_allclose(found[place], heatmaps.quarter_shares(relevance)[place], 1e-4)
    tops = [answer.top for answer in core.predict(model, images, framing=GIVEN)]
    np.testing.assert_array_equal(
        core.grid_pointing(model, images, None, "grad_cam", framing=GIVEN),
        core.grid_pointing(model, images, tops, "grad_cam", framing=GIVEN),
    )
    if name == "timm":
        shares = core.grid_pointing(model, images, [0, 1, 2, 3], "rollout", framing=GIVEN)
        assert shares.sum() == pytest.approx(1)


# -- many at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOTH)
def test_eight_threads_share_one_model(name: str) -> None:
    case = built(name)
    model, view = case.model, pictures(name, 1)[0]
    before = state(model.module)
    jobs = [
        lambda: core.faithfulness(model, view, noise((4, 5)), framing=GIVEN, steps=4).deletion,
        lambda: core.randomization(model, view, "grad_cam", framing=GIVEN).relevance,
        lambda: core.robustness(model, view, "drop", framing=GIVEN).probabilities,
        lambda: core.grid_pointing(model, [view] * 4, [0, 1, 2, 3], "grad_cam", framing=GIVEN),
        lambda: core.what_if(model, view, np.eye(*GRIDS[name], dtype=bool), framing=GIVEN).logits,
    ]
    wanted = [job() for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: job(), jobs * 4))
    for one, expected in zip(found, wanted * 4, strict=True):
        np.testing.assert_array_equal(one, expected)
    assert_untouched(case, before)


# -- bad input ------------------------------------------------------------------------------------

GOOD = noise((2, 3))
NOT_FINITE = np.where(GOOD > 0, GOOD, np.nan)


@pytest.mark.parametrize(
    ("relevance", "options", "told"),
    [
        (NOT_FINITE, {}, "not finite"),
        (GOOD * np.inf, {}, "not finite"),
        (np.ones((2, 3)), {}, "no order"),
        (GOOD, {"grid": (1, 1)}, "no order"),
        (np.ones(6), {}, r"\(rows, columns\)"),
        (np.ones((1, 2, 3)), {}, r"\(rows, columns\)"),
        (np.ones((0, 3)), {}, r"\(rows, columns\)"),
        ([GOOD, np.ones(4)], {}, r"\(rows, columns\)"),
        (GOOD, {"target": CLASSES}, "choose an index"),
        (GOOD, {"target": -1}, "choose an index"),
        (GOOD, {"target": 1.5}, "whole number"),
        ([GOOD, GOOD], {"target": [1]}, "1 classes were given for 2"),
        (GOOD, {"fill": "pink"}, "fill 'pink'"),
        (GOOD, {"steps": 0}, "steps is 0"),
        (GOOD, {"steps": 2.0}, "steps is 2.0"),
        (GOOD, {"grid": (2, 5)}, "cuts through"),
        (GOOD, {"grid": (0, 3)}, "rows and columns"),
        (GOOD, {"grid": (99, 3)}, "rows and columns"),
    ],
)
def test_bad_maps(relevance: Any, options: dict[str, Any], told: str) -> None:
    model, view = built("timm").model, pictures("timm", 1)[0]
    with pytest.raises(core.ParameterError, match=told) as error:
        core.faithfulness(model, view, relevance, framing=GIVEN, **options)
    sentence(error)


@pytest.mark.parametrize(
    ("removed", "told"),
    [
        (np.zeros((2, 3)), "of bool"),
        (np.zeros(6, bool), "of bool"),
        (np.zeros((0, 3), bool), "of bool"),
        (np.zeros((5, 7), bool), "cuts through"),
        (np.zeros((200, 3), bool), "rows and columns"),
    ],
)
def test_bad_masks(removed: Any, told: str) -> None:
    with pytest.raises(core.ParameterError, match=told) as error:
        core.what_if(built("timm").model, pictures("timm", 1)[0], removed, framing=GIVEN)
    sentence(error)


@pytest.mark.parametrize(
    ("kind", "strength"),
    [
        ("melt", 1),
        ("shuffle", 0),
        ("shuffle", 2.5),
        ("shuffle", 99),
        ("drop", 1.1),
        ("blur", -1),
        ("gray", "much"),
        ("gray", float("nan")),
        ("gray", True),
    ],
)
def test_bad_changes(kind: str, strength: Any) -> None:
    model, view = built("timm").model, pictures("timm", 1)[0]
    with pytest.raises(core.ParameterError) as error:
        core.changed(view, kind, strength)
    sentence(error)
    with pytest.raises(core.ParameterError):
        core.robustness(model, view, kind, [strength], framing=GIVEN)


def test_other_bad_requests() -> None:
    model, view = built("timm").model, pictures("timm", 1)[0]
    with pytest.raises(core.ImageError, match="No picture"):
        core.faithfulness(model, [], [], framing=GIVEN)
    with pytest.raises(core.ParameterError, match="1 maps were given for 2"):
        core.faithfulness(model, [view, view], [GOOD], framing=GIVEN)
    with pytest.raises(core.ParameterError, match="A grid of 0 × 3"):
        core.baseline_maps(view, (0, 3))
    with pytest.raises(core.ParameterError, match="expected some of classifier"):
        core.randomization(model, view, "rollout", framing=GIVEN, depths=["block.99"])
    with pytest.raises(core.ParameterError, match="expected four"):
        core.grid_pointing(model, [view], [0], "grad_cam", framing=GIVEN)
    with pytest.raises(core.ImageError, match="several sizes"):
        core.pointing_grid(model, [view, view, view, picture(3, 3)], GIVEN)
    found = core.faithfulness(model, view, GOOD, framing=GIVEN, steps=2)
    for step, curve in ((3, "deletion"), (-1, "deletion"), (0, "removal")):
        with pytest.raises(core.ParameterError):
            found.removed(step, curve)  # type: ignore[arg-type]


def test_models_without_classes_are_told() -> None:
    model = as_model(shake(timm_vit(num_classes=0)), classes=0)
    view = pictures("timm", 1)[0]
    for call in (
        lambda: core.faithfulness(model, view, GOOD, framing=GIVEN),
        lambda: core.robustness(model, view, "gray", framing=GIVEN),
        lambda: core.what_if(model, view, GOOD > 0, framing=GIVEN),
        lambda: core.grid_pointing(model, [view] * 4, None, "rollout", framing=GIVEN),
    ):
        with pytest.raises(core.UnsupportedMethod) as error:
            call()
        sentence(error)


# -- the embedded network -------------------------------------------------------------------------


def test_a_map_of_the_embedded_network_is_better_than_chance() -> None:
    model = core.open_model("efficientnet-lite0")
    image = core.read_image(next(s.path for s in core.samples() if s.id == "chelsea"))
    view = model.view(image, core.Framing("crop"))
    cam = core.explain(model, view, "cam", framing=GIVEN)
    grid = core.removal_grid(model, (view.height, view.width))
    random = core.baseline_maps(view, grid)["random"]
    true, chance = core.faithfulness(
        model, view, [cam.relevance, random], cam.target, framing=GIVEN, steps=8
    )
    assert true.difference > chance.difference + 0.1
