"""The catalog: every entry names what exists, and states the facts."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import core
from core.errors import CatalogError, UnknownModel, WeightsError
from core.models import FAMILIES, sources, wrap
from core.models.convnet import ConvNet
from core.models.preprocessing import Preprocessing
from core.models.spec import ModelSpec
from core.models.torchvision_vit import TorchvisionVit
from core.models.transformer import VisionTransformer
from core.models.windowed import WindowedNet
from tests.support.builders import sentence, timm_convnet

SPECS = {spec.id: spec for spec in core.catalog()}


def on_paper(spec: ModelSpec) -> nn.Module:
    """The architecture of an entry without memory for its weights and without a download."""
    if spec.architecture.startswith("regnet_y"):
        import torchvision

        # Reckons its widths with tensors, so it needs them to be real; it is small.
        return torchvision.models.get_model(spec.architecture)
    with torch.device("meta"):
        if spec.source == "torchvision":
            import torchvision

            return torchvision.models.get_model(spec.architecture)
        if spec.source == "hub":
            import transformers

            name = spec.architecture.split("/")[-1]
            if name == "vit-base-patch16-224":
                return transformers.ViTForImageClassification(
                    transformers.ViTConfig(num_labels=1000)
                )
            kind = "Dinov2WithRegisters" if "registers" in name else "Dinov2"
            config = getattr(transformers, f"{kind}Config")(
                hidden_size=384,
                num_attention_heads=6,
                patch_size=14,
                image_size=518,
                num_labels=1000,
            )
            return getattr(transformers, f"{kind}ForImageClassification")(config)
        options = {"num_classes": 1000} if spec.source == "embedded" else {}
        return sources.timm_module(spec, pretrained=False, **options)


def with_noise(module: nn.Module) -> nn.Module:
    """Give a network on paper memory and values; a vision transformer is proven by a pass."""
    module = module.to_empty(device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.uniform_(-0.05, 0.05) if tensor.ndim > 1 else tensor.uniform_(0.5, 1.5)
        for part in module.modules():  # tables of offsets are computed and not stored
            if isinstance(computed := getattr(part, "init_non_persistent_buffers", None), Callable):
                computed()
    return module


LARGE = 30
"""Million parameters, beyond which an architecture is built with the slow tests."""


@pytest.mark.parametrize(
    "model_id",
    [
        pytest.param(name, marks=pytest.mark.slow) if (spec.parameters or 0) > LARGE else name
        for name, spec in SPECS.items()
    ],
)
def test_entry_names_an_architecture_that_a_family_knows(model_id: str) -> None:
    spec = SPECS[model_id]
    module = on_paper(spec)
    assert spec.parameters is not None
    count = sum(parameter.numel() for parameter in module.parameters()) / 1e6
    assert count == pytest.approx(spec.parameters, rel=0.02)
    has_classes = bool(spec.labels) or spec.source == "hub"
    labels = tuple(map(str, range(1000))) if has_classes else ()
    if spec.family == "vit":
        module = with_noise(module)
    model = wrap(spec, sources.Loaded(module, labels, Preprocessing(size=spec.input_size)))
    windows = "swin" in model_id
    assert isinstance(model, WindowedNet) == windows
    assert isinstance(model, VisionTransformer) == (spec.family == "vit" and not windows)
    assert isinstance(model, ConvNet) == (spec.family == "cnn" or windows)
    assert next(family for family in FAMILIES if family.accepts(module)) is type(model)
    if isinstance(model, VisionTransformer):
        assert spec.input_size % model.patch == 0
        special = {"distilled": 2, "reg4": 5, "with-registers": 5, "gap": 0}
        special |= {"dinov3": 5, "siglip": 0}
        assert model.prefix == next((n for key, n in special.items() if key in model_id), 1)
        others = ("gap", "siglip", "dinov3", "beit", "eva02")
        assert model.reads_class_token == (not any(name in model_id for name in others))
        assert isinstance(model, TorchvisionVit) == (spec.source == "torchvision")
        assert model.flexible == (spec.source != "torchvision" and "beit" not in model_id)
    else:
        pooled = [tap for tap in model.taps if not tap.startswith(("stage.", "window."))]
        assert pooled == ([] if "mambaout" in model_id else ["head.input"])
        assert len(model.layers) >= 4
        side = spec.input_size
        assert model.layers[-1].grid((side, side)) == (side // 32, side // 32)
    if spec.source == "timm":
        assert module.num_classes == (1000 if has_classes else 0)


@pytest.mark.parametrize("model_id", SPECS)
def test_entry_states_the_facts(model_id: str) -> None:
    spec = SPECS[model_id]
    assert spec.title
    assert spec.pretraining != "not stated"
    free = {"Apache-2.0", "BSD-3-Clause", "MIT"}
    assert spec.license in free | {"CC-BY-NC-4.0", "DINOv3-License"}
    assert spec.trained_on
    assert isinstance(spec.available, bool)
    if spec.source == "embedded":
        assert (spec.available, bool(spec.weights)) == (True, True)
    if spec.source == "torchvision":
        import torchvision

        weights = torchvision.models.get_model_weights(spec.architecture)[spec.weights]
        assert len(weights.meta["categories"]) == 1000
        assert weights.meta["num_params"] / 1e6 == pytest.approx(spec.parameters, rel=0.02)
    if spec.source == "timm":
        import timm

        stated = timm.get_pretrained_cfg(spec.architecture)
        assert stated is not None
        assert str(stated.license).lower() == spec.license.lower()
        assert stated.input_size[-1] == spec.input_size
        assert ("1k" in spec.trained_on) or not spec.labels


def test_ids_and_pairs() -> None:
    assert len(SPECS) == len(core.catalog())
    first = {
        family: next(s for s in core.catalog() if s.family == family) for family in ("cnn", "vit")
    }
    assert {spec.source for spec in first.values()} == {"embedded"}
    assert not first["cnn"].matches(first["vit"])
    resnet, deit = SPECS["torchvision/resnet50"], SPECS["timm/deit_small_patch16_224.fb_in1k"]
    assert resnet.matches(deit)
    assert not resnet.matches(SPECS["timm/vit_small_patch16_224.dino"])
    nothing = dataclasses.replace(resnet, trained_on="")
    assert not nothing.matches(nothing)


def test_unknown_model_gets_a_suggestion() -> None:
    with pytest.raises(UnknownModel) as caught:
        core.open_model("dinov2-smal")
    message = sentence(caught)
    assert "'dinov2-smal'" in message
    assert "dinov2-small" in message
    with pytest.raises(UnknownModel) as caught:
        core.open_model("../../etc/passwd")
    assert "did you mean" in sentence(caught)


def test_entry_of_the_wrong_family_is_refused() -> None:
    for name, told, found in (
        ("test_resnet", "vit", "is read as a cnn"),
        ("test_vit", "cnn", "is a vision transformer"),
    ):
        spec = ModelSpec("mine", "Mine", told, "local", name)  # type: ignore[arg-type]
        with pytest.raises(WeightsError) as caught:
            wrap(spec, sources.Loaded(timm_convnet(name), tuple("abcde"), Preprocessing()))
        message = sentence(caught)
        assert found in message
        assert f"its entry says {told}" in message
        assert "correct the entry's family" in message


def test_preprocessing_comes_from_the_models_own_configuration() -> None:
    means = {}
    for model_id in (
        "timm/deit_tiny_patch16_224.fb_in1k",
        "timm/vit_small_patch16_224.augreg_in1k",
        "timm/vit_medium_patch16_gap_256.sw_in12k_ft_in1k",
    ):
        spec = SPECS[model_id]
        found = sources.timm_preprocessing(on_paper(spec), spec)
        means[model_id] = (found.mean[0], found.size, found.crop_fraction, found.std[0])
    assert list(means.values()) == [
        (0.485, 224, 0.9, 0.229),
        (0.5, 224, 0.9, 0.5),
        (0.5, 256, 0.95, 0.5),
    ]


def test_labels() -> None:
    from core.labels import read_labels, search_labels

    labels = read_labels("imagenet1k")
    assert (len(labels), labels[285], labels[967]) == (1000, "Egyptian cat", "espresso")
    assert search_labels(labels, "espresso") == [967, 550]
    assert search_labels(labels, "285") == [285]
    assert search_labels(labels, "EGYPT")[0] == 285
    assert search_labels(labels, "  ") == []
    assert search_labels(labels, "no such thing") == []
    assert len(search_labels(labels, "a", limit=7)) == 7
    with pytest.raises(CatalogError, match="cannot be read"):
        read_labels("no-such-list")


# -- models of one's own, read once ---------------------------------------------------------------

TABLE = """[[model]]
id = "mine"
title = "{title}"
family = "cnn"
architecture = "resnet18"
weights = "mine.safetensors"
card = "mine.json"
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one model of one's own and its card."""
    (tmp_path / "models.toml").write_text(TABLE.format(title="One"), "utf-8")
    (tmp_path / "mine.json").write_text(json.dumps({"class_origin": "Mine."}), "utf-8")
    monkeypatch.setenv("PARALLAX_MODELS", str(tmp_path / "models.toml"))
    return tmp_path


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gets the name of every file that is read from now on."""
    read: list[str] = []
    real = Path.read_text

    def counted(self: Path, *args: Any, **options: Any) -> str:
        read.append(self.name)
        return real(self, *args, **options)

    monkeypatch.setattr(Path, "read_text", counted)
    return read


def test_the_catalog_is_read_once(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core.catalog()
    read = count_reads(monkeypatch)
    for _ in range(3):
        assert core.find_spec("mine").title == "One"
        assert core.find_spec("mine").card.class_origin == "Mine."
        assert core.catalog_problem() is None
        core.default_models()
    assert read == []


def test_default_models_need_nothing_that_is_not_here() -> None:
    found = core.default_models()
    assert found == ("efficientnet-lite0", "dinov2-small")
    assert all(core.find_spec(model_id).available for model_id in found)
    assert [core.find_spec(model_id).source for model_id in found] == ["embedded"] * 2


def test_it_is_read_again_when_a_file_changes(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert core.find_spec("mine").weights == "mine.safetensors"
    read = count_reads(monkeypatch)
    (own / "models.toml").write_text(TABLE.format(title="Another"), "utf-8")
    assert core.find_spec("mine").title == "Another"
    assert read == ["models.toml", "mine.json"]
    (own / "mine.json").write_text(json.dumps({"class_origin": "Mine, all mine."}), "utf-8")
    assert core.find_spec("mine").card.class_origin == "Mine, all mine."
    (own / "mine.safetensors").write_bytes(b"x")
    assert core.find_spec("mine").weights == str((own / "mine.safetensors").resolve())
    (own / "mine.json").unlink()
    assert "mine.json" in str(core.catalog_problem())
    with pytest.raises(UnknownModel):
        core.find_spec("mine")
    (own / "mine.json").write_text("{}", "utf-8")
    assert core.catalog_problem() is None
    os.replace(own / "models.toml", own / "gone.toml")
    with pytest.raises(UnknownModel):
        core.find_spec("mine")
    monkeypatch.setenv("PARALLAX_MODELS", str(own / "gone.toml"))
    assert core.find_spec("mine").title == "Another"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_constructor_stands_once(family: type[core.Model]) -> None:
    own = [kind.__name__ for kind in family.__mro__ if "__init__" in vars(kind)]
    assert own == ["Model", "object"]
