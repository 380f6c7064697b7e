"""Attention maps against each library's own unfused attention, and everything read off them."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

import core
from core.errors import ParameterError, UnsupportedMethod
from core.methods.attention_propagation import attention_gradient
from core.models.taps import block_tap
from core.recording import transformer
from core.recording.transformer import TransformerRecording, attention_needs
from tests.support import oracles
from tests.support.builders import (
    CNNS,
    DEPTH,
    FIXED_SIZE,
    GIVEN,
    HEADS,
    TARGETS,
    VITS,
    Built,
    answer,
    builds,
    built,
    close,
    grid_of,
    picture,
    pictures,
    wants_to_be_told,
)
from tests.support.reference_transformer import traces


def unfused(case: Built, pixels: Tensor) -> list[Tensor]:
    """(batch, heads, query, key) of each layer, as the library itself computes it when asked."""
    module: Any = copy.deepcopy(case.bare)
    found: list[Tensor] = []
    if case.name.startswith("timm"):
        for block in module.blocks:
            block.attn.fused_attn = False
            block.attn.attn_drop.register_forward_hook(lambda _m, _a, out: found.append(out))
        answer(module, pixels)
    elif case.name == "torchvision":
        for block in module.encoder.layers:
            attend = block.self_attention.forward

            def forward(*args: Tensor, attend: Any = attend, **_: Any) -> tuple[Tensor, Tensor]:
                result = attend(*args, need_weights=True, average_attn_weights=False)
                found.append(result[1])
                return result

            block.self_attention.forward = forward
        with torch.enable_grad():  # keeps MultiheadAttention away from its fast path
            answer(module.requires_grad_(True), pixels)
    else:
        module.set_attn_implementation("eager")
        size = {"interpolate_pos_encoding": True} if wants_to_be_told(module) else {}
        found.extend(module(pixels, output_attentions=True, **size).attentions)
    assert len(found) == DEPTH
    return [attention.detach() for attention in found]


def library_gradients(
    case: Built, pixels: Tensor, targets: list[int], patch: pytest.MonkeyPatch
) -> list[Tensor]:
    """∂logit/∂attention of each layer, by autograd through the library's own unfused attention.

    What the libraries return is a branch of what they multiply the values with, so the result of
    the softmax itself is caught.
    """
    module: Any = copy.deepcopy(case.bare)
    found: list[Tensor] = []
    softmax = nn.functional.softmax

    def caught(*args: Any, **kwargs: Any) -> Tensor:
        found.append(softmax(*args, **kwargs))
        return found[-1]

    if case.name.startswith("timm"):
        for block in module.blocks:
            block.attn.fused_attn = False
            block.attn.attn_drop.register_forward_hook(lambda _m, _a, out: found.append(out))
    else:
        patch.setattr(nn.functional, "softmax", caught)
    if case.name == "torchvision":
        for block in module.encoder.layers:
            attend = block.self_attention.forward

            def forward(*args: Tensor, attend: Any = attend, **_: Any) -> tuple[Tensor, Tensor]:
                return attend(*args, need_weights=True, average_attn_weights=False)

            block.self_attention.forward = forward
    elif case.name.startswith("hf"):
        module.set_attn_implementation("eager")
    with torch.enable_grad():
        logits = answer(module, pixels.clone().requires_grad_())
        score = logits[torch.arange(len(targets)), targets].sum()
    assert len(found) == DEPTH
    gradients = torch.autograd.grad(score, found)
    heads = (len(targets), HEADS)
    return [gradient.reshape(*heads, *gradient.shape[-2:]) for gradient in gradients]


def look(name: str) -> core.Attention:
    """The attention of one test picture."""
    return core.attention(built(name).model, pictures(name, 1)[0], GIVEN)


def record(case: Built, count: int, needs: core.Needs | None = None) -> TransformerRecording:
    """A recording of test pictures."""
    recording = core.record(case.model, pictures(case.name, count), GIVEN, needs)
    assert isinstance(recording, TransformerRecording)
    return recording


def read(case: Built, pixels: Tensor, attention: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What the classifier reads of one picture's (heads, query, key): (heads, key)."""
    _, trace = traces(case, pixels)[0]
    return np.stack([oracles.readout(case, trace, head) for head in attention])


