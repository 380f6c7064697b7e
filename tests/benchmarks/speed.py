"""Speed of every map on the embedded pair, as ratios to the bare forward pass."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam.methods import GradCAM as TorchcamGradCAM

import core
from core import PROJECTIONS, Model, heatmaps, samples
from tests.benchmarks.timing import Row, medians, milliseconds

GIVEN = core.Framing("given")
CNN, VIT = "efficientnet-lite0", "dinov2-small"
MANY = 64
TARGET = 285
FIVE = ("rollout", "gradient_rollout", "transformer_attribution", "legrad", "attention")
REBUILT = (
    "attention is rebuilt beside the fused pass: the products and softmax of 12 layers and 6 heads "
    "take a tenth of a pass at 257 tokens, and what is kept for them lies in memory that the bare "
    "pass would have used again"
)


def pair() -> tuple[Model, Model]:
    """The embedded pair."""
    return core.open_model(CNN), core.open_model(VIT)


def view_of(model: Model, side: int = 224) -> Any:
    """The first sample, fitted."""
    image = core.read_image(samples()[0].path)
    return model.view(image, core.Framing("crop", side))


def bare(model: Model, view: Any) -> Callable[[], Tensor]:
    """The plain forward pass over a fitted picture, fused attention as the library chooses."""

    def call() -> Tensor:
        with torch.inference_mode():
            return model.module(model.normalize(view))

    return call


def twin(model: Model) -> nn.Module:
    """A copy as its library makes it: no probes, parameters that want gradients."""
    name = {"efficientnet-lite0": "tf_efficientnet_lite0", VIT: "vit_small_patch14_dinov2"}
    options = {} if model.spec.id == CNN else {"num_classes": 1000, "dynamic_img_size": True}
    module = timm.create_model(name[model.spec.id], **options)
    module.load_state_dict(copy.deepcopy(model.module.state_dict()))
    return module.eval().to(model.device)


def ratio(
    what: str,
    against: str,
    reach: float,
    one: Callable[[], object],
    other: Callable[[], object],
    rounds: int,
    reason: str = "",
) -> Row:
    """A row for one call divided by another."""
    times = medians({"this": one, "reference": other}, rounds)
    value = times["this"] / times["reference"]
    return Row(
        what,
        against,
        value,
        reach=reach,
        details=milliseconds(times),
        reason=reason,
        repeats=rounds,
    )


# -- maps against the bare pass and the usual way -------------------------------------------------


def maps(rounds: int) -> list[Row]:
    """CAM, rollout, gradient rollout."""
    cnn, vit = pair()
    view, small = view_of(cnn), view_of(vit)

    def rollout(view: Any) -> Callable[[], object]:
        return lambda: core.explain(vit, view, "rollout", framing=GIVEN)

    def gradient_rollout(view: Any) -> Callable[[], object]:
        return lambda: core.explain(vit, view, "gradient_rollout", TARGET, framing=GIVEN)

    found = [
        ratio(
            "CAM with predictions, one image, 224 px",
            "bare forward pass of the CNN",
            1.10,
            lambda: core.explain(cnn, view, "cam", framing=GIVEN),
            bare(cnn, view),
            3 * rounds,
            "reading the picture, five classes and their names are part of it",
        ),
        ratio(
            "rollout with predictions, one image, 224 px",
            "bare fused forward pass of the ViT",
            1.15,
            rollout(small),
            bare(vit, small),
            rounds,
            REBUILT,
        ),
    ]
    plain = "the usual way: unfused attention, a hook per block, full matrix product"
    full = "the usual way: unfused attention, hooks, gradients of all parameters"
    for size, reach, gradient_reach in ((224, 1.0, 0.70), (518, 0.65, 0.60)):
        view = view_of(vit, size)
        some = rounds if size == 224 else max(7, rounds // 2)
        found.append(
            ratio(
                f"rollout with predictions, one image, {size} px",
                plain,
                reach,
                rollout(view),
                usual_rollout(vit, view),
                some,
                REBUILT,
            )
        )
        found.append(
            ratio(
                f"gradient rollout, one image, {size} px",
                full,
                gradient_reach,
                gradient_rollout(view),
                usual_gradient_rollout(vit, view),
                some,
                REBUILT,
            )
        )
    found.append(
        ratio(
            "five maps of one class from one recording, 224 px",
            "the same five asked for one after another",
            0.6,
            lambda: five_from_one(vit, small),
            lambda: [
                core.explain(vit, small, name, target_of(name), framing=GIVEN) for name in FIVE
            ],
            rounds,
        )
    )
    return found


def target_of(method: str) -> int | None:
    """The class to ask for, if the method knows classes."""
    return TARGET if core.find_method(method).class_specific else None


def five_from_one(model: Model, view: Any) -> list[core.Explanation]:
    """Five maps read off one recording, whose needs were stated before."""
    needs = core.Needs()
    for name in FIVE:
        needs |= core.needs(model, name)
    recording = core.record(model, view, GIVEN, needs)
    return [core.explain(model, recording, name, target_of(name)) for name in FIVE]


def unfused(model: Model) -> nn.Module:
    """The twin, with an attention that exists."""
    module = twin(model)
    for block in module.blocks:
        block.attn.fused_attn = False
    return module


def rolled(steps: list[Tensor]) -> Tensor:
    """Full product of the layers' matrices, identity added and rows scaled to sum 1."""
    identity = torch.eye(steps[0].shape[-1], device=steps[0].device)
    result = identity
    for step in steps:
        mixed = step + identity
        result = mixed / mixed.sum(dim=-1, keepdim=True) @ result
    return result[0, 1:]


