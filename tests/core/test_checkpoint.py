"""Checkpoints of one's own, as training scripts leave them: each opens with its very logits, or is
refused with what was found."""

from __future__ import annotations

import argparse
import hashlib
import json
import tomllib
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import core
from core.errors import CatalogError, ModelError, UnknownModel, WeightsError
from core.models import checkpoint, shapes
from core.models.command import main
from core.models.spec import catalog_problem
from core.models.stated import id_of
from tests.support.builders import (
    CLASSES,
    answer,
    picture,
    save_hub_folder,
    sentence,
    shake,
    timm_convnet,
)
from tests.support.hub import Hub, playing

LABELS = ["apple", "birne", "çilek", "date", "elma"]


def vit() -> nn.Module:
    """The network whose weights are saved in many ways."""
    return shake(timm_convnet("test_vit"))


def state() -> dict[str, Tensor]:
    return dict(vit().state_dict())


def logits(model: core.Model) -> Tensor:
    """Answers to a picture."""
    with torch.no_grad():
        return model.score(model.pixels(picture(40, 40)))


def same(model: core.Model, bare: nn.Module) -> None:
    """The model's answers are the network's own, to the bit, on the same pixels."""
    with torch.no_grad():
        wanted = answer(bare.eval(), model.pixels(picture(40, 40)))
    assert torch.equal(logits(model), wanted)


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state().items()}


def other() -> dict[str, Tensor]:
    """Weights of the same network that are not those wanted."""
    return {name: tensor + 1 for name, tensor in state().items()}


class Lost:
    """A class that is not there where the file is read."""

    def __init__(self, **settings: Any) -> None:
        self.__dict__.update(settings)


class LostDict(dict):  # type: ignore[type-arg]
    """The same for what keeps hyperparameters by name."""


def lightning() -> dict[str, Any]:
    return {
        "epoch": 3,
        "global_step": 120,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {
            **prefixed("model."),
            "criterion.weight": torch.ones(CLASSES),
            "train_acc.correct": torch.tensor(3),
        },
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}],
        "hyper_parameters": LostDict(lr=0.1, model=Lost(depth=3)),
    }


WAYS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "plain": (state, []),
    "ordered": (lambda: OrderedDict(state()), []),
    "keep_vars": (lambda: vit().state_dict(keep_vars=True), []),
    "named_parameters": (lambda: dict(vit().named_parameters()), []),
    "half": (lambda: {name: tensor.double() for name, tensor in state().items()}, []),
    **{
        prefix: (lambda prefix=prefix: prefixed(prefix), [repr(prefix)])  # type: ignore[misc]
        for prefix in (
            "module.",
            "model.",
            "net.",
            "backbone.",
            "encoder.",
            "module.model.net.",
            "learner.student_network.",
        )
    },
    "compiled": (lambda: prefixed("_orig_mod."), ["compiling"]),
    "compiled and parallel": (lambda: prefixed("module._orig_mod.model."), ["'module.model.'"]),
    "compiled inside": (
        lambda: {
            name.replace("blocks.0.", "blocks.0._orig_mod."): tensor
            for name, tensor in state().items()
        },
        ["compiling"],
    ),
    **{
        wrapper: (lambda wrapper=wrapper: {wrapper: state(), "epoch": 3}, [repr(wrapper)])  # type: ignore[misc]
        for wrapper in ("state_dict", "model_state_dict", "model", "net", "weights", "params")
    },
    "nested": (
        lambda: {"checkpoint": {"model": state(), "step": 1}, "best": torch.tensor(1.0)},
        ["'checkpoint.model'"],
    ),
    "only averaged": (lambda: {"model_ema": state()}, ["'model_ema'"]),
    "timm's script": (
        lambda: {
            "epoch": 1,
            "arch": "test_vit",
            "state_dict": state(),
            "state_dict_ema": other(),
            "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
            "args": argparse.Namespace(model="test_vit", lr=0.1),
            "metric": 71.3,
        },
        ["'state_dict'", 'entry = "state_dict_ema"'],
    ),
    "averaged beside": (
        lambda: {"model": state(), "model_ema": other(), "scaler": {"scale": torch.ones(1)}},
        ["'model'", 'entry = "model_ema"'],
    ),
    "averaged inside": (
        lambda: {
            "state_dict": {
                **prefixed("model."),
                **{f"ema_model.{k}": v for k, v in other().items()},
            }
        },
        ["'model.'", 'entry = "ema_model"'],
    ),
    "swa": (
        lambda: {**prefixed("module."), "n_averaged": torch.tensor(4)},
        ["'module.'", "n_averaged"],
    ),
    "lightning": (lightning, ["'state_dict'", "'model.'", "criterion.weight"]),
    "class of before": (lambda: {"model": state(), "config": Lost(name="x")}, ["'model'"]),
    "no tensors beside": (
        lambda: {**state(), "epoch": 3, "notes": ["a"]},
        ["not tensors", "'epoch'", "'notes'"],
    ),
    "criterion": (lambda: {**state(), "criterion.weight": torch.ones(5)}, ["criterion.weight"]),
    "counted operations": (
        lambda: {**state(), "total_ops": torch.ones(1), "blocks.0.total_params": torch.ones(1)},
        ["total_ops", "total_params"],
    ),
}
"""Ways to save a checkpoint, and words of what is then said."""


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_opens_however_it_was_saved(way: str, tmp_path: Path) -> None:
    make, words = WAYS[way]
    torch.save(make(), tmp_path / "mine.pt")
    model = core.open_model(tmp_path / "mine.pt", "cpu", architecture="test_vit", labels=LABELS)
    same(model, vit())
    assert model.labels == tuple(LABELS)
    said = " ".join(model.remarks)
    assert all(word in said for word in words), said
    assert words or not said, "nothing was chosen"


