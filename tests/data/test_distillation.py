"""The scripts that make and measure the class head: splits, pictures, calibration, known maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from core.paths import WEIGHTS
from data.recipes import picture_sources
from data.recipes.distill_pictures import draw
from data.recipes.head_features import MOST_OF_A_CLASS, check_recipe, chosen_rows
from data.recipes.head_fit import Settings, Table, calibrate, fit, in_parts, sure_loss
from data.recipes.head_measures import agreement, calibration, error_of_rate, taught
from data.recipes.last_block import Student, block_inputs, class_attention, differences
from data.recipes.measure_maps import compose, coverage, share, summary
from data.recipes.picture_sources import (
    CUTOUT,
    NATURAL,
    SIDE,
    SPLITS,
    Source,
    merge_duplicates,
    split,
)
from data.recipes.weight_files import (
    VIT_FILE,
    add_fitted,
    check_fitted,
    save_weights,
    source_rows,
    to_half,
)

CLASSES, CHANNELS = 6, 4


def photograph(seed: int, side: int = 300) -> Image.Image:
    """A smooth random picture."""
    values = np.random.default_rng(seed).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    return Image.fromarray(values).resize((side, side), Image.Resampling.BICUBIC)


def cutout(color: tuple[int, int, int], size: tuple[int, int] = (60, 90)) -> Image.Image:
    """A plain object that fills its picture."""
    return Image.new("RGBA", size, (*color, 255))


def some_sources() -> list[Source]:
    """Photographs and cut-outs, three to a family, and one family that is never held out."""
    natural = [
        Source(f"n{i}", NATURAL, photograph(i), f"family {i // 3}", i >= 57) for i in range(60)
    ]
    cutouts = [Source(f"c{i}", CUTOUT, cutout((i, 0, 0)), f"object {i // 3}") for i in range(60)]
    return natural + cutouts


def table(count: int = 400, seed: int = 0) -> tuple[Table, nn.Sequential]:
    """Pictures whose teacher is a known linear layer, and that layer."""
    generator = torch.Generator().manual_seed(seed)
    student = nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS, CLASSES))
    with torch.no_grad():
        student[1].weight.copy_(3 * torch.randn(CLASSES, CHANNELS, generator=generator))
        student[1].bias.zero_()
        inputs = torch.randn(count, 1, CHANNELS, generator=generator).half()
        logits = student(inputs.float()).numpy().astype(np.float16)
    rows = np.arange(count)
    return Table(
        inputs.numpy(), logits, logits, rows // 4, rows % 3, rows % 2 == 0, rows // 8
    ), student


def backbone(seed: int = 0) -> nn.Module:
    """A small transformer of the embedded one's architecture."""
    torch.manual_seed(seed)
    return timm.create_model(
        "vit_small_patch14_dinov2",
        img_size=56,
        embed_dim=24,
        depth=3,
        num_heads=3,
        num_classes=CLASSES,
        init_values=0.7,
    ).eval()


def seen_by(network: nn.Module, count: int = 240, seed: int = 0) -> Table:
    """Pictures whose teacher is the network itself, with another last block and head."""
    other = backbone(seed)
    for name in ("blocks", "norm"):
        getattr(other, name).load_state_dict(getattr(network, name).state_dict())
    torch.manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in other.blocks[-1].mlp.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        other.head.weight.copy_(2 * torch.randn_like(other.head.weight))
    pictures = torch.randn(count, 3, 56, 56)
    pictures *= torch.rand(count, 3, 1, 1) * 2
    inputs = block_inputs(network, pictures)
    teacher = Student(other, CLASSES)
    teacher.head.load_state_dict(other.head.state_dict())
    logits = in_parts(teacher, inputs.numpy()).numpy().astype(np.float16)
    rows = np.arange(count)
    return Table(
        inputs.half().numpy(), logits, logits, rows // 4, rows % 3, rows % 2 == 0, rows // 8
    )


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
        Source("a", NATURAL, first, "a"),
        Source("b", NATURAL, photograph(2), "b"),
        Source("c", NATURAL, mirrored, "c", always_train=True),
    ]
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


def test_features_of_another_recipe_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.sha256"
    sources = some_sources()[:2]
    check_recipe(sources, backbone(), path)
    check_recipe(sources, backbone(), path)
    for others, network in ((sources[:1], backbone()), (sources, backbone(seed=1))):
        with pytest.raises(SystemExit, match="another recipe"):
            check_recipe(others, network, path)


def test_student_is_the_network_from_the_last_blocks_attention_on() -> None:
    network = backbone()
    pictures = torch.randn(3, 3, 56, 56)
    attention, entering, _ = class_attention(network, pictures)
    assert torch.allclose(attention.sum(-1), torch.ones(3, 3), atol=1e-6)
    assert entering.shape == (3, 17, 24)
    inputs = block_inputs(network, pictures).clone()
    assert inputs.shape == (3, 4, 24)
    student = Student(network, CLASSES)
    assert not student(inputs).any()
    student.head.load_state_dict(network.head.state_dict())
    assert torch.allclose(student(inputs), network(pictures), atol=1e-5)


def test_fitted_weights_change_the_classes_and_no_attention() -> None:
    before, network = backbone(), backbone()
    pictures = torch.randn(4, 3, 56, 56)
    inputs = block_inputs(network, pictures).clone()
    student = Student(network, CLASSES)
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.05, weight_decay=0.0)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(student(inputs), torch.arange(4)).backward()
        optimizer.step()
    network.load_state_dict({**network.state_dict(), **student.weights()}, strict=True)
    assert torch.allclose(student(inputs), network(pictures), atol=1e-4)
    found = differences(before, network, pictures)
    assert found["attention"] == 0.0
    assert found["class_token"] < 0.99 > found["patches"]
    assert differences(before, before, pictures) == {
        "attention": 0.0,
        "class_token": 1.0,
        "patches": 1.0,
    }
    for name, tensor in student.weights().items():
        original = before.state_dict()[name]
        rows = source_rows(name.replace("blocks.2.", "blocks.11."), tensor)
        assert torch.equal(tensor[:rows], original[:rows]), name
        assert rows == len(tensor) or not torch.equal(tensor[rows:], original[rows:]), name


