"""When there is nothing to show, and when a request is refused: what the reader is told."""

from __future__ import annotations

import dataclasses
import re
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import core
from core.errors import ImageError, ParameterError, UnknownMethod, UnsupportedMethod, ZeroGradient
from core.methods.registry import all_methods
from core.models.preprocessing import Preprocessing
from tests.core.test_windows import timm_swin
from tests.support.builders import (
    CLASSES,
    GIVEN,
    Plain,
    as_model,
    built,
    explain,
    picture,
    pictures,
    shake,
    timm_vit,
)

CNN_METHODS = [name for name, method in all_methods().items() if "cnn" in method.serves]


def dead_network(bias: float) -> core.Model:
    """A network whose ReLU lets nothing through where ``bias`` is very negative."""
    torch.manual_seed(0)
    module = shake(Plain())
    with torch.no_grad():
        module.layer1[0].bias.fill_(bias)  # type: ignore[index, union-attr]
    return as_model(module, "cnn", preprocessing=Preprocessing(size=8))


def test_no_influence_is_an_error_that_says_why() -> None:
    module = shake(Plain())
    with torch.no_grad():
        module.fc.weight[2].zero_()  # type: ignore[union-attr, index]
    model = as_model(module, "cnn", preprocessing=Preprocessing(size=8))
    for method in ("grad_cam", "grad_cam_plus_plus", "hirescam", "layer_cam"):
        with pytest.raises(ZeroGradient, match=r"no influence on this class.*choose another"):
            core.explain(model, picture(2, 2), method, 2)
    assert not core.explain(model, picture(2, 2), "cam", 2).relevance.any()
    assert core.explain(model, picture(2, 2), "grad_cam", 1).prediction is not None


def test_dead_layer_is_told() -> None:
    explanation = core.explain(dead_network(-1e6), picture(2, 2), "grad_cam", 1, layer="stage.0")
    assert explanation.is_blank
    assert "zero everywhere" in explanation.notes[0]
    assert "negative or zero" in explanation.notes[0]


@pytest.mark.parametrize("method", ["gradient_rollout", "transformer_attribution", "legrad"])
def test_class_that_ignores_attention_is_an_error(method: str) -> None:
    module = shake(timm_vit())
    with torch.no_grad():
        module.head.weight[1].zero_()  # type: ignore[union-attr, index]
    model = as_model(module)
    with pytest.raises(ZeroGradient, match="does not depend on any layer's attention"):
        core.explain(model, picture(2, 3), method, 1, framing=GIVEN)


def test_blank_map_says_why() -> None:
    explanation = explain(built("timm"), 1, "rollout", discard=1.0)[0]
    assert explanation.is_blank
    assert "zero everywhere" in explanation.notes[0]
    assert "Lower the discard ratio" in explanation.notes[0]
    assert not explanation.heatmap().any()
    usual = explain(built("timm"), 1, "rollout")[0]
    assert not usual.is_blank
    assert not any("zero everywhere" in note for note in usual.notes)


def test_mass_on_prefix_tokens_is_told() -> None:
    for name in ("timm", "timm registers", "timm average"):
        explanation = explain(built(name), 1, "rollout")[0]
        told = [note for note in explanation.notes if "prefix tokens" in note]
        mass = explanation.prefix_mass
        if name == "timm average":
            assert (told, mass) == ([], 0.0)
        else:
            assert told == [f"{mass:.0%} of the mass falls on prefix tokens and is not shown."]
    assert explain(built("plain"), 1, "cam")[0].prefix_mass is None


def test_negative_evidence_alone_is_a_note() -> None:
    module = shake(Plain())
    with torch.no_grad():
        module.layer2[1] = nn.ReLU()  # type: ignore[index, operator]
        module.fc.weight[0] = -1.0  # type: ignore[union-attr, index]
    model = as_model(module, "cnn", preprocessing=Preprocessing(size=8))
    explanation = core.explain(model, picture(2, 2), "grad_cam", 0)
    assert explanation.is_blank
    assert "no evidence" in explanation.notes[0]
    assert core.explain(model, picture(2, 2), "hirescam", 0).relevance.min() < 0


def weighed(weight: float) -> core.Model:
    """A network whose last features are not negative, with one weight for all in class 0."""
    module = shake(Plain())
    with torch.no_grad():
        module.layer2[1] = nn.ReLU()  # type: ignore[index, operator]
        module.fc.weight[0] = weight  # type: ignore[union-attr, index]
    return as_model(module, "cnn", preprocessing=Preprocessing(size=8))