@pytest.mark.parametrize("wrapper", ["state_dict_ema", "model_ema", "swa", "averaged.model"])
def test_averaged_weights_are_taken_where_the_entry_asks(wrapper: str, tmp_path: Path) -> None:
    outer, _, inner = wrapper.partition(".")
    content = {"model": other(), outer: {inner: state()} if inner else state()}
    torch.save(content, tmp_path / "mine.pt")
    given = {"architecture": "test_vit", "labels": LABELS}
    model = core.open_model(tmp_path / "mine.pt", "cpu", entry=wrapper, **given)
    same(model, vit())
    assert wrapper in " ".join(model.remarks)
    assert not torch.equal(
        logits(core.open_model(tmp_path / "mine.pt", "cpu", **given)), logits(model)
    )
    with pytest.raises(WeightsError) as caught:
        core.open_model(tmp_path / "mine.pt", "cpu", entry="mdoel", **given)
    assert "'mdoel'" in sentence(caught)
    assert wrapper in sentence(caught)


def test_a_prefix_is_an_entry_as_well(tmp_path: Path) -> None:
    content = {**{f"student.{k}": v for k, v in other().items()}, **prefixed("teacher.")}
    torch.save(content, tmp_path / "mine.pt")
    given = {"architecture": "test_vit", "labels": LABELS}
    model = core.open_model(tmp_path / "mine.pt", "cpu", entry="teacher", **given)
    same(model, vit())
    assert not torch.equal(
        logits(core.open_model(tmp_path / "mine.pt", "cpu", **given)), logits(model)
    )


@pytest.mark.parametrize("name", ["mine.pt", "mine.pth.tar", "mine.safetensors", "mine"])
@pytest.mark.parametrize("kind", ["safetensors", "torch", "legacy"])
def test_a_file_is_what_it_holds_and_not_what_it_is_called(
    name: str, kind: str, tmp_path: Path
) -> None:
    if kind == "safetensors":
        save_file(state(), tmp_path / name)
    else:
        torch.save(state(), tmp_path / name, _use_new_zipfile_serialization=kind == "torch")
    model = core.open_model(tmp_path / name, "cpu", architecture="test_vit", labels=LABELS)
    same(model, vit())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-700])


def scripted(path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)  # type: ignore[no-untyped-call]


def archive(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"x")


