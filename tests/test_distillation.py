"""The scripts that make and measure the class head: splits, pictures, calibration, known maps."""

from __future__ import annotations

import numpy as np
import picture_sources
import pytest
import torch
from distill_head import MOST_OF_A_CLASS, chosen_rows
from distill_pictures import draw
from head_fit import Table, calibrate
from head_measures import agreement, calibration, taught
from measure_maps import compose, coverage, share, summary
from picture_sources import CUTOUT, NATURAL, SIDE, SPLITS, Source, merge_duplicates, split
from PIL import Image
from torch import nn

CLASSES, CHANNELS = 6, 4


def photograph(seed: int, side: int = 300) -> Image.Image:
    """A smooth random picture."""
    values = np.random.default_rng(seed).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    return Image.fromarray(values).resize((side, side), Image.Resampling.BICUBIC)


def cutout(colour: tuple[int, int, int], size: tuple[int, int] = (60, 90)) -> Image.Image:
    """A plain object that fills its picture."""
    return Image.new("RGBA", size, (*colour, 255))


def some_sources() -> list[Source]:
    """Photographs and cut-outs, three to a family, and one family that is never held out."""
    natural = [
        Source(f"n{i}", NATURAL, photograph(i), f"family {i // 3}", i >= 57) for i in range(60)
    ]
    cutouts = [Source(f"c{i}", CUTOUT, cutout((i, 0, 0)), f"object {i // 3}") for i in range(60)]
    return natural + cutouts