@pytest.mark.parametrize("method", ["cam", "hirescam"])
def test_a_map_without_anything_positive_says_so(method: str) -> None:
    found = core.explain(weighed(-1.0), picture(2, 2), method, 0)
    assert found.relevance.max() <= 0 > found.relevance.min()
    assert "The map has no positive value" in found.notes[0]
    usual = core.explain(weighed(1.0), picture(2, 2), method, 0)
    assert not any("no positive value" in note for note in usual.notes)


def test_cam_of_weights_that_tell_nothing_says_so() -> None:
    none = core.explain(weighed(0.0), picture(2, 2), "cam", 0)
    assert none.is_blank
    assert "its logit is its bias" in none.notes[0]
    equal = core.explain(weighed(1.0), picture(2, 2), "cam", 0)
    assert "All weights of this class are equal" in equal.notes[0]
    other = core.explain(weighed(1.0), picture(2, 2), "cam", 1)
    assert not any("All weights" in note for note in other.notes)


@pytest.mark.parametrize(
    ("value", "fact", "reason"),
    [
        (0.0, "The map is zero everywhere", r".+\."),
        (0.25, "The map has the same value everywhere (0.25), so no place stands out from the", ""),
    ],
)
@pytest.mark.parametrize("name", ["timm", "plain"])
def test_whatever_method_shows_nothing_says_why(
    name: str, value: float, fact: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that a method returns is set to one value; its own reason follows the bare fact."""
    model, view = built(name).model, picture(12, 12)
    for method in core.methods(model):

        def flat(*given: Any, run: Any = method.run) -> Any:
            result = run(*given)
            return dataclasses.replace(result, maps=torch.full_like(result.maps, value), remarks=())

        changed = dataclasses.replace(method, run=flat)
        module = sys.modules["core.explain"]
        monkeypatch.setattr(module, "supported", lambda *_, changed=changed: changed)
        found = core.explain(model, view, method.name, 1, framing=GIVEN)
        assert found.notes[0].startswith(fact)
        assert re.fullmatch(reason or ".*", found.notes[0].removeprefix(f"{fact}. ")), method.name


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "method", "params", "error", "words"),
    [
        ("timm", "grad_rollout", {}, UnknownMethod, ["'grad_rollout'", "gradient_rollout"]),
        ("timm", "cam", {}, UnsupportedMethod, ["CAM", "convolutional", "Tiny timm"]),
        ("plain", "rollout", {}, UnsupportedMethod, ["rollout", "transformers", "Tiny plain"]),
        ("torchvision convnext", "cam", {}, UnsupportedMethod, ["linear", "Grad-CAM"]),
        ("torchvision mobilenet", "cam", {}, UnsupportedMethod, ["linear", "Grad-CAM"]),
        ("timm", "rollout", {"discard": 1.2}, ParameterError, ["discard", "1.2", "0.0 to 1.0"]),
        ("timm", "rollout", {"discard": -0.1}, ParameterError, ["discard", "-0.1"]),
        ("timm", "rollout", {"discard": "a"}, ParameterError, ["discard", "'a'", "number"]),
        ("timm", "rollout", {"discard": float("nan")}, ParameterError, ["discard", "nan"]),
        ("timm", "rollout", {"fusion": "sum"}, ParameterError, ["fusion", "'sum'", "mean, max"]),
        ("timm", "rollout", {"definition": "x"}, ParameterError, ["definition", "vit-explain"]),
        ("timm", "rollout", {"layers": (0, 3)}, ParameterError, ["layers", "(0, 3)", "0 to 2"]),
        ("timm", "rollout", {"layers": ()}, ParameterError, ["layers", "()"]),
        ("timm", "rollout", {"layers": (-1,)}, ParameterError, ["layers", "(-1,)", "0 to 2"]),
        ("timm", "rollout", {"head": 0}, ParameterError, ["'head'", "fusion, discard"]),
        ("timm", "attention", {"layer": 3}, ParameterError, ["layer", "3", "0 to 2"]),
        ("timm", "attention", {"head": 3}, ParameterError, ["head", "3", "0 to 2"]),
        ("timm", "attention", {"head": -1}, ParameterError, ["head", "-1"]),
        ("plain", "cam", {"layer": "stage.0"}, ParameterError, ["'layer'", "none"]),
        ("plain", "grad_cam", {"layer": "layer1"}, ParameterError, ["'layer1'", "stage.0"]),
        ("timm", "grad_cam", {"layer": "stage.0"}, ParameterError, ["'stage.0'", "block.0.input"]),
    ],
)
def test_refusal_names_what_was_given_and_expected(
    name: str, method: str, params: dict[str, Any], error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        core.explain(built(name).model, pictures(name, 1)[0], method, framing=GIVEN, **params)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert isinstance(caught.value, core.ParallaxError)
    assert "\n" not in message


@pytest.mark.parametrize("name", ["timm", "plain"])
@pytest.mark.parametrize("target", [-1, CLASSES, 1000])
def test_unknown_class(name: str, target: int) -> None:
    model, image = built(name).model, pictures(name, 1)[0]
    method = "gradient_rollout" if name == "timm" else "cam"
    message = rf"Class {target} is unknown.*0 to {CLASSES - 1}"
    with pytest.raises(ParameterError, match=message):
        core.explain(model, image, method, target, framing=GIVEN)
    with pytest.raises(ParameterError, match=message):
        core.explain(model, core.record(model, image, GIVEN), method, target)


def test_number_of_classes_and_pictures_must_agree() -> None:
    with pytest.raises(ParameterError, match="2 classes were given for 3 pictures"):
        core.explain(built("timm").model, pictures("timm", 3), "legrad", [0, 1], framing=GIVEN)


def test_no_pictures() -> None:
    for call in (
        lambda: core.explain(built("timm").model, [], "rollout"),
        lambda: core.predict(built("timm").model, []),
        lambda: core.record(built("timm").model, []),
    ):
        with pytest.raises(ImageError, match="No picture"):
            call()


def test_recording_of_another_model() -> None:
    recording = core.record(built("timm").model, pictures("timm", 1), GIVEN)
    with pytest.raises(ParameterError, match="another model"):
        core.explain(built("timm distilled").model, recording, "rollout")
    with pytest.raises(ParameterError, match="another model"):
        core.attention(built("timm distilled").model, recording)


def test_recording_of_several_pictures_is_not_taken_for_its_first() -> None:
    model = built("timm").model
    recording = core.record(model, pictures("timm", 3), GIVEN)
    assert len(core.explain(model, recording, "rollout")) == 3
    with pytest.raises(ParameterError, match="holds 3 pictures, expected one"):
        core.attention(model, recording)
    with pytest.raises(ParameterError, match="holds 3 pictures, expected one"):
        core.features(model, recording, "block.0.output")


def test_model_without_classes() -> None:
    model = as_model(shake(timm_vit(num_classes=0)), classes=0, title="DINO")
    image = picture(2, 3)
    offered = {method.name for method in core.methods(model)}
    assert offered == {
        name
        for name, known in all_methods().items()
        if not known.class_specific and "vit" in known.serves
    }
    for name in ("attention", "rollout"):
        explanation = core.explain(model, image, name, framing=GIVEN)
        assert explanation.prediction is None
        assert explanation.relevance.shape == (2, 3)
    assert core.attention(model, image, GIVEN).prediction is None
    for name in ("gradient_rollout", "transformer_attribution", "legrad", "grad_cam"):
        with pytest.raises(UnsupportedMethod, match="DINO was trained without classes"):
            core.explain(model, image, name, 0, framing=GIVEN)
    with pytest.raises(UnsupportedMethod, match="DINO was trained without classes"):
        core.predict(model, image, framing=GIVEN)


def test_methods_of_a_model() -> None:
    serves = {name: method.serves for name, method in all_methods().items()}
    assert {m.name for m in core.methods(built("timm").model)} == {
        name for name, kinds in serves.items() if "vit" in kinds
    }
    assert {m.name for m in core.methods(built("plain").model)} == set(CNN_METHODS)
    assert {m.name for m in core.methods(built("timm convnext").model)} == set(CNN_METHODS) - {
        "cam"
    }
    models = {
        "cnn": built("plain").model,
        "vit": built("timm").model,
        "windows": as_model(timm_swin()),
    }
    for method in all_methods().values():
        assert all((method.title, method.meaning, method.caveat, method.source))
        kinds = [kind for kind in models if kind in method.serves]
        for parameter in method.parameters_for(models[kinds[0]]):
            assert parameter.label
            assert parameter.help


def test_defaults_of_a_models_entry_apply() -> None:
    import dataclasses

    module = shake(timm_vit())
    model = as_model(module)
    model.spec = dataclasses.replace(model.spec, defaults={"rollout": {"fusion": "min"}})
    images = pictures("timm", 1)
    default = core.explain(model, images[0], "rollout", framing=GIVEN)
    chosen = core.explain(model, images[0], "rollout", framing=GIVEN, fusion="mean")
    assert (default.params["fusion"], chosen.params["fusion"]) == ("min", "mean")
    assert np.abs(default.relevance - chosen.relevance).max() > 1e-3