@pytest.mark.parametrize("name", builds(VITS))
def test_maps_are_the_librarys_own_attention(name: str) -> None:
    case = built(name)
    rows, cols = grid_of(name)
    recording, attention = record(case, 3), look(name)
    assert (attention.grid, attention.prefix, attention.layers) == (
        (rows, cols),
        case.prefix,
        DEPTH,
    )
    assert (attention.heads, attention.channels) == (HEADS, case.width // HEADS)
    for layer, expected in enumerate(unfused(case, recording.pixels)):
        close(recording.attention(layer), expected)
        ours = expected[0].numpy()
        first = case.prefix
        row = read(case, recording.pixels, ours)
        close(attention.tokens(layer), row)
        close(attention.maps(layer), row[:, first:].reshape(HEADS, rows, cols))
        for index in (0, cols, rows * cols - 1):
            wanted = ours[:, first + index, first:].reshape(HEADS, rows, cols)
            close(attention.maps(layer, index), wanted)
            close(attention.maps(layer, divmod(index, cols)), wanted)
            close(attention.tokens(layer, index), ours[:, first + index])
        for head in range(HEADS):
            matrix = attention.matrix(layer, head)
            assert matrix.dtype == np.float32
            close(matrix, ours[head])


@pytest.mark.parametrize("name", builds(VITS))
def test_gradient_of_attention_is_autograds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = built(name)
    layers = range(DEPTH)
    needs = attention_needs(case.model, values=True, gradients=layers)  # type: ignore[arg-type]
    recording = record(case, 3, needs)
    gradients = recording.context_gradients(layers, TARGETS)
    expected = library_gradients(case, recording.pixels, TARGETS, monkeypatch)
    for layer, wanted in enumerate(expected):
        found = torch.cat(list(attention_gradient(recording, layer, gradients)), dim=2)
        close(found, wanted)
        assert wanted.abs().max() > 1e-6


@pytest.mark.parametrize("name", builds(VITS))
def test_rows_sum_to_one(name: str) -> None:
    attention = look(name)
    recording = record(built(name), 2)
    for layer in range(DEPTH):
        close(
            recording.attention(layer).sum(dim=-1),
            np.ones((2, HEADS, attention.tokens(0).shape[1])),
        )
        for query in (None, 0, (1, 2)):
            close(attention.tokens(layer, query).sum(axis=-1), np.ones(HEADS))
    on_prefix = attention.mass_on_prefix
    assert on_prefix.shape == (DEPTH, HEADS)
    close(attention.mosaic().sum(axis=(2, 3)) + on_prefix, np.ones((DEPTH, HEADS)))
    assert bool(on_prefix.any()) == (attention.prefix > 0)


@pytest.mark.parametrize("name", builds(VITS))
def test_joint_map_is_the_product_of_layers(name: str) -> None:
    case, attention = built(name), look(name)
    pixels = case.model.pixels(pictures(name, 1)[0], GIVEN)
    fusions: tuple[Any, ...] = ("mean", "max", "min")
    for fusion, discard in itertools.product(fusions, (0.0, 0.4)):
        note = f"{fusion}, {discard}"
        joints = attention.joints(fusion, discard)
        assert joints.shape == (DEPTH, *grid_of(name)), note
        for layer in range(DEPTH):
            wanted = oracles.joint(case, pixels, layer, fusion, discard)
            close(joints[layer], wanted[case.prefix :].reshape(grid_of(name)), note=note)
            close(attention.joint(layer, fusion=fusion, discard=discard), joints[layer], note=note)


def test_last_joint_map_is_rollout() -> None:
    image = pictures("timm", 1)[0]
    for fusion in ("mean", "max", "min"):
        rollout = core.explain(built("timm").model, image, "rollout", framing=GIVEN, fusion=fusion)
        close(look("timm").joint(DEPTH - 1, fusion), rollout.relevance, 1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", builds(VITS))
def test_projection_is_the_sigmoid_of_a_channel(name: str) -> None:
    case, attention = built(name), look(name)
    _, trace = traces(case, case.model.pixels(pictures(name, 1)[0], GIVEN))[0]
    for layer, head, channel in [(0, 0, 0), (1, 2, 1), (2, 1, 3)]:
        parts = {"query": trace.queries, "key": trace.keys, "value": trace.values}
        for kind, found in parts.items():
            column = found[layer][head][:, channel].detach().numpy()[case.prefix :]
            wanted = 1 / (1 + np.exp(-column))
            close(
                attention.projection(kind, layer, head, channel),  # type: ignore[arg-type]
                wanted.reshape(grid_of(name)),
            )


def smallest_sets(weights: npt.NDArray[Any], mass: float) -> int:
    """Fewest positions whose weights reach the mass, by trying every subset."""
    from itertools import combinations

    flat = np.float64(weights).ravel() / np.float64(weights).sum()
    for size in range(1, flat.size + 1):
        if any(flat[list(chosen)].sum() >= mass for chosen in combinations(range(flat.size), size)):
            return size
    return flat.size


@pytest.mark.parametrize("mass", [0.1, 0.6, 0.9, 1.0])
def test_mask_is_the_smallest_set_that_reaches_the_mass(mass: float) -> None:
    for name in ("timm", "timm registers", "timm average"):
        attention = look(name)
        maps, masks = attention.maps(2), attention.mask(2, mass)
        assert masks.shape == maps.shape == (HEADS, 2, 3)
        for weights, mask in zip(maps, masks, strict=True):
            assert weights[mask].sum() / weights.sum() >= mass - 1e-6
            assert mask.sum() == smallest_sets(weights, mass - 1e-9)
            assert mask.all() or weights[mask].min() >= weights[~mask].max()


def test_attention_is_of_one_picture() -> None:
    model = built("timm").model
    recording = core.record(model, pictures("timm", 2), GIVEN)
    with pytest.raises(ParameterError, match="holds 2 pictures, expected one"):
        core.attention(model, recording)


def test_a_recording_serves_attention() -> None:
    model, image = built("hf dinov2").model, picture(3, 2)
    recording = core.record(model, image, GIVEN)
    close(core.attention(model, recording).mosaic(), core.attention(model, image, GIVEN).mosaic())
    prediction = core.attention(model, recording).prediction
    assert prediction is not None
    assert prediction.top == core.predict(model, image, framing=GIVEN).top


@pytest.mark.parametrize("name", builds([name for name in VITS if name not in FIXED_SIZE]))
def test_any_grid(name: str) -> None:
    for shape in ((1, 1), (1, 5), (3, 2), (4, 4)):
        attention = core.attention(built(name).model, picture(*shape), GIVEN)
        assert attention.grid == shape
        assert attention.maps(0).shape == (HEADS, *shape)
        assert attention.joints().shape == (DEPTH, *shape)


def test_convolutional_network_has_no_attention() -> None:
    with pytest.raises(UnsupportedMethod, match="Tiny plain is a convolutional network"):
        core.attention(built("plain").model, picture(4, 4), GIVEN)
    assert "plain" in CNNS


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda a: a.maps(3), ["Layer 3", "0 to 2"]),
        (lambda a: a.maps(-1), ["Layer -1", "0 to 2"]),
        (lambda a: a.maps(0, 6), ["patch", "6", "0 to 5"]),
        (lambda a: a.maps(0, -1), ["patch", "-1"]),
        (lambda a: a.maps(0, (2, 0)), ["row", "2", "0 to 1"]),
        (lambda a: a.maps(0, (0, 3)), ["column", "3", "0 to 2"]),
        (lambda a: a.joint(3), ["layer", "3", "0 to 2"]),
        (lambda a: a.joint(0, fusion="sum"), ["'sum'", "mean, max or min"]),
        (lambda a: a.joint(0, discard=1.5), ["1.5"]),
        (lambda a: a.joint(0, discard=-0.5), ["-0.5"]),
        (lambda a: a.mask(0, 0.0), ["mass", "0.0"]),
        (lambda a: a.mask(0, 1.1), ["mass", "1.1"]),
        (lambda a: a.matrix(3, 0), ["layer", "3", "0 to 2"]),
        (lambda a: a.matrix(0, 3), ["head", "3", "0 to 2"]),
        (lambda a: a.projection("queries", 0, 0, 0), ["'queries'", "query, key, value"]),
        (lambda a: a.projection("key", 3, 0, 0), ["Layer 3"]),
        (lambda a: a.projection("key", 0, 3, 0), ["head", "3", "0 to 2"]),
        (lambda a: a.projection("key", 0, 0, 4), ["channel", "4", "0 to 3"]),
    ],
)
def test_refusals(call: Any, words: list[str]) -> None:
    with pytest.raises(ParameterError) as caught:
        call(look("timm"))
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("name", builds(VITS))
def test_a_recording_without_values_serves_attention(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = built(name)
    whole = look(name)
    recording = record(case, 1, attention_needs(case.model))  # type: ignore[arg-type]
    assert recording.logits is not None
    with torch.no_grad():
        assert torch.equal(recording.logits, answer(case.bare, recording.pixels))
    part = core.attention(case.model, recording)
    with monkeypatch.context() as patch:
        patch.setattr(case.model, "score", refuse)
        np.testing.assert_array_equal(part.mosaic(), whole.mosaic())
        np.testing.assert_array_equal(part.joints("max", 0.3), whole.joints("max", 0.3))
        channel = part.projection("key", 1, 0, 0)
        np.testing.assert_array_equal(channel, whole.projection("key", 1, 0, 0))
        with pytest.raises(AssertionError, match="ran again"):
            part.projection("value", 1, 0, 0)
    assert not any(tap.endswith(".value") for tap in recording.needs.keep)
    value = part.projection("value", 1, 0, 0)  # costs a pass more
    np.testing.assert_array_equal(value, whole.projection("value", 1, 0, 0))
    assert block_tap(1, "value") in recording.needs.keep


def refuse(*_: object) -> None:
    """Stands in for the network where it must not run."""
    raise AssertionError("the network ran again")


@pytest.mark.parametrize("name", builds(VITS))
def test_attention_in_turn_gives_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows of attention are rebuilt at a time."""
    case = built(name)
    images = pictures(name, 2)
    calls = [("rollout", {"fusion": fusion}) for fusion in ("mean", "max", "min")]
    others = ("attention", "gradient_rollout", "transformer_attribution", "legrad")
    calls += [(method, {}) for method in others]
    for method, params in calls:
        found = []
        for size in (1, 2**20):
            monkeypatch.setitem(transformer.AT_A_TIME, "cpu", size)
            explanations = core.explain(case.model, images, method, framing=GIVEN, **params)
            found.append(np.stack([one.relevance for one in explanations]))
        close(found[0], found[1], 1e-5)


def test_unfused_attention_differs_between_layers() -> None:
    """The reference itself is not one and the same map, or the tests above would prove little."""
    case = built("timm")
    layers = unfused(case, case.model.pixels(picture(2, 3), GIVEN))
    assert (layers[0] - layers[1]).abs().max() > 0.1
    assert (layers[0][:, 0] - layers[0][:, 1]).abs().max() > 0.1
    assert isinstance(case.bare, nn.Module)
