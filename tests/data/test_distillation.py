"""The scripts that make and measure the class head: splits, pictures, calibration, known maps."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from core.paths import LABELS, WEIGHTS
from data.recipes import picture_sources
from data.recipes.distill_pictures import draw
from data.recipes.fit_head import FOLDS, earlier_fit, fold_of
from data.recipes.head_measures import agreement, best_scale, calibration, error_of_rate, rates
from data.recipes.last_block import Student, block_inputs, class_attention, differences
from data.recipes.measure_maps import compose, coverage, share, summary
from data.recipes.photograph_features import ORDER, chunks
from data.recipes.photograph_fit import (
    KNOWN,
    LIFT,
    Views,
    classes_of,
    counts_of,
    fit,
    in_parts,
    lifted,
    ridge,
)
from data.recipes.photographs import LABELED, photographs, view_of
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
    FITTED,
    HEAD_FILE,
    LAST,
    VIT_FILE,
    check_fitted,
    vit_model,
    whole_vit,
)

CLASSES = 6


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
    own = {name.replace("blocks.2.", "blocks.11."): t for name, t in before.state_dict().items()}
    fitted = {name.replace("blocks.2.", "blocks.11."): t for name, t in student.weights().items()}
    moved = {name for name, tensor in fitted.items() if not torch.equal(tensor, own[name])}
    assert {"head.bias", "norm.weight", f"{LAST}attn.qkv.weight", f"{LAST}mlp.fc1.bias"} <= moved
    check_fitted(own, {name: fitted[name] for name in moved})


@pytest.mark.parametrize("name", ["attn.qkv.weight", "attn.qkv.bias"])
def test_another_attention_is_refused(name: str) -> None:
    own = {key.replace("blocks.2.", "blocks.11."): t for key, t in backbone().state_dict().items()}
    values = own[f"{LAST}{name}"].clone()
    values[-1] += 1
    check_fitted(own, {f"{LAST}{name}": values})
    values[0] += 1
    with pytest.raises(SystemExit, match=name):
        check_fitted(own, {f"{LAST}{name}": values})


@pytest.mark.parametrize("name", ["blocks.0.norm1.weight", "blocks.11.norm1.weight", "pos_embed"])
def test_other_tensors_are_not_fitted(name: str) -> None:
    own = {key.replace("blocks.2.", "blocks.11."): t for key, t in backbone().state_dict().items()}
    with pytest.raises(SystemExit, match=name):
        check_fitted(own, {name: own[name]})


def test_shipped_files_are_the_backbone_and_what_was_fitted() -> None:
    own, fitted = load_file(WEIGHTS / VIT_FILE), load_file(WEIGHTS / HEAD_FILE)
    check_fitted(own, fitted)
    assert not [name for name in own if name.startswith("head.")]
    assert set(fitted) - set(own) == {"head.weight", "head.bias"}
    whole = whole_vit()
    assert whole.keys() == own.keys() | fitted.keys()
    assert all(torch.equal(whole[name], tensor) for name, tensor in fitted.items())
    assert (WEIGHTS / HEAD_FILE).stat().st_size < 6e6


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
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2000, CLASSES, generator=generator)
    # A student that names the teacher's class in four of five pictures but is always certain.
    wrong = torch.arange(2000) % 5 == 0
    first = torch.nn.functional.one_hot(logits.argmax(1), CLASSES).float()
    first[wrong] = first[wrong].roll(1, dims=1)
    scores = 15 * first
    before = calibration(scores, logits)
    assert before["error"] == pytest.approx(0.2, abs=0.05)
    assert sum(one["n"] for one in before["bins"]) == 2000
    assert best_scale(scores, logits) < 0.5
    assert calibration(scores * best_scale(scores, logits), logits)["error"] < before["error"]
    assert calibration(scores[~wrong], logits[~wrong])["error"] < 0.05
    # It is never wrong, so it may be certain.
    assert best_scale(logits, logits) > 1.5


def test_agreement_counts_what_the_teacher_is_sure_of() -> None:
    logits = torch.zeros(6, 10)
    logits[torch.arange(5), torch.tensor([0, 1, 2, 3, 4])] = 9.0  # of the sixth it is not sure
    scores = logits.clone()
    scores[1] = torch.arange(10.0) / 10  # the teacher's class is not among the five
    scores[2, 7] = 20.0  # … is the second
    natural = torch.tensor([True, True, True, False, True, True])
    files = np.array([1, 2, 3, 4, 12, 0, 0, 0, 0, 0])
    found = agreement(scores, logits, natural, np.arange(6), files)
    assert (found["natural"]["n"], found["natural"]["top1"]) == (4, 0.5)
    assert found["natural"]["top5"] == 0.75
    assert (found["cutouts"]["n"], found["cutouts"]["top1"]) == (1, 1.0)
    assert [row["n"] for row in found["by_source_files"]] == [2, 1, 1]
    assert [row["n"] for row in found["by_confidence"]] == [1, 0, 0, 0, 4]


def test_one_of_several_classes_is_right() -> None:
    ranked = torch.tensor([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])
    wanted = torch.zeros(2, 10, dtype=torch.bool)
    wanted[0, [0, 9]] = wanted[1, [7, 1]] = True
    found = rates(ranked, wanted, np.arange(2))
    assert (found["top1"], found["top5"], found["n"]) == (0.5, 1.0, 2)
    assert found["top1_error"] > 0 == found["top5_error"]


# -- photographs --------------------------------------------------------------------------------

SAMPLES_OF_CLASSES = [f"{LABELED}/n{number:08d}_{number:04d}.jpg" for number in range(1000)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A few files of every collection; only their names count."""
    names = [
        *SAMPLES_OF_CLASSES[:3],
        *(f"caltech101/cup/image_{number:04d}.jpg" for number in (1, 9, 10, 57)),
        "clothing/Hat/one.jpg",
        "grocery/dataset/train/Fruit/Melon/Galia-Melon/Galia-Melon_001.jpg",
        "grocery/dataset/test/Fruit/Melon/Galia-Melon/Galia-Melon_002.jpg",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_families_of_photographs(folder: Path) -> None:
    found = {one.name: one for one in photographs(folder)}
    assert len(found) == 10
    cups = [found[f"caltech101/cup/image_{number:04d}.jpg"].family for number in (1, 9, 10, 57)]
    assert cups[0] == cups[1]
    assert len(set(cups)) == 3
    melons = {one.family for one in found.values() if one.folder == "Galia-Melon"}
    assert len(melons) == 1
    assert found["clothing/Hat/one.jpg"].folder == "Hat"
    shutil.rmtree(folder / "grocery")
    with pytest.raises(FileNotFoundError, match="grocery"):
        photographs(folder)


def test_chunks_come_in_order_and_hold_every_photograph_once(folder: Path) -> None:
    found = chunks(photographs(folder))
    assert len({chunk.file for chunk in found}) == len(found)
    first = [chunk for chunk in found if chunk.view == 0]
    assert sorted(name for chunk in first for name in chunk.names) == sorted(
        one.name for one in photographs(folder)
    )
    assert found[0].collection == LABELED
    assert len(found) == sum(len(collections) for _, collections in ORDER)


def test_views_are_the_same_each_time_and_differ() -> None:
    image = photograph(3, 300).crop((0, 0, 300, 200))
    views = [np.asarray(view_of(image, "a.jpg", number)) for number in range(4)]
    assert all(view.shape == (SIDE, SIDE, 3) for view in views)
    assert np.array_equal(views[2], np.asarray(view_of(image, "a.jpg", 2)))
    assert not np.array_equal(views[2], np.asarray(view_of(image, "b.jpg", 2)))
    assert len({view.tobytes() for view in views}) == 4
    # The first is what the transformer is evaluated on: the central square.
    square = image.crop((50, 0, 250, 200)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    assert np.abs(views[0].astype(int) - np.asarray(square).astype(int)).mean() < 3


def test_what_a_folder_says_of_its_photographs() -> None:
    labels = (LABELS / "imagenet1k.txt").read_text(encoding="utf-8").splitlines()
    classes = classes_of(SAMPLES_OF_CLASSES)
    assert classes(SAMPLES_OF_CLASSES[7]) == [7]
    assert [labels[i] for i in classes("caltech101/rooster/image_0001.jpg")] == ["cock"]
    assert classes("caltech101/watch/image_0001.jpg") == []
    assert [labels[i] for i in classes("grocery/dataset/val/Fruit/Lemon/Lemon_1.jpg")] == ["lemon"]
    with pytest.raises(ValueError, match="1000 expected"):
        classes_of(SAMPLES_OF_CLASSES[1:])


def test_every_class_that_a_folder_names_exists() -> None:
    labels = set((LABELS / "imagenet1k.txt").read_text(encoding="utf-8").splitlines())
    tables = tomllib.loads(KNOWN.read_text(encoding="utf-8"))
    assert set(tables) == {"caltech101", "clothing", "grocery"}
    for folders in tables.values():
        assert list(folders) == sorted(folders)
        for names in folders.values():
            assert names
            assert set(names) <= labels


def test_known_classes_are_lifted_and_the_rest_stays() -> None:
    logits = torch.tensor([[5.0, 1.0, 0.0, -2.0], [5.0, 1.0, 0.0, -2.0], [5.0, 1.0, 0.0, -2.0]])
    known = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    found = lifted(logits, known)
    assert found[0].tolist() == [5.0, 1.0, 5.0 + LIFT, 3.0 + LIFT]
    assert found[1].tolist() == [5.0 + LIFT, 1.0, 0.0, -2.0]
    assert torch.equal(found[2], logits[2])


def test_crowded_folders_count_less_for_each_photograph() -> None:
    names = [f"caltech101/cup/image_{number:04d}.jpg" for number in range(100)]
    names += ["caltech101/pizza/image_0001.jpg", SAMPLES_OF_CLASSES[0]]
    empty = np.zeros((len(names), 0), dtype=np.float16)
    counts = counts_of(Views(np.array(names), np.zeros(len(names)), empty, empty, empty))
    assert counts[0] < counts[100] == counts[101] == 1
    assert counts[:100].sum() > counts[100]


def test_folds_hold_out_families_and_whole_classes() -> None:
    folds = [fold_of(name) for name in SAMPLES_OF_CLASSES]
    assert set(folds) == set(range(FOLDS))
    assert min(np.bincount(folds)) > 150
    cups = [fold_of(f"caltech101/cup/image_{number:04d}.jpg") for number in range(100)]
    assert all(len(set(cups[at : at + 10])) == 1 for at in range(0, 100, 10))
    assert len(set(cups)) > 1
    assert fold_of("clothing/Hat/one.jpg") == -1


def test_fit_goes_on_from_an_earlier_one(tmp_path: Path) -> None:
    whole = load_file(WEIGHTS / VIT_FILE)
    network = vit_model()
    network.load_state_dict(whole, strict=True)
    head = {"head.weight": torch.ones(1000, 384).half(), "head.bias": torch.arange(1000).half()}
    bias = whole[f"{LAST}mlp.fc1.bias"] + 1
    save_file({**head, f"{LAST}mlp.fc1.bias": bias}, tmp_path / "earlier.safetensors")
    state = earlier_fit(tmp_path / "earlier.safetensors", network)
    student = Student(network, 1000)
    student.load_state_dict(state, strict=True)
    assert torch.equal(student.head.bias, torch.arange(1000.0))
    assert torch.equal(student.block.mlp.fc1.bias, bias.float())
    assert torch.equal(student.norm.weight, whole["norm.weight"].float())
    # Without a step it is what it was.
    inputs = np.random.default_rng(0).normal(size=(64, 7, 384)).astype(np.float16)
    empty = np.zeros((64, 1000), dtype=np.float16)
    names = np.array([f"clothing/Hat/{number}.jpg" for number in range(64)])
    views = Views(names, np.zeros(64, dtype=int), inputs, empty, empty)
    known = torch.zeros(64, 1000, dtype=torch.bool)
    same = fit(network, views, known, torch.randn(1000, 8), seed=0, epochs=0, earlier=state)
    assert torch.allclose(in_parts(same, inputs), in_parts(student, inputs), rtol=1e-3, atol=0.1)


def test_ridge_finds_a_linear_teacher() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(4000, 5, generator=generator)
    wanted = torch.randn(7, 5, generator=generator)
    wanted -= wanted.mean(0)
    weight, bias = ridge(tokens, tokens @ wanted.T + 3, torch.rand(4000) + 0.1)
    assert torch.allclose(weight * 1.03, wanted, atol=0.05)
    assert float(bias.abs().max()) < 0.05


def test_fit_learns_what_the_photographs_show_and_leaves_the_attention() -> None:
    """A teacher that is the network itself, but for another MLP and head."""
    network, other = backbone(), backbone()
    generator = torch.Generator().manual_seed(1)
    head = torch.nn.Linear(24, 1000)
    with torch.no_grad():
        for parameter in other.blocks[-1].mlp.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator))
        head.weight[20:] = 0  # of a thousand classes few are seen
        pictures = torch.randn(240, 3, 56, 56, generator=generator)
        pictures *= 2 * torch.rand(240, 3, 1, 1, generator=generator)
        inputs = block_inputs(network, pictures)
        teacher = Student(other, 1000)
        teacher.head.load_state_dict(head.state_dict())
        logits = in_parts(teacher, inputs.numpy())
    names = np.array([f"clothing/Hat/{number}.jpg" for number in range(240)])
    views = Views(
        names,
        np.zeros(240, dtype=int),
        inputs.half().numpy(),
        logits.half().numpy(),
        logits.half().numpy(),
    )
    known = torch.zeros(240, 1000, dtype=torch.bool)
    classes = torch.randn(1000, 40, generator=generator)
    student = fit(network, views, known, classes, seed=0, epochs=40)
    hits = in_parts(student, views.inputs).argmax(-1) == logits.argmax(-1)
    assert float(hits.float().mean()) > 0.6
    own = {key.replace("blocks.2.", "blocks.11."): t for key, t in network.state_dict().items()}
    fitted = {key.replace("blocks.2.", "blocks.11."): t for key, t in student.weights().items()}
    moved = {name: t for name, t in fitted.items() if name.startswith(FITTED)}
    check_fitted(own, moved)
    assert not torch.equal(moved[f"{LAST}mlp.fc1.weight"], own[f"{LAST}mlp.fc1.weight"])


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