REFUSED: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "module": (lambda path: torch.save(vit(), path), ["whole Python object", "VisionTransformer"]),
    "module inside": (
        lambda path: torch.save({"model": Lost(a=1), "epoch": 3}, path),
        ["whole Python object", "Lost", "state_dict()"],
    ),
    "onnx": (lambda path: path.write_bytes(b"\x08\x07\x12\x07pytorch\x1a\x052.0.0"), ["ONNX"]),
    "archive of export": (
        lambda path: archive(path, "x/archive_format", "x/models/model.json"),
        ["torch.export"],
    ),
    "arrays": (lambda path: archive(path, "a.npy", "b.npy"), ["NumPy", "JAX"]),
    "archive": (lambda path: archive(path, "a.txt"), ["ZIP archive", "unpack"]),
    "keras": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"0" * 99), ["HDF5", "Keras"]),
    "pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0"),
        ["Git LFS", "git lfs pull"],
    ),
    "page": (lambda path: path.write_text("<!doctype html><p>Log in"), ["page"]),
    "empty": (lambda path: path.write_bytes(b""), ["empty"]),
    "cut": (lambda path: (torch.save(state(), path), cut(path)), ["damaged"]),
    "list": (lambda path: torch.save([torch.ones(2)], path), ["not a state dict", "list"]),
    "tensor": (lambda path: torch.save(torch.ones(2), path), ["single tensor"]),
    "numbers": (lambda path: torch.save({"epoch": 3}, path), ["no state dict", "'epoch'"]),
    "two networks": (
        lambda path: torch.save({"generator": state(), "critic": other()}, path),
        ["several sets", "'generator'", "'critic'", "entry ="],
    ),
    "another architecture": (
        lambda path: torch.save(timm_convnet("test_resnet").state_dict(), path),
        ["do not fit", "'test_vit'", "'test_resnet'", "architecture"],
    ),
    "deeper": (
        lambda path: torch.save({**state(), "blocks.9.norm1.weight": torch.ones(64)}, path),
        ["'blocks.9.norm1.weight' is unexpected"],
    ),
    "without a classifier": (
        lambda path: torch.save(
            {f"backbone.{k}": v for k, v in state().items() if not k.startswith("head")}
            | {"fc.weight": torch.ones(5, 64)},
            path,
        ),
        ["'head.", "missing"],
    ),
    "adapters": (
        lambda path: torch.save(
            {**state(), "blocks.0.attn.qkv.lora_A.weight": torch.ones(2, 64)}, path
        ),
        ["LoRA", "merge"],
    ),
}
"""What is no checkpoint of the network, and words of what is said of it."""


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_opened_is_named(kind: str, tmp_path: Path) -> None:
    make, words = REFUSED[kind]
    make(tmp_path / "mine.pt")
    with pytest.raises(WeightsError) as caught:
        core.open_model(tmp_path / "mine.pt", "cpu", architecture="test_vit", labels=LABELS)
    message = sentence(caught)
    assert "mine" in message
    assert all(word in message for word in words), message


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_program_of_torchscript_is_named(tmp_path: Path) -> None:
    scripted(tmp_path / "mine.pt")
    with pytest.raises(WeightsError, match=r"TorchScript.*state_dict\(\)"):
        core.open_model(tmp_path / "mine.pt", "cpu", architecture="test_vit", labels=LABELS)


def test_nothing_of_a_file_is_run(tmp_path: Path) -> None:
    """Classes that are there as well are neither imported nor called."""
    seen: list[object] = []
    monitored = argparse.Namespace(__setstate__=seen.append, model="test_vit")
    torch.save({"model": state(), "args": monitored, "path": Path("/x")}, tmp_path / "mine.pt")
    before = set(torch.serialization.get_safe_globals())
    found = checkpoint.read(tmp_path / "mine.pt")
    assert found.tensors.keys() == state().keys()
    assert seen == []
    assert set(torch.serialization.get_safe_globals()) == before