@pytest.mark.parametrize("rate", [0.0, 3e-4])
def test_fit_agrees_with_the_teacher_and_moves_the_block_only_when_asked(rate: float) -> None:
    network = backbone()
    pictures = seen_by(network)
    train, validation = pictures.part("train"), pictures.part("validation")
    classes = torch.randn(CLASSES, 40, generator=torch.Generator().manual_seed(0))
    settings = Settings(rate_of_block=rate, temperature=2.0, dropout=0.1)
    student, epoch, loss = fit(network, train, validation, classes, settings, 0)
    assert epoch > 0
    assert loss == pytest.approx(sure_loss(student, validation))
    assert loss < 0.8 * sure_loss(Student(network, CLASSES), validation)
    assert agreement(student, train, taught(train))["natural"]["top1"] > 0.6
    for name, tensor in student.weights().items():
        original = network.state_dict()[name]
        rows = source_rows(name.replace("blocks.2.", "blocks.11."), tensor)
        assert torch.equal(tensor[:rows], original[:rows]), name
        if rows < len(tensor) and not name.startswith("head."):
            assert torch.equal(tensor[rows:], original[rows:]) == (rate == 0.0), name


def test_a_rebuild_keeps_what_was_fitted_and_restores_the_rest(tmp_path: Path) -> None:
    path = tmp_path / VIT_FILE
    shipped = load_file(WEIGHTS / VIT_FILE)
    backbone = {name: tensor for name, tensor in shipped.items() if not name.startswith("head.")}
    bare = add_fitted(backbone, path)
    assert set(bare) == set(shipped)
    assert not bare["head.weight"].any()
    changed = {name: tensor + 1 for name, tensor in shipped.items()}
    save_weights(changed, path)
    rebuilt = add_fitted(backbone, path)
    check_fitted(backbone, rebuilt)
    assert torch.equal(rebuilt["blocks.0.attn.qkv.weight"], shipped["blocks.0.attn.qkv.weight"])
    assert torch.equal(rebuilt["blocks.11.norm1.bias"], shipped["blocks.11.norm1.bias"])
    for name in ("blocks.11.attn.qkv.weight", "blocks.11.attn.qkv.bias"):
        rows = 2 * 384
        assert torch.equal(rebuilt[name][:rows], shipped[name][:rows])
        assert torch.equal(rebuilt[name][rows:], changed[name][rows:])
    assert torch.equal(rebuilt["blocks.11.mlp.fc1.weight"], changed["blocks.11.mlp.fc1.weight"])
    assert torch.equal(rebuilt["head.bias"], changed["head.bias"])


@pytest.mark.parametrize(
    "name", ["blocks.0.norm1.weight", "blocks.11.norm1.weight", "blocks.11.attn.qkv.weight"]
)
def test_weights_that_differ_elsewhere_are_refused(name: str) -> None:
    weights = to_half(backbone().state_dict())
    weights = {key.replace("blocks.2.", "blocks.11."): value for key, value in weights.items()}
    check_fitted(weights, weights)
    wrong = weights[name].clone()
    wrong[0] += 1
    with pytest.raises(SystemExit, match=name):
        check_fitted(weights, {**weights, name: wrong})


def test_the_teacher_itself_agrees_and_is_calibrated_to_itself() -> None:
    pictures, student = table()
    files = taught(pictures)
    assert files.sum() > 0
    found = agreement(student, pictures, files)
    assert found["natural"]["top1"] > 0.98  # its scores were rounded to half precision
    rows = found["by_confidence"]
    assert sum(row["n"] for row in rows) == pictures.natural.sum()
    weight = torch.ones(len(pictures))
    # It is never wrong, so it may be certain.
    assert calibrate(student, student[1], pictures, weight) > 1.5


def test_error_of_a_rate_counts_files_and_not_pictures() -> None:
    """Ten crops of each of twenty photographs tell as much as twenty pictures."""
    source = np.repeat(np.arange(20), 10)
    alike = source % 2 == 0
    assert error_of_rate(alike, source) == pytest.approx((0.25 / 20) ** 0.5, rel=0.1)
    assert error_of_rate(np.arange(200) % 2 == 0, np.arange(200)) == pytest.approx(
        (0.25 / 200) ** 0.5, rel=0.1
    )
    assert error_of_rate(np.ones(200), source) == error_of_rate(np.ones(0), np.ones(0)) == 0.0


def test_calibration_finds_the_scale_and_measures_its_lack() -> None:
    pictures, student = table()
    weight = torch.ones(len(pictures))
    # A student that names the teacher's class in four of five pictures but is always certain.
    wrong = torch.arange(len(pictures)) % 5 == 0
    inputs = torch.from_numpy(pictures.inputs)
    inputs[wrong] = -inputs[wrong]
    with torch.no_grad():
        student[1].weight.mul_(20)
    before = calibration(student, pictures, weight)
    assert before["error"] == pytest.approx(0.2, abs=0.05)
    assert calibrate(student, student[1], pictures, weight) < 0.5
    assert calibration(student, pictures, weight)["error"] < before["error"]
    only = torch.zeros(len(pictures))
    only[~wrong] = 1.0
    assert calibration(student, pictures, only)["error"] < 0.15


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
    relevance[3, 2], relevance[3, 12] = 3.0, 1.0
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
