"""The shipped data: weights against their sources, class names, samples, and their papers."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from core.models.cards import read_card
from core.paths import LABELS, SAMPLES, WEIGHTS
from data.recipes import describe_files, head_card
from data.recipes.measure_evidence import MANY_PASSES
from data.recipes.measure_maps import FEWER
from data.recipes.verify_weights import observed

CATS = {281, 282, 283, 284, 285}
HALF_TOLERANCE = 0.05


def state(name: str) -> dict[str, Tensor]:
    """Read a weight file as the application does, floating point as float32."""
    return {
        key: value.float() if value.is_floating_point() else value
        for key, value in load_file(WEIGHTS / name).items()
    }


@pytest.fixture(scope="module")
def cnn() -> nn.Module:
    """EfficientNet-Lite0 with the shipped weights, loaded strictly."""
    model = timm.create_model("tf_efficientnet_lite0").eval()
    model.load_state_dict(state("efficientnet-lite0.safetensors"), strict=True)
    return model


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    """DINOv2 ViT-S/14 with the shipped weights and head, loaded strictly."""
    model = timm.create_model(
        "vit_small_patch14_dinov2", img_size=518, num_classes=1000, dynamic_img_size=True
    ).eval()
    files = ("dinov2-small.safetensors", "dinov2-small.head.safetensors")
    model.load_state_dict(state(files[0]) | state(files[1]), strict=True)
    return model


@pytest.fixture(scope="module")
def samples() -> list[dict[str, Any]]:
    """The tables of samples.toml."""
    text = (SAMPLES / "samples.toml").read_text(encoding="utf-8")
    tables: list[dict[str, Any]] = tomllib.loads(text)["sample"]
    return tables


@pytest.fixture(scope="module")
def labels() -> list[str]:
    """The class names in index order."""
    return (LABELS / "imagenet1k.txt").read_text(encoding="utf-8").splitlines()


def inputs(name: str, model: nn.Module, side: int, crop: bool = True) -> Tensor:
    """A sample as the model wants it: its central square, or stretched to a square."""
    image = Image.open(SAMPLES / name).convert("RGB")
    config = timm.data.resolve_data_config({}, model=model)
    least = min(image.size)
    left, top = (image.width - least) // 2, (image.height - least) // 2
    box = (left, top, left + least, top + least) if crop else None
    image = image.resize((side, side), Image.Resampling.BICUBIC, box=box)
    values = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)
    values = (values - torch.tensor(config["mean"])) / torch.tensor(config["std"])
    return values.permute(2, 0, 1)[None]


def top(model: nn.Module, name: str, count: int) -> list[int]:
    """The first classes of a sample picture."""
    with torch.inference_mode():
        best: list[int] = model(inputs(name, model, 224))[0].topk(count).indices.tolist()
    return best


def checksums() -> Iterator[tuple[str, str]]:
    """Digest and name of each line of SHA256SUMS."""
    for line in (WEIGHTS / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ")
        yield digest, name


def test_checksums_cover_and_match_every_weight_file() -> None:
    listed = {name: digest for digest, name in checksums()}
    present = {path.name for path in WEIGHTS.iterdir() if path.name != "SHA256SUMS"}
    assert set(listed) == present
    for name, digest in listed.items():
        assert hashlib.sha256((WEIGHTS / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet-lite0.safetensors",
        "dinov2-small.safetensors",
        "dinov2-small.head.safetensors",
    ],
)
def test_weights_are_finite_and_in_half_precision(name: str) -> None:
    for key, tensor in load_file(WEIGHTS / name).items():
        if key.endswith("num_batches_tracked"):
            assert tensor.dtype == torch.int64
        else:
            assert tensor.dtype == torch.float16, key
            assert torch.isfinite(tensor.float()).all(), key


def test_backbone_gives_what_its_onnx_graph_gave(vit: nn.Module) -> None:
    """Up to the last block's queries and keys, so for the attention of every layer."""
    with np.load(WEIGHTS / "dinov2-small.reference.npz") as stored:
        reference = {key: torch.from_numpy(stored[key]) for key in stored.files if key != "side"}
        side = int(stored["side"])
    positions = reference.pop("positions")
    ours = observed(vit, inputs("chelsea.jpg", vit, side, crop=False))
    del ours["final"]  # of the last block, which is fitted
    assert positions[0] == 0
    assert len(positions) >= 5
    assert set(reference) == set(ours)
    for key, theirs in reference.items():
        chosen = ours[key][0, positions]
        assert float((chosen - theirs).abs().max()) < HALF_TOLERANCE, key
        assert float(torch.cosine_similarity(chosen, theirs, dim=-1).min()) > 0.9999, key


