"""The class activation maps against those of grad-cam, torchcam and captum.

Each package sees a bare twin without probes; its own post-processing is applied to our raw map, or
its raw map is asked for. torchcam is not asked for Grad-CAM++: it divides a copy when it
normalizes α.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import core
from core.models import Model
from core.models.preprocessing import Preprocessing
from core.pictures import samples
from tests.support.builders import GIVEN, as_model, close, shake

Map = npt.NDArray[np.float32]
TOLERANCE = 1e-5
LAYERS = ["head.input", "stage.1", "stage.3"]


@dataclass(frozen=True)
class Case:
    """A model, a bare twin for the peers, and what is asked of both."""

    model: Model
    twin: nn.Module
    features: str
    stages: tuple[str, ...]
    images: tuple[Image.Image, ...]
    targets: tuple[int, ...]

    @property
    def pixels(self) -> Tensor:
        """The input of the batch; its gradient is wanted, or frozen weights would give none."""
        pixels = [self.model.pixels(image, GIVEN) for image in self.images]
        return torch.cat(pixels).requires_grad_()

    def ours(self, method: str, layer: str = "head.input") -> list[Map]:
        """Raw maps of this project."""
        chosen = {} if method == "cam" else {"layer": layer}
        explanations = core.explain(
            self.model, list(self.images), method, list(self.targets), framing=GIVEN, **chosen
        )
        return [explanation.relevance for explanation in explanations]

    def peer_layer(self, layer: str) -> nn.Module:
        """The module whose output is the layer."""
        if layer == "head.input":
            return self.twin.get_submodule(self.features)
        return self.twin.get_submodule(self.stages[int(layer.removeprefix("stage."))])


def embedded() -> Case:
    """The embedded network on two photographs."""
    import timm

    model = core.open_model("efficientnet-lite0", "cpu")
    twin = timm.create_model("tf_efficientnet_lite0")
    twin.load_state_dict(model.module.state_dict())
    chosen = [core.read_image(s.path) for s in samples() if s.id in ("chelsea", "coffee")]
    views = tuple(model.view(image, core.Framing("crop")) for image in chosen)
    stages = tuple(f"blocks.{i}" for i in (0, 1, 2, 4, 6))
    return Case(model, twin.eval(), "bn2", stages, views, (285, 967))


def small_resnet() -> Case:
    """A random ResNet of torchvision, 64 × 96 pixels."""
    from torchvision.models.resnet import BasicBlock, ResNet

    twin = shake(ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5))
    model = as_model(
        copy.deepcopy(twin).requires_grad_(False), "cnn", preprocessing=Preprocessing(size=64)
    )
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    stages = tuple(f"layer{i}" for i in range(1, 5))
    return Case(model, twin, "layer4", stages, tuple(map(Image.fromarray, noise)), (3, 0))


CASES = {"EfficientNet-Lite0": embedded, "ResNet": small_resnet}


@cache
def case(name: str) -> Case:
    """One of the cases, built once."""
    return CASES[name]()


# -- the peers ----------------------------------------------------------------------------------
# Imported where they are asked: that takes seconds, which only one process of the tests needs.


def of_grad_cam(kind: str, one: Case, layer: str) -> Map:
    """Maps of the package grad-cam: ReLU, min-max, resized to the picture, min-max."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with getattr(pytorch_grad_cam, kind)(
        model=one.twin, target_layers=[one.peer_layer(layer)]
    ) as extractor:
        return extractor(one.pixels, [ClassifierOutputTarget(target) for target in one.targets])


def as_grad_cam_shows_it(maps: list[Map], one: Case) -> Map:
    """Our maps through that package's own post-processing."""
    from pytorch_grad_cam.utils.image import scale_cam_image

    positive = np.maximum(np.stack(maps), 0)
    return scale_cam_image(scale_cam_image(positive, one.images[0].size))


def of_torchcam(kind: str, one: Case, layer: str) -> Map:
    """Raw maps of torchcam."""
    from torchcam import methods as torchcam

    with getattr(torchcam, kind)(one.twin, one.peer_layer(layer)) as extractor:
        scores = one.twin(one.pixels)
        (maps,) = extractor(list(one.targets), scores, normalized=False)
    return maps.detach().numpy()