def test_running_statistics_that_were_left_out_are_named(tmp_path: Path) -> None:
    module = shake(timm_convnet("test_resnet"))
    torch.save(dict(module.named_parameters()), tmp_path / "mine.pt")
    with pytest.raises(WeightsError, match=r"running statistics.*state_dict\(\)"):
        core.open_model(tmp_path / "mine.pt", architecture="test_resnet", labels=LABELS)
    counts = {k: v for k, v in module.state_dict().items() if "num_batches" not in k}
    torch.save(counts, tmp_path / "mine.pt")
    same(core.open_model(tmp_path / "mine.pt", architecture="test_resnet", labels=LABELS), module)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("test_vitt", "test_vit"),
        ("vit_smal_patch16_224", "vit_small_patch16_224"),
        ("torchvision/vit_b_61", "torchvision/vit_b_16"),
        ("vitb16", "vit"),
    ],
)
def test_an_architecture_with_a_typo_gets_near_names(name: str, near: str, tmp_path: Path) -> None:
    save_file(state(), tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError) as caught:
        core.open_model(tmp_path / "mine.safetensors", architecture=name, labels=LABELS)
    message = sentence(caught)
    assert "did you mean" in message
    assert near in message


@pytest.mark.parametrize("labels", [LABELS[:2], [*LABELS, "fig"]])
def test_another_number_of_labels_is_told(labels: list[str], tmp_path: Path) -> None:
    save_file(state(), tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError) as caught:
        core.open_model(tmp_path / "mine.safetensors", architecture="test_vit", labels=labels)
    message = sentence(caught)
    assert "5 classes ('head.weight')" in message
    assert f"have {len(labels)}" in message


def test_classes_without_names_are_numbered_and_said(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "mine.safetensors")
    model = core.open_model(tmp_path / "mine.safetensors", architecture="test_vit")
    assert model.labels == tuple(f"class {index}" for index in range(5))
    assert "no names" in " ".join(model.remarks)


@pytest.mark.parametrize("side", [160, 224])
def test_a_transformer_trained_at_another_size_opens_at_it(side: int, tmp_path: Path) -> None:
    import timm

    module = shake(timm.create_model("test_vit", num_classes=5, img_size=side))
    save_file(dict(module.state_dict()), tmp_path / "mine.safetensors")
    given = {"architecture": "test_vit", "labels": LABELS}
    model = core.open_model(tmp_path / "mine.safetensors", **given)
    assert model.preprocessing.size == side
    same(model, module)
    stated = core.open_model(tmp_path / "mine.safetensors", input_size=side, **given)
    same(stated, module)
    assert (
        core.open_model(tmp_path / "mine.safetensors", input_size=320, **given).preprocessing.size
        == 320
    )


# -- what is it? ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
@pytest.mark.parametrize("prefix", ["", "module.backbone."])
def test_an_architecture_is_told_by_its_shapes(name: str, prefix: str, tmp_path: Path) -> None:
    module = shake(timm_convnet(name))
    saved = {f"{prefix}{key}": tensor for key, tensor in module.state_dict().items()}
    torch.save(saved, tmp_path / "mine.pt")
    model = core.open_model(tmp_path / "mine.pt", labels=LABELS)
    same(model, module)
    assert model.spec.family == ("vit" if name == "test_vit" else "cnn")
    assert name in " ".join(model.remarks)
    assert model.spec.architecture == name


def test_what_has_no_known_shapes_is_told(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.ones(3, 3, 3, 3)}, tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError) as caught:
        core.open_model(tmp_path / "mine.safetensors")
    message = sentence(caught)
    assert "'conv.weight'" in message
    assert "state the architecture" in message


def test_candidates_are_in_order_and_all_fit() -> None:
    import timm

    module = timm.create_model("vit_tiny_patch16_384", num_classes=7)
    found = shapes.matches({f"net.{k}": v for k, v in module.state_dict().items()})
    assert found[0].known.name == "vit_tiny_patch16_384"
    assert (found[0].classes, found[0].size, found[0].prefix) == (7, 384, "net.")
    assert "vit_tiny_patch16_224" in {match.known.name for match in found}
    wanted = {k: v.shape for k, v in module.state_dict().items() if not k.startswith("head.")}
    for match in found[:3]:
        twin = timm.create_model(match.known.name)
        assert {
            k: v.shape for k, v in twin.state_dict().items() if not k.startswith("head.")
        }.keys() == wanted.keys()


