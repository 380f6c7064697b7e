"""What each layer represents: against slow transcriptions, and on networks known by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import core
from core.errors import ImageError, ParameterError, Stopped, UnsupportedMethod
from tests.support.builders import (
    CLASSES,
    CNN_PREPROCESSING,
    CNNS,
    GIVEN,
    PATCH,
    RECIPES,
    VITS,
    Built,
    answer,
    as_model,
    builds,
    built,
    close,
    grid_of,
    pictures,
    pixels_of,
    sentence,
    shake,
)
from tests.support.reference_transformer import traces

Array = npt.NDArray[np.float64]


def outputs_of(case: Built, modules: Sequence[str], images: Sequence[Image.Image]) -> list[Array]:
    """What modules of a bare copy return in double precision, (pictures, values) each."""
    module, found = copy.deepcopy(case.bare).double(), {}
    for name in modules:

        def keep(_: Any, __: Any, output: Any, name: str = name) -> None:
            found[name] = (output if isinstance(output, Tensor) else output[0]).flatten(1).numpy()

        module.get_submodule(name).register_forward_hook(keep)
    with torch.no_grad():
        answer(module, pixels_of(case, images).double())
    return [np.array(found[name]) for name in modules]


# -- centered kernel alignment --------------------------------------------------------------------


def hsic(one: Array, other: Array) -> float:
    """The unbiased estimator of Song et al. 2012, as written."""
    n = len(one)
    a, b = one.copy(), other.copy()
    np.fill_diagonal(a, 0.0)
    np.fill_diagonal(b, 0.0)
    ones = np.ones(n)
    whole = (ones @ a @ ones) * (ones @ b @ ones) / ((n - 1) * (n - 2))
    return float((np.trace(a @ b) + whole - 2 / (n - 2) * ones @ a @ b @ ones) / (n * (n - 3)))


def slow_cka(features: Sequence[Array], batches: Sequence[slice]) -> Array:
    """Pair by pair, batch by batch."""
    sums = np.zeros((len(features), len(features)))
    for batch in batches:
        products = [rows[batch] @ rows[batch].T for rows in features]
        for i, one in enumerate(products):
            for j, other in enumerate(products):
                sums[i, j] += hsic(one, other)
    return np.array(
        [
            [sums[i, j] / math.sqrt(sums[i, i] * sums[j, j]) for j in range(len(sums))]
            for i in range(len(sums))
        ]
    )


@pytest.mark.parametrize("name", builds(["plain", "torchvision resnet", "timm", "hf dinov2"]))
def test_cka_is_its_slow_transcription(name: str) -> None:
    case, images = built(name), pictures(name, 11)
    layers = [layer.name for layer in case.model.layers]
    found = core.cka(case.model, images, GIVEN, layers=[layers], together=4)
    features = outputs_of(case, [layer.module for layer in case.model.layers], images)
    # The last batch takes what is left, as fewer than four would not do.
    wanted = slow_cka(features, [slice(0, 4), slice(4, 11)])
    np.testing.assert_allclose(found.values, wanted, atol=2e-5)
    assert (found.pictures, found.together) == (11, 4)
    whole = core.cka(case.model, images, GIVEN, layers=[layers])
    np.testing.assert_allclose(whole.values, slow_cka(features, [slice(0, 11)]), atol=2e-5)


def test_cka_of_two_models() -> None:
    cnn, vit = built("plain"), built("timm")
    images = [image.resize((16, 16)) for image in pictures("plain", 9)]
    found = core.cka([cnn.model, vit.model], images, GIVEN)
    assert found.models == ("tiny", "tiny")
    assert found.layers[0] == ("stage.0", "stage.1", "head.input")
    assert found.layers[1] == (
        "block.0.input",
        *(f"block.{i}.output" for i in range(3)),
        "head.input",
    )
    features = [
        *outputs_of(cnn, ["layer1", "layer2"], images),
        *outputs_of(vit, ["blocks.0", "blocks.1", "blocks.2", "norm"], images),
    ]
    wanted = slow_cka(features, [slice(0, 9)])
    np.testing.assert_allclose(found.between()[:2, 1:], wanted[:2, 2:], atol=2e-5)
    np.testing.assert_allclose(found.between(1, 1)[1:, 1:], wanted[2:, 2:], atol=2e-5)
    np.testing.assert_allclose(found.between(1, 0), found.between(0, 1).T)
    assert found.chance().shape == found.between().shape == (3, 5)


class Rotated(nn.Module):
    """A second layer that rotates and scales what the first returns."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.layer1 = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.layer2 = nn.Conv2d(6, 6, 1, bias=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(6, CLASSES)
        generator = torch.Generator().manual_seed(4)
        with torch.no_grad():
            turn, _ = torch.linalg.qr(torch.randn((6, 6), generator=generator))
            self.layer2.weight.copy_(scale * turn[..., None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        return self.fc(self.avgpool(self.layer2(self.layer1(pixels))).flatten(1))


def test_cka_does_not_see_rotation_scale_and_shift() -> None:
    torch.manual_seed(0)
    model = as_model(Rotated(30.0), "cnn", preprocessing=CNN_PREPROCESSING)
    found = core.cka(model, pictures("plain", 8), GIVEN)
    np.testing.assert_allclose(found.values[:2, :2], 1.0, atol=1e-5)


def test_cka_of_other_pictures_is_chance() -> None:
    case, images = built("plain"), pictures("plain", 40)
    found = core.cka(case.model, images, GIVEN)
    assert np.all(np.diagonal(found.values) > 0.9999)
    assert np.all(found.shuffled < 0.5)
    again = core.cka(case.model, images, GIVEN)
    assert np.array_equal(found.shuffled, again.shuffled)
    assert not np.array_equal(found.shuffled, core.cka(case.model, images, GIVEN, seed=1).shuffled)


@pytest.mark.parametrize("name", ["plain", "timm"])
def test_cka_of_equal_pictures_is_no_nan(name: str) -> None:
    found = core.cka(built(name).model, pictures(name, 1) * 9, GIVEN, together=4)
    assert np.array_equal(found.values, np.zeros_like(found.values))
    assert np.isfinite(found.shuffled).all()


def test_cka_refuses_what_it_cannot_estimate() -> None:
    model, images = built("plain").model, pictures("plain", 5)
    for count in (0, 1, 3):
        with pytest.raises(ImageError) as error:
            core.cka(model, images[:count], GIVEN)
        assert "at least 4" in sentence(error)
    assert core.cka(model, images[:4], GIVEN).pictures == 4
    with pytest.raises(ParameterError, match="at least 4"):
        core.cka(model, images, GIVEN, together=3)
    with pytest.raises(ParameterError, match=r"stage\.9"):
        core.cka(model, images, GIVEN, layers=[["stage.9"]])
    with pytest.raises(ImageError, match="several sizes"):
        core.cka(model, [*images, images[0].resize((80, 40))], GIVEN)
    with pytest.raises(ParameterError, match="No model"):
        core.cka([], images)


@pytest.mark.parametrize("together", [4, 5, 20])
def test_cka_streams(together: int) -> None:
    """Only a batch and the few pictures that its successor may need are read ahead."""
    model, images = built("plain").model, pictures("plain", 30)
    read: list[int] = []
    ahead: list[int] = []

    def stream() -> Iterator[Image.Image]:
        for i, image in enumerate(images):
            read.append(i)
            yield image

    with core.watching(lambda done, _: ahead.append(len(read) - done)):
        found = core.cka(model, stream(), GIVEN, together=together)
    assert found.pictures == 30
    assert max(ahead) <= together + 4


# -- distance of attention ------------------------------------------------------------------------


@pytest.mark.parametrize("name", builds(VITS))
def test_attention_distance_is_a_loop_over_pairs(name: str) -> None:
    case, images = built(name), pictures(name, 2)
    rows, cols = grid_of(name)
    places = [(row, col) for row in range(rows) for col in range(cols)]
    found = core.attention_distance(case.model, images, GIVEN)
    wanted = np.zeros(found.values.shape)
    for _, trace in traces(case, pixels_of(case, images)):
        for layer, heads in enumerate(trace.attention):
            for head, matrix in enumerate(heads):
                of_patches = matrix.detach().numpy()[case.prefix :, case.prefix :]
                for query, row in zip(places, of_patches, strict=True):
                    row = row / row.sum()
                    for key, share in zip(places, row, strict=True):
                        apart = PATCH * math.dist(query, key)
                        wanted[layer, head] += share * apart / len(places) / len(images)
    close(found.values, wanted)
    pairs = [PATCH * math.dist(one, other) for one in places for other in places]
    assert found.uniform == pytest.approx(float(np.mean(pairs)), rel=1e-6)
    assert found.pictures == 2


def test_what_has_no_attention_has_no_distance() -> None:
    with pytest.raises(UnsupportedMethod) as error:
        core.attention_distance(built("plain").model, pictures("plain", 1), GIVEN)
    assert "convolutional" in sentence(error)
    with pytest.raises(ImageError, match="No picture"):
        core.attention_distance(built("timm").model, [], GIVEN)


# -- effective receptive field --------------------------------------------------------------------


class Linear(nn.Module):
    """Two convolutions without anything between."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Conv2d(3, 4, 3, padding=1)
        self.layer2 = nn.Conv2d(4, 2, 3, padding=1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        return self.fc(self.avgpool(self.layer2(self.layer1(pixels))).flatten(1))


def test_receptive_field_of_a_convolution_known_by_hand() -> None:
    module = shake(Linear())
    model = as_model(module, "cnn", preprocessing=CNN_PREPROCESSING)
    image = pictures("plain", 1)[0].resize((12, 10))
    kernel = module.layer1.weight.detach().double().numpy()  # type: ignore[union-attr, operator]
    found = core.receptive_field(model, "stage.0", image, GIVEN)
    wanted = np.zeros((10, 12))
    for row in range(3):
        for col in range(3):
            for color in range(3):
                wanted[4 + row, 5 + col] += abs(kernel[:, color, row, col].sum())
    close(found.values, wanted)
    assert found.center == (5.5, 6.5)
    assert (found.pictures, found.of_noise) == (1, False)
    assert found.side(1.0) == 3
    # The second layer: a kernel of the kernels, 5 × 5.
    second = module.layer2.weight.detach().double().numpy().sum(axis=0)  # type: ignore[union-attr, operator]
    both = np.zeros((3, 5, 5))
    for row in range(3):
        for col in range(3):
            for channel in range(4):
                both[:, row : row + 3, col : col + 3] += second[channel, row, col] * kernel[channel]
    wanted = np.zeros((10, 12))
    wanted[3:8, 4:9] = np.abs(both).sum(axis=0)
    noise = core.receptive_field(model, "stage.1", framing=core.Framing("crop", 10), noise=3)
    close(core.receptive_field(model, "stage.1", image, GIVEN).values, wanted)
    close(noise.values, np.pad(wanted[3:8, 4:9], ((3, 2), (3, 2))))
    assert (noise.pictures, noise.of_noise, noise.side(1.0)) == (3, True, 5)
    assert noise.side(0.3) < 5
    apart = np.hypot(*(np.indices((10, 10)) - 5))
    assert noise.distance == pytest.approx((noise.values * apart).sum() / noise.values.sum())


@pytest.mark.parametrize("name", builds(["timm", "timm rotary", "torchvision resnet"]))
def test_receptive_field_is_a_gradient(name: str) -> None:
    """Against finite differences of a bare copy in double precision, pixel by pixel."""
    case = built(name)
    image = pictures(name, 1)[0] if name in VITS else pictures(name, 1)[0].resize((64, 64))
    layer = case.model.layers[1]
    found = core.receptive_field(case.model, layer.name, image, GIVEN)
    pixels = pixels_of(case, [image]).double()
    module, kept = copy.deepcopy(case.bare).double(), {}
    module.get_submodule(layer.module).register_forward_hook(
        lambda _, __, output: kept.update(output=output)
    )

    def unit(changed: Tensor) -> float:
        with torch.no_grad():
            module(changed)
        output = kept["output"]
        if output.ndim == 3:
            rows, cols = grid_of(name)
            return float(output[0, case.prefix + rows // 2 * cols + cols // 2].sum())
        return float(output[0, :, output.shape[2] // 2, output.shape[3] // 2].sum())

    step, places = 1e-5, np.random.default_rng(0).integers(0, found.values.size, 12)
    for row, col in zip(*np.unravel_index(places, found.values.shape), strict=True):
        wanted = 0.0
        for color in range(3):
            shift = torch.zeros_like(pixels)
            shift[0, color, row, col] = step
            wanted += abs(unit(pixels + shift) - unit(pixels - shift)) / (2 * step)
        assert found.values[row, col] == pytest.approx(
            wanted, rel=1e-3, abs=1e-4 * float(found.values.max())
        )


def test_receptive_fields_refuse() -> None:
    model = built("plain").model
    with pytest.raises(ParameterError, match=r"stage\.7"):
        core.receptive_field(model, "stage.7")
    with pytest.raises(ParameterError, match="noise"):
        core.receptive_field(model, "stage.0", noise=0)
    with pytest.raises(ImageError, match="No picture"):
        core.receptive_field(model, "stage.0", [])
    with pytest.raises(ParameterError, match="share"):
        core.receptive_field(model, "stage.0", noise=1).side(0.0)


# -- lengths of tokens ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", builds(["timm registers", "plain", "torchvision"]))
def test_token_norms_are_lengths(name: str) -> None:
    case, images = built(name), pictures(name, 3)
    found = core.token_norms(case.model, images, GIVEN)
    first = [layer.name in tap for tap in found.layers for layer in case.model.layers[:1]].index(
        True
    )
    first += name in VITS  # the embedding comes before
    [rows] = outputs_of(case, [case.model.layers[0].module], images)
    layer = case.model.layers[0]
    lengths: list[list[float]] = []
    for values in rows:
        tokens = (
            values.reshape(-1, layer.channels)
            if name in VITS
            else values.reshape(layer.channels, -1).T
        )
        lengths.append([math.sqrt(sum(value**2 for value in token)) for token in tokens])
    table = np.array(lengths)
    patches = table[:, case.prefix :]
    wanted = np.quantile(patches, (0.05, 0.25, 0.5, 0.75, 0.95, 1.0), axis=1).mean(axis=1)
    close(found.quantiles[first], wanted)
    assert found.prefix.shape == (len(found.layers), case.prefix)
    for i in range(case.prefix):
        close(found.prefix[first, i], table[:, i].mean())
    far = patches > 3 * np.median(patches, axis=1, keepdims=True)
    assert found.outliers[first] == pytest.approx(far.mean())
    assert found.places[first].mean() == pytest.approx(far.mean())


def test_an_outlier_is_named_where_it_lies() -> None:
    """A network whose features are the pixels: one bright pixel is the only outlier."""
    module = Linear()
    with torch.no_grad():
        for layer in (module.layer1, module.layer2):
            layer.weight.zero_()
            layer.bias.zero_()  # type: ignore[union-attr]
            layer.weight[0, 0, 1, 1] = 1.0
    model = as_model(module, "cnn", preprocessing=CNN_PREPROCESSING)
    values = np.full((6, 8, 3), 160, np.uint8)  # standardized to .51
    values[2, 5] = 255  # to 2
    plain = np.full((6, 8, 3), 160, np.uint8)
    images = [Image.fromarray(values), Image.fromarray(plain)]
    found = core.token_norms(model, images, GIVEN)
    assert found.places[1][2, 5] == 0.5
    assert found.places[1].sum() == 0.5
    assert found.outliers[1] == pytest.approx(0.5 / 48)


# -- ablation -------------------------------------------------------------------------------------


def attention_parts(block: nn.Module) -> nn.Linear:
    """The output projection of a block's attention."""
    for path in ("attn.proj", "self_attention.out_proj", "attention.o_proj"):
        try:
            return block.get_submodule(path)  # type: ignore[return-value]
        except AttributeError:
            continue
    raise AssertionError(block)


def without_heads(case: Built, removed: Sequence[tuple[int, int]]) -> nn.Module:
    """A bare copy whose projections no longer read some heads; no hook takes part."""
    module = copy.deepcopy(case.bare)
    width = case.model.head_width  # type: ignore[attr-defined]
    for layer, head in removed:
        block = module.get_submodule(case.model.layers[layer].module)
        with torch.no_grad():
            attention_parts(block).weight[:, head * width : (head + 1) * width] = 0.0
    return module


class Passing(nn.Module):
    """A block that returns its input."""

    def forward(self, tokens: Tensor, *_: Any, **__: Any) -> Tensor:
        """Its input."""
        return tokens


def shares(module: nn.Module, pixels: Tensor) -> Array:
    """Probabilities of a bare network."""
    with torch.no_grad():
        found: Array = answer(module, pixels).double().softmax(dim=-1).numpy()
    return found


@pytest.mark.parametrize("name", builds(["timm", "timm registers", "torchvision", "hf dinov2"]))
def test_heads_and_blocks_are_taken_away(name: str) -> None:
    case, images = built(name), pictures(name, 5)
    pixels = pixels_of(case, images)
    intact = shares(case.bare, pixels)
    first = intact.argmax(axis=1)
    heads = core.ablate(case.model, images, "heads", framing=GIVEN)
    assert heads.shape == (3, 3)
    assert heads.parts[5] == "block.1, head 2"
    np.testing.assert_array_equal(heads.intact, first)
    close(heads.probability, intact.max(axis=1))
    for i, (layer, head) in enumerate((i, h) for i in range(3) for h in range(3)):
        found = shares(without_heads(case, [(layer, head)]), pixels)
        close(heads.probabilities[i], found[range(5), first], 1e-4)
        np.testing.assert_array_equal(heads.answers[i], found.argmax(axis=1))
    drop = (heads.probability - heads.probabilities).mean(axis=1).reshape(3, 3)
    np.testing.assert_allclose(heads.drop, drop, atol=1e-6)
    assert np.abs(drop).max() > 1e-3
    together = core.ablate(case.model, images, [(0, 1), (0, 2), (2, 0)], framing=GIVEN)
    wanted = shares(without_heads(case, [(0, 1), (0, 2), (2, 0)]), pixels)
    close(together.probabilities[0], wanted[range(5), first], 1e-4)
    assert together.shape == (1,)


@pytest.mark.parametrize("name", builds(["timm", "torchvision", "timm rotary"]))
def test_a_block_that_is_taken_away_passes_its_input_on(name: str) -> None:
    case, images = built(name), pictures(name, 4)
    pixels = pixels_of(case, images)
    first = shares(case.bare, pixels).argmax(axis=1)
    found = core.ablate(case.model, images, "blocks", framing=GIVEN)
    assert found.parts == ("block.0", "block.1", "block.2")
    for i, layer in enumerate(case.model.layers):
        module = copy.deepcopy(case.bare)
        owner, _, child = layer.module.rpartition(".")
        module.get_submodule(owner)._modules[child] = Passing()
        wanted = shares(module, pixels)
        close(found.probabilities[i], wanted[range(4), first], 1e-4)
    by_name = core.ablate(case.model, images, ["block.1"], framing=GIVEN)
    by_number = core.ablate(case.model, images, [1], framing=GIVEN)
    np.testing.assert_array_equal(by_name.probabilities[0], found.probabilities[1])
    np.testing.assert_array_equal(by_number.probabilities[0], found.probabilities[1])
    assert core.ablate(case.model, images, "block.1", framing=GIVEN).parts == ("block.1",)


def test_the_mean_of_a_head_takes_its_place() -> None:
    """Without prefix tokens the mean of the patches is a bias of the projection."""
    case, images = built("timm average"), pictures("timm average", 3)
    pixels = pixels_of(case, images)
    first = shares(case.bare, pixels).argmax(axis=1)
    contexts = [trace.contexts[1][2].detach() for _, trace in traces(case, pixels)]
    mean = torch.cat(contexts).mean(dim=0).float()
    module = without_heads(case, [(1, 2)])
    projection = attention_parts(module.blocks[1])  # type: ignore[index, union-attr]
    whole = attention_parts(case.bare.blocks[1])  # type: ignore[index, union-attr]
    width = len(mean)
    with torch.no_grad():
        projection.bias += whole.weight[:, 2 * width : 3 * width] @ mean
    wanted = shares(module, pixels)
    found = core.ablate(case.model, images, [(1, 2)], "mean", GIVEN)
    close(found.probabilities[0], wanted[range(3), first], 1e-4)
    zero = core.ablate(case.model, images, [(1, 2)], "zero", GIVEN)
    assert np.abs(zero.probabilities - found.probabilities).max() > 1e-4


def test_the_mean_of_a_block_takes_its_place() -> None:
    case, images = built("timm registers"), pictures("timm registers", 3)
    pixels = pixels_of(case, images)
    first = shares(case.bare, pixels).argmax(axis=1)
    entered, left = outputs_of(case, ["blocks.0", "blocks.1"], images)
    tokens = (left - entered).reshape(len(images), -1, case.width)
    added = torch.from_numpy(tokens.mean(axis=0))
    added[case.prefix :] = added[case.prefix :].mean(dim=0)

    class Adding(nn.Module):
        def forward(self, tokens: Tensor, *_: Any, **__: Any) -> Tensor:
            return tokens + added.float()

    module = copy.deepcopy(case.bare)
    module.blocks[1] = Adding()  # type: ignore[index, operator]
    found = core.ablate(case.model, images, [1], "mean", GIVEN)
    close(found.probabilities[0], shares(module, pixels)[range(3), first], 1e-4)


def test_nothing_stays_of_an_ablation() -> None:
    case, images = built("timm"), pictures("timm", 2)
    before = core.predict(case.model, images, framing=GIVEN)
    core.ablate(case.model, images, "heads", "mean", GIVEN)
    for one, other in zip(before, core.predict(case.model, images, framing=GIVEN), strict=True):
        np.testing.assert_array_equal(one.logits, other.logits)


@pytest.mark.parametrize(
    "part", [[(3, 0)], [(0, 3)], [3], [-1], ["block.3"], ["x"], [], [(0, "a")]]
)
def test_what_does_not_exist_cannot_be_taken_away(part: Any) -> None:
    with pytest.raises(ParameterError) as error:
        core.ablate(built("timm").model, pictures("timm", 1), part, framing=GIVEN)
    assert "name" in sentence(error)


def test_ablation_refuses() -> None:
    model, images = built("timm").model, pictures("timm", 1)
    with pytest.raises(UnsupportedMethod, match="convolutional"):
        core.ablate(built("plain").model, pictures("plain", 1), framing=GIVEN)
    with pytest.raises(ParameterError, match="zero or mean"):
        core.ablate(model, images, fill="median", framing=GIVEN)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="No picture"):
        core.ablate(model, [], framing=GIVEN)
    headless = as_model(RECIPES["timm"].make(), classes=0)
    with pytest.raises(UnsupportedMethod, match="without classes"):
        core.ablate(headless, images, framing=GIVEN)


# -- neighbors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "timm registers"])
def test_neighbors_are_the_largest_cosines(name: str) -> None:
    case, images = built(name), pictures(name, 9)
    found = core.neighbors(case.model, images, 3, GIVEN)
    layer = case.model.layers[1]
    row = next(i for i, tap in enumerate(found.layers[0]) if tap.startswith(layer.name))
    [rows] = outputs_of(case, [layer.module], images)
    if name in VITS:
        means = rows.reshape(9, -1, layer.channels)[:, case.prefix :].mean(axis=1)
    else:
        means = rows.reshape(9, layer.channels, -1).mean(axis=2)
    for i, one in enumerate(means):
        cosines = {
            j: float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
            for j, other in enumerate(means)
            if j != i
        }
        wanted = sorted(cosines, key=lambda j: -cosines[j])[:3]
        assert found.nearest[0][row, i].tolist() == wanted
    assert found.layers[0][-1] == "embedding"
    assert found.chance == pytest.approx(3 / 8)
    np.testing.assert_allclose(np.diagonal(found.overlap(0, 0)), 1.0)
    np.testing.assert_array_equal(found.common(0, 0), 3)


def test_overlap_is_the_share_of_common_neighbors() -> None:
    cnn, vit = built("plain").model, built("timm").model
    images = [image.resize((16, 16)) for image in pictures("plain", 10)]
    found = core.neighbors([cnn, vit], images, 4, GIVEN)
    overlap = found.overlap()

    def shared(i: int, j: int) -> list[int]:
        pairs = zip(found.nearest[0][i].tolist(), found.nearest[1][j].tolist(), strict=True)
        return [len({*one} & {*other}) for one, other in pairs]

    for i in range(len(found.nearest[0])):
        for j in range(len(found.nearest[1])):
            assert overlap[i, j] == pytest.approx(np.mean(shared(i, j)) / 4)
    np.testing.assert_array_equal(found.common(), shared(-1, -1))
    with pytest.raises(ParameterError, match="expected 1 to 9"):
        core.neighbors(cnn, images, 10)


# -- logit lens -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", builds(["timm", "torchvision", "timm registers", "hf vit"]))
def test_the_lens_reads_the_class_token_of_every_layer(name: str) -> None:
    case, images = built(name), pictures(name, 3)
    found = core.logit_lens(case.model, images, GIVEN)
    last = core.predict(case.model, images, framing=GIVEN)
    assert found.answers[-1].tolist() == [one.top for one in last]
    close(found.probabilities[-1], [one.probabilities[0] for one in last])
    assert found.agreement[-1] == 1.0
    module: Any = copy.deepcopy(case.bare)
    [rows] = outputs_of(case, [case.model.layers[0].module], images)
    token = torch.from_numpy(rows.reshape(3, -1, case.width)[:, 0]).float()
    with torch.no_grad():
        if name == "torchvision":
            logits = module.heads(module.encoder.ln(token))
        elif name == "hf vit":
            logits = module.classifier(module.vit.layernorm(token))
        else:
            logits = module.head(module.norm(token))
    close(found.probabilities[1], logits.softmax(dim=-1).max(dim=-1).values.numpy(), 1e-4)
    np.testing.assert_array_equal(found.answers[1], logits.argmax(dim=-1).numpy())


@pytest.mark.parametrize("name", ["timm rotary", "timm distilled", "hf dinov2", "plain"])
def test_the_lens_says_why_not(name: str) -> None:
    with pytest.raises(UnsupportedMethod) as error:
        core.logit_lens(built(name).model, pictures(name, 1), GIVEN)
    assert "class token" in sentence(error)


# -- what holds for all ---------------------------------------------------------------------------

CALLS: dict[str, Callable[[Any, list[Image.Image]], Any]] = {
    "cka": lambda model, images: core.cka(model, images, GIVEN),
    "attention_distance": lambda model, images: core.attention_distance(model, images, GIVEN),
    "receptive_fields": lambda model, images: core.receptive_fields(model, None, images, GIVEN),
    "token_norms": lambda model, images: core.token_norms(model, images, GIVEN),
    "ablate": lambda model, images: core.ablate(model, images, "blocks", framing=GIVEN),
    "neighbors": lambda model, images: core.neighbors(model, images, 2, GIVEN),
    "logit_lens": lambda model, images: core.logit_lens(model, images, GIVEN),
}


@pytest.mark.parametrize("call", CALLS)
def test_each_reports_its_steps_and_can_be_stopped(call: str) -> None:
    model, images = built("timm").model, pictures("timm", 6)
    steps: list[tuple[int, int]] = []
    with core.watching(lambda done, total: steps.append((done, total))):
        CALLS[call](model, images)
    assert steps[0][0] == 0
    assert steps[-1][0] == steps[-1][1] > 0
    with core.watching(lambda *_: False), pytest.raises(Stopped):
        CALLS[call](model, images)


@pytest.mark.parametrize("name", builds(RECIPES))
def test_every_build_has_layers_to_compare(name: str) -> None:
    case = built(name)
    images = pictures(name, 5)
    if name in CNNS:
        images = [image.resize((64, 64)) for image in images]
    found = core.cka(case.model, images, GIVEN)
    assert np.isfinite(found.values).all()
    assert np.abs(found.values).max() <= 1 + 1e-5
    fields = core.receptive_fields(case.model, None, images[:1], GIVEN)
    assert [field.layer for field in fields] == list(found.layers[0])
    assert all(np.isfinite(field.values).all() for field in fields)
    assert core.token_norms(case.model, images, GIVEN).layers == found.layers[0]
    core.neighbors(case.model, images, 2, GIVEN)
    if name in VITS:
        assert core.ablate(case.model, images, "heads", framing=GIVEN).shape == (3, 3)
        assert core.ablate(case.model, images, "blocks", "mean", GIVEN).shape == (3,)