def usual_rollout(model: Model, view: Any) -> Callable[[], Tensor]:
    """Rollout as it is usually written: every layer's attention kept by a hook, full product."""
    module = unfused(model)
    fusion = model.spec.defaults["rollout"]["fusion"]
    attention: list[Tensor] = []
    for block in module.blocks:
        block.attn.attn_drop.register_forward_hook(lambda *seen: attention.append(seen[-1]))

    def call() -> Tensor:
        attention.clear()
        with torch.inference_mode():
            module(model.normalize(view)).softmax(dim=-1).topk(5)
            fuse = {"min": torch.amin, "max": torch.amax, "mean": torch.mean}[fusion]
            return rolled([fuse(heads, dim=1)[0] for heads in attention])

    return call


def usual_gradient_rollout(model: Model, view: Any) -> Callable[[], Tensor]:
    """Gradient rollout as it is usually written: everything through autograd, full product."""
    module = unfused(model)
    attention: list[Tensor] = []
    gradients: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Tensor) -> None:
        attention.append(output)
        output.register_hook(gradients.append)

    for block in module.blocks:
        block.attn.attn_drop.register_forward_hook(keep)

    def call() -> Tensor:
        attention.clear()
        gradients.clear()
        module.zero_grad()
        module(model.normalize(view))[0, TARGET].backward()
        with torch.no_grad():
            pairs = zip(attention, reversed(gradients), strict=True)
            return rolled([(a * g).mean(dim=1)[0].relu() for a, g in pairs])

    return call


def opening(rounds: int) -> list[Row]:
    """Opening the embedded ViT, against timm with the same file."""
    from safetensors.torch import load_file

    folder = Path(__file__).resolve().parents[2] / "data" / "weights"

    def plain() -> nn.Module:
        module: nn.Module = timm.create_model("vit_small_patch14_dinov2", num_classes=1000)
        state = load_file(folder / "dinov2-small.safetensors")
        state |= load_file(folder / "dinov2-small.head.safetensors")
        module.load_state_dict({name: tensor.float() for name, tensor in state.items()})
        return module.eval()

    return [
        ratio(
            "opening the embedded ViT, checksum and proof of its attention included",
            "timm's create_model, then load_state_dict of the same file",
            0.25,
            lambda: core.open_model(VIT),
            plain,
            rounds,
            "the checksum takes more than half of it, and this PyTorch draws the random numbers "
            "that are spared in a fifth of a second",
        )
    ]


def grad_cams(rounds: int) -> list[Row]:
    """Grad-CAM against three packages, on the same weights, from the same fitted picture."""
    cnn, _ = pair()
    view = view_of(cnn)
    one, other, third = twin(cnn), twin(cnn), twin(cnn)  # a package's hooks stay on its own copy
    grad_cam = GradCAM(model=one, target_layers=[one.bn2])
    torchcam = TorchcamGradCAM(other, other.bn2)
    captum = LayerGradCam(third, third.bn2)
    mine = "this project"

    def of_torchcam() -> Tensor:
        other.zero_grad()
        return torchcam(TARGET, other(cnn.normalize(view)))[0]

    calls = {
        mine: lambda: core.explain(cnn, view, "grad_cam", TARGET, framing=GIVEN),
        "grad-cam": lambda: grad_cam(cnn.normalize(view), [ClassifierOutputTarget(TARGET)]),
        "torchcam": of_torchcam,
        "captum": lambda: captum.attribute(cnn.normalize(view), TARGET),
    }
    times = medians(calls, 2 * rounds)
    fastest = min(value for name, value in times.items() if name != mine)
    return [
        Row(
            "Grad-CAM, one image, 224 px",
            "fastest of grad-cam, torchcam, captum",
            times[mine] / fastest,
            reach=1.0,
            details=milliseconds(times),
            note="grad-cam also resizes its map to the picture; ours comes with predictions",
            reason="predictions are part of ours",
            repeats=2 * rounds,
        )
    ]