def test_the_table_of_shapes_is_todays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few architectures of each library; the recipe makes all."""
    import timm
    import torchvision

    from data.recipes import weight_shapes

    monkeypatch.setattr(timm, "list_models", lambda: ["test_vit", "test_convnext", "resnet18"])
    monkeypatch.setattr(torchvision.models, "list_models", lambda module: ["mobilenet_v3_small"])
    rows = [*weight_shapes.of_timm(), *weight_shapes.of_torchvision()]
    assert len(rows) == 4
    for paths, digest, (library, name, size, *_) in rows:
        known = shapes.table()[tuple(paths)][digest]
        assert (library, name, size) in {(one.library, one.name, one.size) for one in known}


@pytest.mark.parametrize("kind", ["vit", "dinov2", "deit"])
@pytest.mark.parametrize("way", ["folder", "file", "bin", "module."])
def test_a_folder_of_transformers_says_everything(kind: str, way: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    bare = save_hub_folder(tmp_path, kind)
    file = tmp_path / "model.safetensors"
    if way in ("bin", "module."):
        tensors = {f"{'' if way == 'bin' else way}{k}": v for k, v in load_file(file).items()}
        file.unlink()
        torch.save(tensors, tmp_path / "pytorch_model.bin")
    model = core.open_model(file if way == "file" else tmp_path, "cpu")
    same(model, bare)
    assert model.labels == tuple(f"name {index}" for index in range(CLASSES))
    assert model.preprocessing.size == 16
    assert model.preprocessing.origin == "file"
    assert not model.preprocessing.is_assumed


def test_weights_in_several_files_are_one_network(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    bare = save_hub_folder(tmp_path, "vit")
    tensors = list(load_file(tmp_path / "model.safetensors").items())
    (tmp_path / "model.safetensors").unlink()
    index = {}
    for place, part in enumerate((tensors[:20], tensors[20:])):
        name = f"model-0000{place + 1}-of-00002.safetensors"
        save_file({key: tensor.clone() for key, tensor in part}, tmp_path / name)
        index |= {key: name for key, _ in part}
    told = tmp_path / "model.safetensors.index.json"
    told.write_text(json.dumps({"weight_map": index}))
    model = core.open_model(tmp_path, "cpu")
    same(model, bare)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match="model-00002"):
        core.open_model(tmp_path, "cpu")
    told.write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    with pytest.raises(WeightsError, match="no files in its folder"):
        core.open_model(tmp_path, "cpu")


def test_a_transformer_without_its_classifier_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    save_hub_folder(tmp_path, "vit")
    tensors = load_file(tmp_path / "model.safetensors")
    kept = {key: tensor.clone() for key, tensor in tensors.items() if "classifier" not in key}
    save_file(kept, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="'classifier"):
        core.open_model(tmp_path, "cpu")


def test_what_says_nothing_of_pictures_must_be_stated(tmp_path: Path) -> None:
    bare = save_hub_folder(tmp_path, "vit")
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match="mean and std"):
        core.open_model(tmp_path, "cpu")
    model = core.open_model(tmp_path, "cpu", mean=0.5, std=(0.5, 0.5, 0.5))
    assert model.preprocessing.mean == (0.5, 0.5, 0.5)
    same(model, bare)


@pytest.mark.parametrize("where", ["beside", "inside"])
def test_what_timm_says_of_a_checkpoint_counts(where: str, tmp_path: Path) -> None:
    config = {
        "architecture": "test_vit",
        "num_classes": 5,
        "label_names": LABELS,
        "pretrained_cfg": {
            "input_size": [3, 160, 160],
            "mean": [0.1, 0.2, 0.3],
            "std": [0.4, 0.5, 0.6],
            "crop_pct": 0.75,
            "interpolation": "bilinear",
        },
    }
    notes = {"config": json.dumps(config)} if where == "inside" else None
    save_file(state(), tmp_path / "model.safetensors", notes)
    if where == "beside":
        (tmp_path / "config.json").write_text(json.dumps(config))
    model = core.open_model(tmp_path / "model.safetensors", "cpu")
    same(model, vit())
    assert model.labels == tuple(LABELS)
    found = model.preprocessing
    assert (found.mean, found.std, found.size) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 160)
    assert (found.crop_fraction, found.origin) == (0.75, "file")


@pytest.mark.parametrize(
    ("key", "value"), [("depth", 100_000), ("img_size", 10**6), ("depth", [1] * 99)]
)
def test_numbers_that_no_network_has_are_refused_before_it_is_built(
    key: str, value: Any, tmp_path: Path
) -> None:
    config = {"architecture": "test_vit", "model_args": {key: value}}
    save_file(state(), tmp_path / "model.safetensors", {"config": json.dumps(config)})
    with pytest.raises(WeightsError, match=f"the file states {key} = .* more than a network has"):
        core.propose(tmp_path / "model.safetensors")


def test_a_configuration_beside_many_files_is_of_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    for name in ("one", "two"):
        save_file(state(), tmp_path / f"{name}.safetensors")
    model = core.open_model(tmp_path / "one.safetensors", labels=LABELS)
    assert model.spec.architecture == "test_vit"
    with pytest.raises(WeightsError, match=r"several checkpoints \(one\.safetensors"):
        core.open_model(tmp_path)


# -- torchvision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stated", [True, False])
def test_a_network_of_torchvision_opens(stated: bool, tmp_path: Path) -> None:
    import torchvision

    module = shake(torchvision.models.mobilenet_v3_small(num_classes=CLASSES), scale=0.1)
    torch.save({"model": module.state_dict(), "epoch": 1}, tmp_path / "mine.pth")
    given = {"architecture": "torchvision/mobilenet_v3_small"} if stated else {}
    model = core.open_model(tmp_path / "mine.pth", "cpu", labels=LABELS, **given)
    same(model, module)
    assert model.preprocessing.is_assumed


@pytest.mark.parametrize("side", [32, 48])
def test_a_transformer_of_torchvision_opens_at_its_size(
    side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision
    from torchvision.models.vision_transformer import VisionTransformer

    def small(name: str, image_size: int = 32, num_classes: int = 1000) -> nn.Module:
        assert name == "vit_b_16"
        return VisionTransformer(image_size, 16, 2, 2, 12, 24, num_classes=num_classes)

    monkeypatch.setattr(torchvision.models, "get_model", small)
    module = shake(small("vit_b_16", side, CLASSES))
    torch.save(module.state_dict(), tmp_path / "mine.pth")
    model = core.open_model(tmp_path / "mine.pth", "cpu", architecture="vit_b_16", labels=LABELS)
    same(model, module)
    assert (model.preprocessing.size, model.flexible) == (side, False)
    assert "torchvision's" in " ".join(model.remarks)
    with pytest.raises(WeightsError, match="accepts no others"):
        core.open_model(
            tmp_path / "mine.pth", architecture="vit_b_16", labels=LABELS, input_size=64
        )


# -- preprocessing --------------------------------------------------------------------------------


def test_preprocessing_is_stated_and_seen(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "mine.safetensors")
    given = {"architecture": "test_vit", "labels": LABELS}
    plain = core.open_model(tmp_path / "mine.safetensors", **given).preprocessing
    assert (plain.origin, plain.stated, plain.is_assumed) == ("default", (), True)
    assert "only the library's default" in plain.text
    stated = core.open_model(
        tmp_path / "mine.safetensors",
        mean=[0.1, 0.2, 0.3],
        std=0.5,
        crop_fraction=0.8,
        interpolation="bilinear",
        squash=True,
        input_size=320,
        **given,
    )
    found = stated.preprocessing
    assert not found.is_assumed
    assert (found.mean, found.std, found.size) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5), 320)
    assert (found.crop_fraction, found.resample.name, found.squash) == (0.8, "BILINEAR", True)
    assert "mean .1 .2 .3".replace(".", "0.") in found.text
    assert set(found.stated) == {
        "input_size",
        "mean",
        "std",
        "crop_fraction",
        "interpolation",
        "squash",
    }
    view = stated.view(picture(100, 100))
    assert view.size == (320, 320)
    told = core.explain(stated, picture(40, 40), "rollout").manifest()["model"]
    assert told["preprocessing"]["mean"] == [0.1, 0.2, 0.3]


def test_manifests_of_the_catalogs_models_are_as_they_were() -> None:
    model = core.open_model("efficientnet-lite0", "cpu")
    told = core.explain(model, picture(60, 60), "cam", target=1).manifest()["model"]
    assert told.keys() == {"id", "weights_sha256"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", [0.1, 0.2]),
        ("mean", "a"),
        ("std", 0),
        ("std", [0.1, -0.1, 0.2]),
        ("crop_fraction", 0),
        ("crop_fraction", 1.5),
        ("interpolation", "cubic"),
        ("squash", "yes"),
        ("input_size", 7),
        ("shade", 3),
        ("stated", ("mean",)),
        ("source", "hub"),
    ],
)
def test_what_cannot_be_stated_is_told(key: str, value: Any, tmp_path: Path) -> None:
    save_file(state(), tmp_path / "mine.safetensors")
    with pytest.raises(CatalogError) as caught:
        core.open_model(tmp_path / "mine.safetensors", **{key: value})
    assert key in sentence(caught)


def test_models_of_the_catalog_are_as_they_are() -> None:
    with pytest.raises(CatalogError, match="'mean'"):
        core.open_model("efficientnet-lite0", mean=0.5)
    with pytest.raises(UnknownModel):
        core.open_model("no-such-file.pkl")
    with pytest.raises(WeightsError, match="does not exist"):
        core.open_model("no-such-file.pt")


# -- the command line -----------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a checkpoint, and no entry yet."""
    save_file(state(), tmp_path / "parts.safetensors")
    (tmp_path / "parts.txt").write_text("\n".join(LABELS), encoding="utf-8")
    monkeypatch.setenv("PARALLAX_MODELS", str(tmp_path / "models.toml"))
    return tmp_path