def test_teacher_names_the_cat_the_cup_and_the_tripod(cnn: nn.Module) -> None:
    assert set(top(cnn, "chelsea.jpg", 3)) <= CATS
    assert top(cnn, "coffee.jpg", 1) == [967]
    assert top(cnn, "camera.jpg", 1) == [872]


def test_student_finds_a_cat(vit: nn.Module) -> None:
    assert CATS & set(top(vit, "chelsea.jpg", 5))


def test_head_is_fitted_and_gives_probabilities(vit: nn.Module) -> None:
    assert vit.head.weight.shape == (1000, 384)
    assert float(vit.head.weight.detach().abs().max()) > 0
    with torch.inference_mode():
        spread = vit(inputs("chelsea.jpg", vit, 224)).softmax(-1)[0]
    assert float(spread.max()) > 0.05


def test_teacher_is_sure_of_each_half_of_a_pair(
    cnn: nn.Module, samples: list[dict[str, Any]]
) -> None:
    pairs = [sample for sample in samples if "-beside-" in sample["file"]]
    assert len(pairs) >= 2
    for sample in pairs:
        image = inputs_of_halves(sample["file"], cnn)
        with torch.inference_mode():
            values = cnn(image).softmax(-1)
        for entry in sample["objects"]:
            half = values[0 if entry["half"] == "left" else 1]
            assert float(half[entry["index"]]) > 0.3, (sample["file"], entry["name"])
            assert int(half.argmax()) in ({entry["index"]} | CATS)


def inputs_of_halves(name: str, model: nn.Module) -> Tensor:
    """The two square halves of a pair as a batch of two."""
    image = Image.open(SAMPLES / name).convert("RGB")
    assert image.width == 2 * image.height
    config = timm.data.resolve_data_config({}, model=model)
    side = image.height
    boxes = ((0, 0, side, side), (side, 0, 2 * side, side))
    halves = [image.resize((224, 224), Image.Resampling.BICUBIC, box=box) for box in boxes]
    values = torch.from_numpy(np.stack([np.asarray(half) for half in halves])).float() / 255
    values = (values - torch.tensor(config["mean"])) / torch.tensor(config["std"])
    return values.permute(0, 3, 1, 2)


SQUARES = {
    "panda-and-polar-bear.jpg",
    "balloon-and-lorikeet.jpg",
    "balloon-and-panda.jpg",
}


def test_teacher_sees_both_objects_of_a_square(
    cnn: nn.Module, samples: list[dict[str, Any]]
) -> None:
    """At the model's own central square, so that maps of either class have something to show."""
    found = [sample for sample in samples if "-and-" in sample["file"]]
    assert {sample["file"] for sample in found} == SQUARES
    for sample in found:
        with Image.open(SAMPLES / sample["file"]) as image:
            assert image.width == image.height
        assert [entry["half"] for entry in sample["objects"]] == ["left", "right"]
        with torch.inference_mode():
            values = cnn(inputs(sample["file"], cnn, 224)).softmax(-1)[0]
        for entry in sample["objects"]:
            assert float(values[entry["index"]]) > 0.1, (sample["file"], entry["name"])
            assert int(values.argmax()) == entry["index"] or float(values.max()) < 0.6


def test_teacher_knows_the_new_objects_and_not_those_outside(cnn: nn.Module) -> None:
    assert top(cnn, "golden-retriever.jpg", 1) == [207]
    assert top(cnn, "chameleon.jpg", 1) == [47]
    assert top(cnn, "tiger-drawing.jpg", 1) == [292]
    assert 292 not in top(cnn, "tiger-lines.jpg", 1)
    assert 309 in top(cnn, "bee.jpg", 5)
    with torch.inference_mode():
        assert float(cnn(inputs("raccoon.jpg", cnn, 224)).softmax(-1).max()) < 0.5


def test_samples_say_what_they_show_and_when_no_class_fits(samples: list[dict[str, Any]]) -> None:
    for sample in samples:
        outside = sample["note"].startswith("Outside the classes: ")
        assert outside == (not sample["objects"]), sample["file"]
        assert sample["note"].endswith((".", "?"))
    assert sum(not sample["objects"] for sample in samples) == 3


def test_samples_are_complete_and_readable(
    samples: list[dict[str, Any]], labels: list[str]
) -> None:
    files = [sample["file"] for sample in samples]
    assert files[:2] == ["panda-and-polar-bear.jpg", "chelsea.jpg"]
    assert sorted(files) == sorted(path.name for path in SAMPLES.glob("*.jpg"))
    assert len(files) >= 6
    for sample in samples:
        assert sample["title"]
        assert sample["source"]
        assert sample["author"]
        licenses = {"CC0-1.0", "public domain", "CC-BY-2.0", "CC-BY-3.0"}
        assert set(sample["license"].split(" and ")) <= licenses
        with Image.open(SAMPLES / sample["file"]) as image:
            image.load()
            assert image.mode == "RGB"
            assert 700 <= max(image.size) <= 1000
        for entry in sample["objects"]:
            assert labels[entry["index"]] == entry["name"]
            assert entry["half"] in {"left", "right", "whole"}