def relevance(rounds: int) -> list[Row]:
    """Layer-wise relevance against the bare pass, by processor time on one thread."""
    threads, found = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for model in pair():
            view = view_of(model)
            recording = core.record(model, view, GIVEN)

            def explained(model: Model = model, recording: Any = recording, **params: Any) -> Any:
                return core.explain(model, recording, "lrp", TARGET, **params)

            calls: dict[str, Callable[[], object]] = {
                "bare pass": bare(model, view),
                "the schedule of γ": explained,
                "γ = 0": partial(explained, gamma=0.0),
            }
            times = medians(calls, rounds, time.process_time)
            found += [
                Row(
                    f"layer-wise relevance with {name}, one image, 224 px, {model.spec.title}",
                    "bare forward pass; both as processor time on one thread",
                    times[name] / times["bare pass"],
                    reach=reach,
                    details=milliseconds(times),
                    reason="the plain gradient alone takes nearly three passes of this network",
                    repeats=rounds,
                )
                for name, reach in (("the schedule of γ", 12.0), ("γ = 0", 3.5))
            ]
    finally:
        torch.set_num_threads(threads)
    return found


# -- pages and sliders ----------------------------------------------------------------------------


def whole_attention_page(model: Model, view: Any) -> core.Attention:
    """Everything that the views of the Attention page read off one picture."""
    seen = core.attention(model, view, GIVEN)
    last = seen.layers - 1
    heatmaps.limits(seen.mosaic(), 99)
    assert seen.mass_on_prefix.size
    heatmaps.mass_mask(seen.maps(last), 0.6)
    seen.joints("min", 0.0)
    for kind in PROJECTIONS:
        for channel in range(7):
            seen.projection(kind, last, 0, channel)  # type: ignore[arg-type]
    seen.artifacts()
    return seen


def pages(rounds: int) -> list[Row]:
    """What the Attention page needs, and one step of each slider."""
    _, vit = pair()
    view = view_of(vit)
    found = [
        ratio(
            "everything that the Attention page shows for one image",
            "bare fused forward pass",
            1.5,
            lambda: whole_attention_page(vit, view),
            bare(vit, view),
            rounds,
            REBUILT,
        )
    ]
    recording = core.record(vit, view, GIVEN)
    seen = core.attention(vit, recording)
    last = seen.layers - 1
    steps: dict[str, Callable[[], object]] = {
        "fusion": lambda: core.explain(vit, recording, "rollout", fusion="min"),
        "discard": lambda: core.explain(vit, recording, "rollout", discard=0.5),
        "layers": lambda: core.explain(vit, recording, "rollout", layers=tuple(range(6))),
        "layer": lambda: seen.maps(5),
        "head": lambda: core.explain(vit, recording, "attention", layer=last, head=3),
        "query": lambda: seen.mosaic((4, 7)),
        "mask": lambda: seen.mask(last, 0.7),
        "joint maps": lambda: seen.joints("mean", 0.5),
    }
    times = medians({**steps, "bare pass": bare(vit, view)}, rounds)
    slowest = max(steps, key=lambda name: times[name])
    found.append(
        Row(
            "a slider step after the first pass, 12 layers × 257 tokens: the slowest of all",
            "bare fused forward pass",
            times[slowest] / times["bare pass"],
            reach=0.25,
            details=milliseconds(times),
            note=f"the slowest is “{slowest}”",
            reason="every layer's attention is rebuilt and selected from anew",
            repeats=rounds,
        )
    )
    return found


def batches(rounds: int) -> list[Row]:
    """64 pictures in one call against 64 calls."""
    found = []
    for model, method in zip(pair(), ("cam", "rollout"), strict=True):
        views = [view_of(model)] * MANY

        def together(model: Model = model, method: str = method, views: Any = views) -> object:
            return core.explain(model, views, method, framing=GIVEN)

        def alone(model: Model = model, method: str = method, views: Any = views) -> object:
            return [core.explain(model, view, method, framing=GIVEN) for view in views]

        def plain(model: Model = model, views: Any = views, size: int = 16) -> object:
            with torch.inference_mode():
                pixels = torch.cat([model.normalize(view) for view in views])
                return [model.module(part) for part in pixels.split(size)]

        times = medians(
            {
                "batched": together,
                "single": alone,
                "bare, 16 at a time": plain,
                "bare, single": lambda plain=plain: plain(size=1),
            },
            max(3, rounds // 3),
        )
        hardware = times["bare, single"] / times["bare, 16 at a time"]
        found.append(
            Row(
                f"{method}, {MANY} images at once: throughput",
                f"{MANY} single calls",
                times["single"] / times["batched"],
                reach=1.3,
                at_most=False,
                details=milliseconds(times),
                note=f"the bare pass itself gains {hardware:.2f} × from batches on this hardware",
                reason="the hardware has no more to give",
                repeats=max(3, rounds // 3),
            )
        )
    return found