def test_a_checkpoint_is_added_and_opens(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, labels = str(own / "parts.safetensors"), str(own / "parts.txt")
    assert main(["add", path, "--labels", labels, "--mean", "0.4", "--dry-run"]) == 0
    assert not (own / "models.toml").exists()
    assert main(["add", path, "--labels", labels, "--mean", "0.4"]) == 0
    told = capsys.readouterr().out
    total = len(state())
    assert f"{total} of {total} tensors, 5 labels, 160 px, mean .4, answers" in told
    assert "'test_vit' has exactly its names and shapes" in told
    [entry] = tomllib.loads((own / "models.toml").read_text("utf-8"))["model"]
    assert entry["weights"] == "parts.safetensors"
    assert entry["labels"] == "parts.txt"
    assert entry["architecture"] == "test_vit"
    assert entry["mean"] == [0.4, 0.4, 0.4]
    assert catalog_problem() is None
    model = core.open_model("parts", "cpu")
    same(model, vit())
    assert model.labels == tuple(LABELS)
    assert main(["add", path, "--labels", labels]) == 0, "a second one gets another id"
    assert [spec.id for spec in core.catalog()[-2:]] == ["parts", "parts-2"]
    assert main(["add", path, "--labels", labels, "--id", "parts"]) == 2
    assert "taken" in capsys.readouterr().err


def test_what_cannot_be_added_is_told(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["add", str(own / "none.pt")]) == 2
    assert "does not exist" in capsys.readouterr().err
    (own / "models.toml").write_text("[[model")
    assert main(["add", str(own / "parts.safetensors")]) == 2
    assert "not readable TOML" in capsys.readouterr().err
    assert (own / "models.toml").read_text() == "[[model"


def test_all_models_are_checked(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["add", str(own / "parts.safetensors")]) == 0
    assert main(["check"]) == 0
    assert "1 of 1 models" in capsys.readouterr().out
    (own / "parts.safetensors").write_bytes(b"no")
    assert main(["check"]) == 1
    told = capsys.readouterr().out
    assert "parts: parts.safetensors is not a readable checkpoint" in told
    assert "0 of 1 models" in told


def test_a_proposal_keeps_labels_that_were_given_as_names(own: Path) -> None:
    proposal = core.propose(own / "parts.safetensors", labels=LABELS, id="mine")
    assert proposal.labels == tuple(LABELS)
    assert len(proposal.answers) == 5
    assert sum(share for _, share in proposal.answers) == pytest.approx(1, abs=1e-5)
    core.add_model(proposal)
    assert core.open_model("mine").labels == tuple(LABELS)
    assert core.find_spec("mine").family == "vit"
    with pytest.raises(AttributeError):
        proposal.labels = ()  # type: ignore[misc]


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        ("a/b/my model.pth.tar", "my-model"),
        ("runs/parts/best.pt", "parts"),
        ("hf-hub:user/net", "net"),
        ("x/y.ckpt", "y"),
    ],
)
def test_ids_of_checkpoints(place: str, wanted: str) -> None:
    assert id_of(place) == wanted