def table(count: int = 400, seed: int = 0) -> tuple[Table, nn.Linear]:
    """Pictures whose teacher is a known linear layer, and that layer."""
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(CHANNELS, CLASSES)
    with torch.no_grad():
        head.weight.copy_(3 * torch.randn(CLASSES, CHANNELS, generator=generator))
        head.bias.zero_()
        tokens = torch.randn(count, CHANNELS, generator=generator)
        logits = head(tokens).numpy().astype(np.float16)
    rows = np.arange(count)
    return Table(tokens.numpy(), logits, logits, rows // 4, rows % 3, rows % 2 == 0), head


def test_no_family_is_on_two_sides() -> None:
    sources = some_sources()
    sides: dict[str, set[str]] = {}
    seen: list[int] = []
    for name, kinds in split(sources).items():
        for kind, families in kinds.items():
            for index in (index for family in families for index in family):
                seen.append(index)
                assert sources[index].kind == kind
                sides.setdefault(sources[index].family, set()).add(name)
    assert sorted(seen) == list(range(len(sources)))
    assert all(len(found) == 1 for found in sides.values())
    assert sides["family 19"] == {"train"}
    assert set.union(*sides.values()) == set(SPLITS)


def test_near_duplicates_become_one_family() -> None:
    first = photograph(1)
    mirrored = first.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((280, 280))
    sources = [
        Source("a", NATURAL, first, "a"), Source("b", NATURAL, photograph(2), "b"),
        Source("c", NATURAL, mirrored, "c", always_train=True),
    ]  # fmt: skip
    merge_duplicates(sources)
    assert sources[0].family == sources[2].family != sources[1].family
    assert [source.always_train for source in sources] == [True, False, True]


def test_pictures_of_a_split_come_from_its_sources_only() -> None:
    sources = some_sources()
    for name, families in split(sources).items():
        allowed = {index for kind in families.values() for family in kind for index in family}
        rng = np.random.default_rng(0)
        for kind in (NATURAL, CUTOUT):
            for _ in range(20):
                image, index = draw(sources, families, kind, rng, augment=name == "train")
                assert image.size == (SIDE, SIDE)
                assert index in allowed
                assert sources[index].kind == kind


def test_crowded_classes_are_thinned_out_only_where_they_are_fitted_to() -> None:
    logits = torch.zeros(3000, 10)
    logits[:2000, 0] = 9.0  # sure of class 0, a crowd
    logits[2000:2004, 1] = 9.0  # sure of class 1, a rare one
    train = np.arange(3000) % 2 == 0
    kept = chosen_rows(logits, train, np.random.default_rng(0))
    crowd = kept[kept < 2000]
    assert np.isin(np.arange(2000, 2004), kept).all()
    assert (crowd % 2 == 1).sum() == 1000
    assert 0 < (crowd % 2 == 0).sum() < 4 * MOST_OF_A_CLASS
    assert 0.2 < (kept >= 2004).sum() / 996 < 0.4


def test_the_teacher_itself_agrees_and_is_calibrated_to_itself() -> None:
    pictures, head = table()
    files = taught(pictures)
    assert files.sum() > 0
    found = agreement(head, pictures, files)
    assert found["natural"]["top1"] > 0.98  # its scores were rounded to half precision
    rows = found["by_confidence"]
    assert sum(row["n"] for row in rows) == pictures.natural.sum()
    weight = torch.ones(len(pictures))
    assert calibrate(head, pictures, weight) > 1.5  # it is never wrong, so it may be certain


def test_calibration_finds_the_scale_and_measures_its_lack() -> None:
    pictures, head = table()
    weight = torch.ones(len(pictures))
    # A student that names the teacher's class in four of five pictures but is always certain.
    wrong = torch.arange(len(pictures)) % 5 == 0
    tokens = torch.from_numpy(pictures.tokens)
    tokens[wrong] = -tokens[wrong]
    with torch.no_grad():
        head.weight.mul_(20)
    before = calibration(head, pictures, weight)
    assert before["error"] == pytest.approx(0.2, abs=0.05)
    assert calibrate(head, pictures, weight) < 0.5
    assert calibration(head, pictures, weight)["error"] < before["error"]
    only = torch.zeros(len(pictures))
    only[~wrong] = 1.0
    assert calibration(head, pictures, only)["error"] < 0.15


def test_objects_of_a_composite_lie_side_by_side() -> None:
    rng = np.random.default_rng(0)
    ground = Image.new("RGB", (SIDE, SIDE), "black")
    composite = compose((cutout((255, 0, 0)), cutout((0, 255, 0), (90, 50))), ground, rng)
    left, right = composite.masks
    assert not (left & right).any()
    assert left[:, SIDE // 2 :].sum() == right[:, : SIDE // 2].sum() == 0
    pixels = np.asarray(composite.image)
    assert (pixels[left] == (255, 0, 0)).all()
    assert (pixels[right] == (0, 255, 0)).all()
    assert (np.asarray(composite.alone[0])[right] == 0).all()
    assert (np.asarray(composite.alone[1])[left] == 0).all()


def test_share_of_maps_that_are_known() -> None:
    left, right = np.zeros((SIDE, SIDE), dtype=bool), np.zeros((SIDE, SIDE), dtype=bool)
    left[:, : SIDE // 2] = right[:, SIDE // 2 :] = True
    assert coverage(left, (16, 16))[:, :8].min() == 1
    assert coverage(left, (7, 7))[0].tolist() == [1, 1, 1, 0.5, 0, 0, 0]
    relevance = np.zeros((16, 16))
    relevance[3, 2], relevance[3, 12], relevance[5, 12] = 3.0, 1.0, -9.0
    assert share(relevance, left, right) == 0.75
    assert share(relevance, right, left) == 0.25
    assert share(np.zeros((16, 16)), left, right) == 0.5


def test_error_of_a_mean_counts_objects_and_not_pictures() -> None:
    """The same two objects a hundred times are no better known than once."""
    families = [("a", "b")] * 50 + [("c", "d")] * 50
    pairs = np.repeat([[0.9, 0.9], [0.5, 0.5]], 50, axis=0)
    found = summary(pairs, families)
    assert found["share"] == 0.7
    assert found["both_right"] == 0.5
    assert found["error"] > 0.1 > 3 * pairs.mean(axis=1).std() / 100**0.5 / 1.5


def test_sides_are_shares_of_all_families() -> None:
    names = [Source(f"{i}", CUTOUT, cutout((0, 0, 0)), f"family {i}") for i in range(3000)]
    sides = [picture_sources.split_of(source) for source in names]
    assert sides.count("test") / 3000 == pytest.approx(picture_sources.TEST_SHARE, abs=0.03)
    assert sides.count("validation") / 3000 == pytest.approx(0.1, abs=0.03)