def of_captum(kind: str, one: Case, layer: str, **options: Any) -> Map:
    """Raw maps of captum, summed over channels where it leaves them apart."""
    from captum import attr

    extractor = getattr(attr, kind)(one.twin, one.peer_layer(layer))
    maps = extractor.attribute(one.pixels, torch.tensor(one.targets), **options)
    return maps.detach().sum(dim=1).numpy()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("method", "kind"),
    [("grad_cam", "GradCAM"), ("hirescam", "HiResCAM"), ("layer_cam", "LayerCAM")],
)
@pytest.mark.parametrize("name", CASES)
def test_grad_cam_package(name: str, method: str, kind: str, layer: str) -> None:
    one = case(name)
    wanted = of_grad_cam(kind, one, layer)
    np.testing.assert_allclose(
        as_grad_cam_shows_it(one.ours(method, layer), one), wanted, atol=TOLERANCE
    )
    assert wanted.std(axis=(1, 2)).min() > 0.01


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("method", "kind"), [("grad_cam", "GradCAM"), ("layer_cam", "LayerCAM")])
@pytest.mark.parametrize("name", CASES)
def test_torchcam(name: str, method: str, kind: str, layer: str) -> None:
    one = case(name)
    wanted = np.maximum(of_torchcam(kind, one, layer), 0)
    close(one.ours(method, layer), wanted, TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_torchcam_cam(name: str) -> None:
    close(case(name).ours("cam"), of_torchcam("CAM", case(name), "head.input"), TOLERANCE)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("method", "kind", "options"),
    [
        ("grad_cam", "LayerGradCam", {"relu_attributions": True}),
        ("hirescam", "LayerGradientXActivation", {}),
    ],
)
@pytest.mark.parametrize("name", CASES)
def test_captum(name: str, method: str, kind: str, options: dict[str, Any], layer: str) -> None:
    one = case(name)
    close(one.ours(method, layer), of_captum(kind, one, layer, **options), TOLERANCE)


class Times(nn.Module):
    """Multiply by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, tensor: Tensor) -> Tensor:
        """The product."""
        return tensor * self.factor


@pytest.mark.parametrize("name", CASES)
def test_grad_cam_plus_plus_of_the_package(name: str) -> None:
    """That package adds 1e-6 to the denominator of α, which is as large as g² here.

    With features divided and gradients multiplied by the same power of two, α is what it was while
    the addition no longer weighs anything; the map does not change.
    """
    one = case(name)
    twin = copy.deepcopy(one.twin)
    pooling = "global_pool" if hasattr(twin, "global_pool") else "avgpool"
    shrunk = nn.Sequential(twin.get_submodule(one.features), Times(2.0**-15))
    twin.set_submodule(one.features, shrunk)
    twin.set_submodule(pooling, nn.Sequential(Times(2.0**15), twin.get_submodule(pooling)))
    wanted = of_grad_cam(
        "GradCAMPlusPlus",
        Case(one.model, twin, one.features, one.stages, one.images, one.targets),
        "head.input",
    )
    found = as_grad_cam_shows_it(one.ours("grad_cam_plus_plus"), one)
    np.testing.assert_allclose(found, wanted, atol=TOLERANCE)
    assert wanted.std(axis=(1, 2)).min() > 0.01


def published_torchcam_alpha(activations: Tensor, gradients: Tensor) -> Tensor:
    """What that package's Grad-CAM++ computes, as definitions has it: ``Σ g² ReLU(g)``."""
    weights = (gradients**2 * gradients.relu()).sum(dim=(2, 3))
    return torch.einsum("bk,bkhw->bhw", weights, activations).relu()


def test_why_torchcam_is_no_oracle_for_grad_cam_plus_plus() -> None:
    """If this fails, that package was mended and may be compared with."""
    one = case("ResNet")
    kept: list[Tensor] = []
    layer = one.peer_layer("stage.1")
    handle = layer.register_forward_hook(lambda _module, _args, output: kept.append(output))
    try:
        score = one.twin(one.pixels)[torch.arange(2), torch.tensor(one.targets)].sum()
    finally:
        handle.remove()
    (gradients,) = torch.autograd.grad(score, kept[0])
    published = np.maximum(of_torchcam("GradCAMpp", one, "stage.1"), 0)
    close(published, published_torchcam_alpha(kept[0].detach(), gradients), 1e-4)
    ours = np.stack(one.ours("grad_cam_plus_plus", "stage.1"))
    assert np.abs(ours / ours.max() - published / published.max()).max() > 1e-3


@pytest.mark.parametrize("method", ["grad_cam", "hirescam", "layer_cam", "cam"])
def test_another_class_would_be_noticed(method: str) -> None:
    one = case("ResNet")
    swapped = Case(one.model, one.twin, one.features, one.stages, one.images, (0, 3))
    mine, other = np.stack(one.ours(method)), np.stack(swapped.ours(method))
    assert np.abs(mine - other).max() > 100 * TOLERANCE * np.abs(mine).max()