# -- the hub --------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on the loopback address, and an empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "secret")
    with playing() as found:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.address)
        yield found


def publish(hub: Hub, folder: Path, name: str) -> None:
    for path in folder.iterdir():
        hub.files[f"{name}/{path.name}"] = path.read_bytes()


def of_timm(folder: Path) -> Mapping[str, Any]:
    folder.mkdir()
    save_file(state(), folder / "model.safetensors")
    config = {
        "architecture": "test_vit",
        "label_names": LABELS,
        "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return config


@pytest.mark.parametrize("private", [False, True])
def test_a_repository_of_timm_opens_by_its_name(hub: Hub, private: bool, tmp_path: Path) -> None:
    of_timm(tmp_path / "made")
    publish(hub, tmp_path / "made", "user/net")
    hub.token = "secret" if private else ""
    model = core.open_model("hf-hub:user/net", "cpu")
    same(model, vit())
    assert model.labels == tuple(LABELS)
    assert model.preprocessing.mean == (0.1, 0.2, 0.3)
    wanted = hashlib.sha256((tmp_path / "made" / "model.safetensors").read_bytes()).hexdigest()
    assert model.weights_digest == wanted
    asked = len(hub.asked)
    core.open_model("hf-hub:user/net", "cpu")
    assert len(hub.asked) == asked, "it lies here now"


def test_a_repository_of_transformers_opens_by_its_name(hub: Hub, tmp_path: Path) -> None:
    bare = save_hub_folder(tmp_path / "made", "dinov2")
    publish(hub, tmp_path / "made", "user/net")
    same(core.open_model("hf-hub:user/net", "cpu"), bare)


def test_the_token_goes_to_the_hub_alone(hub: Hub, tmp_path: Path) -> None:
    of_timm(tmp_path / "made")
    publish(hub, tmp_path / "made", "user/net")
    with playing() as elsewhere:
        elsewhere.files = hub.files
        hub.elsewhere = elsewhere.address
        core.open_model("hf-hub:user/net", "cpu")
        assert set(hub.authorized) == {"Bearer secret"}
        assert elsewhere.authorized
        assert set(elsewhere.authorized) == {""}


def test_a_private_repository_without_a_token_is_refused(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_timm(tmp_path / "made")
    publish(hub, tmp_path / "made", "user/net")
    hub.token = "another"
    with pytest.raises(WeightsError) as caught:
        core.open_model("hf-hub:user/net", "cpu")
    assert "error 401" in sentence(caught)


def test_a_repository_stands_in_the_file_of_ones_own(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_timm(tmp_path / "made")
    publish(hub, tmp_path / "made", "user/net")
    monkeypatch.setenv("PARALLAX_MODELS", str(tmp_path / "models.toml"))
    assert main(["add", "hf-hub:user/net"]) == 0
    spec = core.find_spec("net")
    assert (spec.source, spec.architecture, spec.weights) == ("hub", "user/net", "hf-hub:user/net")
    assert spec.available
    same(core.open_model("net", "cpu"), vit())


@pytest.mark.parametrize("place", ["hf-hub:net", "hf-hub:../../x", "hf-hub:a/b/c", "hf-hub:a/.."])
def test_what_is_no_repository_is_told(place: str) -> None:
    with pytest.raises(ModelError) as caught:
        core.open_model(place)
    assert "hf-hub:owner/name" in sentence(caught)


# -- again when a file changes --------------------------------------------------------------------


def test_the_state_of_a_model_changes_with_its_files(own: Path) -> None:
    core.add_model(core.propose(own / "parts.safetensors", labels=own / "parts.txt"))
    spec = core.find_spec("parts")
    before = spec.state
    assert core.find_spec("parts").state == before
    (own / "parts.txt").write_text("a\nb\n")
    between = core.find_spec("parts").state
    assert between != before
    (own / "parts.safetensors").write_bytes(b"no")
    assert core.find_spec("parts").state != between
    assert core.find_spec("efficientnet-lite0").state == ()