def test_class_names_are_a_thousand_and_unique(labels: list[str]) -> None:
    assert len(labels) == 1000
    assert len({name.casefold() for name in labels}) == 1000
    assert all(name == name.strip() and name for name in labels)
    expected = {0: "tench", 134: "crane (bird)", 285: "Egyptian cat", 517: "crane (machine)"}
    assert {index: labels[index] for index in expected} == expected
    assert labels[967] == "espresso"
    assert labels[999] == "toilet tissue"


def test_card_states_what_was_measured() -> None:
    found = head_card.read_details()
    assert found["teacher"] == "efficientnet-lite0"
    assert sum(row["files"] for row in found["photographs"].values()) > 9000
    assert sum(row["views"] for row in found["photographs"].values()) == found["views"]
    assert set(found["tensors"]) == {"dinov2-small.safetensors", "dinov2-small.head.safetensors"}
    for collection in ("imagenet-samples", "caltech101"):
        for who in ("student", "teacher", "teacher_own_view"):
            row = found["true"][collection][who]
            assert row["n"] >= 1000
            assert 0 < row["top1"] < row["top5"] < 1
    for part in ("natural", "cutouts"):
        assert found[part]["n"] > 200
        assert 0 < found[part]["top1"] <= found[part]["top5"] <= 1
    files = found["source_files_of_class"]
    assert len(files) == 1000
    assert min(files) >= 1  # every class has a photograph
    assert found["classes_taught"] == sum(count > 0 for count in files)
    assert found["classes_taught_well"] == sum(count >= found["least_files"] for count in files)
    assert found["samples"]["chelsea.jpg"]["top5"] is True
    assert found["last_layer"]["attention"] == 0
    shipped = found["calibration"]["shipped"]
    assert 0 < shipped["error"] < 0.2
    assert sum(one["share"] for one in shipped["bins"]) == pytest.approx(1, abs=0.01)


def test_card_states_where_class_specific_maps_fall() -> None:
    measured = head_card.read_details()["composites"]
    assert measured["pictures"] >= 200
    assert 0 < measured["pictures_known"] <= measured["pictures"]
    of_vit = [row for row in measured["methods"] if row["model"] == "vit"]
    found = {(row["method"], *row["parameters"].values()): row for row in of_vit}
    both = {*MANY_PASSES, "lrp", "input_x_gradient"}
    wanted = both | {
        "gradient_rollout",
        "grad_cam",
        "transformer_attribution",
        "legrad",
        "rollout",
    }
    assert {method for method, *_ in found} == wanted
    of_cnn = {row["method"]: row for row in measured["methods"] if row["model"] == "cnn"}
    assert of_cnn.keys() == both | {"cam"}
    for row in measured["methods"]:
        few = row["method"] in MANY_PASSES
        assert row["all"]["pictures"] == (FEWER if few else measured["pictures"])
        assert row["known"]["pictures"] <= measured["pictures_known"]
    blind = found["rollout", "min"]["all"]
    assert (blind["share"], blind["both_right"]) == (0.5, 0.0)
    assert of_cnn["cam"]["all"]["share"] > 0.7
    for method in ("gradient_rollout", "transformer_attribution"):
        row = found[method,]["all"]
        assert row["share"] - 4 * row["error"] > blind["share"]


def test_card_is_what_its_recipe_would_write(tmp_path: Path) -> None:
    details = head_card.read_details()
    path = tmp_path / head_card.CARD.name
    head_card.write_card(details, path)
    assert path.read_bytes() == head_card.CARD.read_bytes()
    card = read_card(path)
    files = details["source_files_of_class"]
    assert card.doubtful == {i for i, count in enumerate(files) if count < details["least_files"]}
    true = [details["true"][name]["student"] for name in ("caltech101", "imagenet-samples")]
    agreed = [details[kind] for kind in ("natural", "cutouts")]
    rates = [row[key] for rows in (true, agreed) for key in ("top1", "top5") for row in rows]
    assert [measurement.value for measurement in card.measurements][:8] == rates


@pytest.mark.parametrize(("path", "name", "table"), describe_files.TABLES)
def test_readmes_show_what_their_recipe_would_write(
    path: Path, name: str, table: Callable[[], str]
) -> None:
    _, shown, _ = describe_files.parts(path.read_text(encoding="utf-8"), name)
    assert shown == table(), "run python -m data.recipes.describe_files"


def test_every_file_states_its_source_and_license() -> None:
    for line in describe_files.file_table().splitlines()[2:]:
        assert all(cell.strip() for cell in line.strip("|").split("|")), line
