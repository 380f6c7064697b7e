"""One pass, and what is read off it: needs, the table of taps, batches and streams."""

from __future__ import annotations

import copy
import gc
import itertools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import core
from core import capacity, probes
from core.errors import ImageError, ParameterError, UnsupportedMethod, UnsupportedModel
from core.models import Model
from core.models.taps import HEAD_INPUT, MAP
from core.models.transformer import VisionTransformer
from core.recording.batches import ON_CPU, WINDOW
from core.recording.recording import Recording
from tests.support.builders import (
    CNNS,
    DEPTH,
    FIXED_SIZE,
    GIVEN,
    HEADS,
    PATCH,
    RECIPES,
    TARGETS,
    VITS,
    Built,
    answer,
    as_model,
    builds,
    built,
    close,
    grid_of,
    picture,
    pictures,
    pixels_of,
    shake,
    timm_vit,
)
from tests.support.reference_transformer import traces

PARTS = ("input", "query", "key", "value", "context", "hidden", "output")
ODD_SIZES = [(64, 96), (65, 97), (70, 45), (33, 131)]
"""Height and width in pixels for convolutional networks."""


@pytest.fixture
def usual_capacity() -> Iterator[None]:
    """Whatever a test configures is set back."""
    yield
    core.configure(capacity.PASSES, capacity.PATIENCE, capacity.MEMORY)


def count_passes(model: Model, patch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by the batch size with every pass of a model from now on."""
    score, sizes = model.score, []

    def counted(pixels: Tensor) -> Tensor:
        sizes.append(len(pixels))
        return score(pixels)

    patch.setattr(model, "score", counted)
    return sizes


def count_backward_passes(patch: pytest.MonkeyPatch) -> list[None]:
    """A list that grows with every backward pass from now on."""
    backward, calls = torch.autograd.grad, []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        return backward(*args, **kwargs)

    patch.setattr(torch.autograd, "grad", counted)
    return calls


# -- needs ----------------------------------------------------------------------------------------


def test_needs_add_up() -> None:
    one = core.Needs(["stage.0", "head.input"], ["head.input"])
    other = core.Needs(["stage.1"], ["stage.0"])
    both = one | other
    assert both.keep == {"stage.0", "stage.1", "head.input"}
    assert both.gradients == {"stage.0", "head.input"}
    assert both == other | one
    assert hash(both) == hash(other | one)
    assert both | both == both
    assert core.Needs() | one == one


def test_needs_cover_what_they_hold() -> None:
    one = core.Needs(["stage.0"], ["head.input"])
    both = one | core.Needs(["stage.1"], ["stage.0"])
    assert core.Needs() <= one <= one <= both
    assert not both <= one
    assert not core.Needs(["stage.0"], ["stage.0"]) <= one
    assert not core.Needs(["head.input"]) <= one


@pytest.mark.parametrize(("name", "tap"), [("timm", "block.3.query"), ("plain", "stage.2")])
@pytest.mark.parametrize("place", ["keep", "gradients"])
def test_a_tap_that_is_not_in_the_table_is_refused(name: str, tap: str, place: str) -> None:
    model, image = built(name).model, pictures(name, 1)[0]
    with pytest.raises(ParameterError, match=f"{tap!r} does not exist in Tiny {name}"):
        core.record(model, image, GIVEN, core.Needs(**{place: [tap]}))
    recording = core.record(model, image, GIVEN)
    with pytest.raises(ParameterError, match=f"{tap!r} does not exist"):
        recording.tensor(tap)


@pytest.mark.parametrize("name", builds(VITS))
def test_no_gradient_at_queries_keys_and_values(name: str) -> None:
    """They are joined in one tensor, or computed again beside the network."""
    case = built(name)
    recording = core.record(case.model, pictures(name, 1), GIVEN)
    for part in ("query", "key", "value"):
        tap = f"block.1.{part}"
        with pytest.raises(ParameterError, match=f"{tap!r}.*block.1.context"):
            core.record(case.model, pictures(name, 1), GIVEN, core.Needs(gradients=[tap]))
        with pytest.raises(ParameterError, match=f"{tap!r}"):
            recording.gradients([tap], [1])
    assert recording.gradients(["block.1.context"], [1])["block.1.context"].any()


# -- the table of taps ----------------------------------------------------------------------------


def check_tap(recording: Recording, tap: core.Tap, grid: tuple[int, int], prefix: int) -> None:
    """What was kept has the axes and sizes of the table."""
    tensor = recording.tensor(tap.name)
    tokens = prefix + grid[0] * grid[1]
    sizes = {
        "batch": len(recording),
        "channel": tap.channels,
        "head": tap.heads,
        "token": tokens,
        "row": grid[0],
        "column": grid[1],
    }
    assert tuple(tensor.shape) == tuple(sizes[axis] for axis in tap.axes), tap.name
    assert tensor.is_floating_point()
    assert not tensor.requires_grad
    assert tap.features == tap.channels * tap.heads
    on_grid = recording.on_grid(tap.name)
    assert tuple(on_grid.shape) == (len(recording), tap.features, *grid), tap.name


@pytest.mark.parametrize("name", builds(VITS))
def test_taps_of_a_transformer(name: str) -> None:
    case = built(name)
    names = [f"block.{layer}.{part}" for layer in range(DEPTH) for part in PARTS]
    assert list(case.model.taps) == [*names, HEAD_INPUT]
    assert [layer.name for layer in case.model.layers] == [f"block.{i}" for i in range(DEPTH)]
    assert all(tap.meaning and tap.name == key for key, tap in case.model.taps.items())
    for layer in case.model.layers:
        assert (layer.channels, layer.heads) == (case.width, HEADS)
        assert (
            type(case.bare.get_submodule(layer.module))
            .__name__.lower()
            .endswith(("block", "layer", "blockpostnorm"))
        )
    grids = [grid_of(name)] if name in FIXED_SIZE else [(1, 1), (2, 3), (5, 2)]
    for rows, cols in grids:
        images = [picture(rows, cols, seed) for seed in range(2)]
        recording = core.record(case.model, images, GIVEN, core.Needs(case.model.taps))
        size = (rows * PATCH, cols * PATCH)
        for tap in case.model.taps.values():
            check_tap(recording, tap, (rows, cols), case.prefix)
            assert case.model.grid_of(tap.name, size) == (rows, cols)
        for layer in case.model.layers:
            assert layer.grid(size) == (rows, cols)
            output = recording.tensor(f"{layer.name}.output")
            assert output.shape[-1] == layer.channels


@pytest.mark.parametrize("name", builds(CNNS))
def test_taps_of_a_convolutional_network(name: str) -> None:
    case = built(name)
    stages = [f"stage.{i}" for i in range(len(case.stages))]
    assert list(case.model.taps) == [*stages, HEAD_INPUT]
    assert [layer.name for layer in case.model.layers] == stages
    assert [layer.module for layer in case.model.layers] == list(case.stages)
    assert all(tap.meaning and tap.name == key for key, tap in case.model.taps.items())
    assert all(tap.axes == MAP for tap in case.model.taps.values())
    for height, width in ODD_SIZES:
        images = [Image.new("RGB", (width, height), (90 * i, 50, 200)) for i in range(2)]
        recording = core.record(case.model, images, GIVEN, core.Needs(case.model.taps))
        for tap in case.model.taps.values():
            grid = tuple(recording.tensor(tap.name).shape[2:])
            assert case.model.grid_of(tap.name, (height, width)) == grid
            check_tap(recording, tap, grid, 0)  # type: ignore[arg-type]
        for layer in case.model.layers:
            tensor = recording.tensor(layer.name)
            assert layer.grid((height, width)) == tuple(tensor.shape[2:])
            assert (layer.channels, layer.heads) == (tensor.shape[1], 0)


@pytest.mark.parametrize("name", builds(RECIPES))
def test_every_tap_can_be_kept_alone(name: str) -> None:
    case = built(name)
    everything = core.record(case.model, pictures(name, 2), GIVEN, core.Needs(case.model.taps))
    for tap in case.model.taps:
        alone = core.record(case.model, pictures(name, 2), GIVEN, core.Needs([tap]))
        assert alone.needs == core.Needs([tap])
        assert torch.equal(alone.tensor(tap), everything.tensor(tap)), tap


@pytest.mark.parametrize("name", builds(RECIPES))
def test_gradient_at_every_tap_has_its_axes(name: str) -> None:
    """And it does not matter which other taps were asked for in the same pass."""
    case = built(name)
    images = pictures(name, 3)
    taps = [t for t in case.model.taps if not t.endswith((".query", ".key", ".value"))]
    together = core.record(case.model, images, GIVEN, core.Needs(taps, taps))
    found = together.gradients(taps, TARGETS)
    for tap in taps:
        assert found[tap].shape == together.tensor(tap).shape
        alone = core.record(case.model, images, GIVEN, core.Needs(gradients=[tap]))
        close(found[tap], alone.gradients([tap], TARGETS)[tap], 1e-5)


@pytest.mark.parametrize("name", builds(VITS))
def test_feature_on_the_grid_is_a_channel_of_a_head_at_a_patch(name: str) -> None:
    case = built(name)
    rows, cols = grid_of(name)
    recording = core.record(case.model, pictures(name, 2), GIVEN, core.Needs(case.model.taps))
    for tap in ("block.1.key", "block.1.output"):
        tensor, declared = recording.tensor(tap), case.model.taps[tap]
        on_grid = recording.on_grid(tap)
        for feature, row, col in ((0, 0, 1), (5, 1, 2), (declared.features - 1, rows - 1, 0)):
            head, channel = divmod(feature, declared.channels)
            token = case.prefix + row * cols + col
            one = tensor[:, head] if declared.heads > 1 else tensor
            assert torch.equal(on_grid[:, feature, row, col], one[:, token, channel])


@pytest.mark.parametrize("name", builds(RECIPES))
def test_taps_are_listed_in_the_order_of_the_pass(name: str) -> None:
    """The graph begins at the first tap that a gradient is asked for."""
    case = built(name)
    taps = list(case.model.taps)
    recorder = probes.Recorder(taps)
    with torch.no_grad(), probes.recording(recorder):
        case.model.score(pixels_of(case, pictures(name, 1)))
    visited = [tap for tap in recorder.tensors if tap in taps]
    assert visited == [tap for tap in taps if tap in recorder.tensors]
    assert visited[-1] == HEAD_INPUT


def swapped(tensor: Tensor) -> Tensor:
    """The last two axes in the other order."""
    return tensor.transpose(-2, -1)


def without_a_token(tensor: Tensor) -> Tensor:
    """One place less."""
    return tensor[..., :-1, :]


@pytest.mark.parametrize("change", [swapped, without_a_token])
@pytest.mark.parametrize(
    ("name", "tap"), [("timm", "block.1.output"), ("hf vit", "block.0.key"), ("timm", HEAD_INPUT)]
)
def test_tokens_in_another_layout_are_refused(
    name: str, tap: str, change: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(name).model
    read = model.read
    monkeypatch.setattr(model, "read", lambda tensors, asked: change(read(tensors, asked)))
    with pytest.raises(UnsupportedModel, match=f"{tap} of Tiny {name}.*token.*was expected"):
        core.record(model, pictures(name, 1), GIVEN, core.Needs([tap]))


@pytest.mark.parametrize(
    "order", [(0, 2, 3, 1), (0, 1, 3, 2)], ids=["channels last", "columns before rows"]
)
def test_maps_in_another_layout_are_refused(
    order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built("plain").model
    monkeypatch.setattr(model, "read", lambda tensors, tap: tensors[tap].permute(order))
    with pytest.raises(UnsupportedModel, match=r"stage\.1 of Tiny plain.*row, column"):
        core.record(model, pictures("plain", 1), GIVEN, core.Needs(["stage.1"]))


# -- features -------------------------------------------------------------------------------------


def kept_by_a_hook(case: Built, pixels: Tensor, path: str, enters: bool) -> Tensor:
    """What a module of a private copy returns, or what enters it."""
    module = copy.deepcopy(case.bare)
    kept: list[Tensor] = []
    part = module.get_submodule(path)
    if enters:
        part.register_forward_pre_hook(lambda _module, args: kept.append(args[0].clone()))
    else:
        part.register_forward_hook(lambda _module, _args, output: kept.append(output.clone()))
    with torch.no_grad():
        answer(module, pixels)
    return kept[0]


@pytest.mark.parametrize("name", builds(CNNS))
def test_features_of_a_stage_are_what_its_module_returns(name: str) -> None:
    case = built(name)
    image = pictures(name, 1)[0]
    pixels = case.model.pixels(image, GIVEN)
    wanted = {f"stage.{i}": (path, False) for i, path in enumerate(case.stages)}
    wanted[HEAD_INPUT] = (case.pooling, True)
    assert wanted.keys() == case.model.taps.keys()
    for tap, (path, enters) in wanted.items():
        found = core.features(case.model, image, tap, GIVEN)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, kept_by_a_hook(case, pixels, path, enters)[0])


def paths_in_a_block(case: Built, layer: int) -> dict[str, tuple[str, bool]]:
    """Module of some parts of a block, and whether it is what enters it that counts."""
    block = case.model.layers[layer].module
    linears = [
        path
        for path, part in case.bare.named_modules()
        if path.startswith(f"{block}.mlp.") and isinstance(part, nn.Linear)
    ]
    return {"input": (block, True), "hidden": (linears[-1], True), "output": (block, False)}


@pytest.mark.parametrize("name", builds(VITS))
def test_features_of_a_block_are_its_parts(name: str) -> None:
    case = built(name)
    image, grid = pictures(name, 1)[0], grid_of(name)
    pixels = case.model.pixels(image, GIVEN)
    _, trace = traces(case, pixels)[0]
    for layer in range(DEPTH):
        for part, (path, enters) in paths_in_a_block(case, layer).items():
            found = core.features(case.model, image, f"block.{layer}.{part}", GIVEN)
            tokens = kept_by_a_hook(case, pixels, path, enters)[0, case.prefix :]
            np.testing.assert_array_equal(found, tokens.T.reshape(-1, *grid))
        by_head = {"query": trace.queries, "key": trace.keys, "value": trace.values}
        for part, heads in (by_head | {"context": trace.contexts}).items():
            found = core.features(case.model, image, f"block.{layer}.{part}", GIVEN)
            channels = torch.cat(heads[layer], dim=1)[case.prefix :].detach()
            close(found, channels.T.reshape(-1, *grid))


def test_features_of_a_recording() -> None:
    model, images = built("plain").model, pictures("plain", 2)
    recording = core.record(model, images[0], GIVEN)
    alone = core.features(model, images[0], "stage.0", GIVEN)
    np.testing.assert_array_equal(core.features(model, recording, "stage.0"), alone)
    with pytest.raises(ParameterError, match="2 pictures"):
        core.features(model, core.record(model, images, GIVEN), "stage.0")
    with pytest.raises(ParameterError, match=r"'stage\.7' does not exist"):
        core.features(model, images[0], "stage.7")


# -- one pass for many ----------------------------------------------------------------------------

METHODS = {
    "vit": ["rollout", "attention", "gradient_rollout", "transformer_attribution", "legrad"],
    "cnn": ["cam", "grad_cam", "grad_cam_plus_plus", "hirescam", "layer_cam"],
}
PARAMS: dict[str, dict[str, Any]] = {
    "attention": {"layer": 1},
    "gradient_rollout": {"layers": (1, 2)},
    "grad_cam": {"layer": "stage.1"},
    "layer_cam": {"layer": "stage.0"},
}


def calls_of(name: str) -> dict[str, dict[str, Any]]:
    """Methods that serve a model, with parameters."""
    if name in VITS:
        calls = {method: PARAMS.get(method, {}) for method in METHODS["vit"]}
        return {"grad_cam": {"layer": "block.1.input"}} | calls
    served = [m for m in METHODS["cnn"] if m != "cam" or RECIPES[name].linear]
    return {method: PARAMS.get(method, {}) for method in served}


def needs_of(model: Model, calls: dict[str, dict[str, Any]]) -> core.Needs:
    """The needs of several methods, added up."""
    total = core.Needs()
    for method, params in calls.items():
        total |= core.needs(model, method, **params)
    return total


@pytest.mark.parametrize("name", builds(RECIPES))
def test_stated_needs_cost_one_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, calls = built(name).model, pictures(name, 3), calls_of(name)
    singles = {
        method: core.explain(model, images, method, TARGETS, framing=GIVEN, **params)
        for method, params in calls.items()
    }
    passes = count_passes(model, monkeypatch)
    backward = count_backward_passes(monkeypatch)
    recording = core.record(model, images, GIVEN, needs_of(model, calls))
    for method, params in calls.items():
        shared = core.explain(model, recording, method, TARGETS, **params)
        for one, alone in zip(shared, singles[method], strict=True):
            close(one.relevance, alone.relevance, 1e-3 if "plus" in method else 1e-5)
            assert (one.params, one.target) == (alone.params, alone.target)
        # LeGrad, the last, has a score in each layer; all others share the gradient of the logits.
        assert len(backward) <= 1 + (DEPTH if method == "legrad" else 0)
    assert passes == [3]
    assert len(backward) == 1 + (DEPTH if "legrad" in calls else 0)


@pytest.mark.parametrize("name", builds(RECIPES))
def test_unstated_needs_cost_one_pass_more_and_give_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = built(name).model, pictures(name, 2)
    for method, params in calls_of(name).items():
        stated = core.needs(model, method, **params)
        ready = core.record(model, images, GIVEN, stated)
        wanted = core.explain(model, ready, method, TARGETS[:2], **params)
        with monkeypatch.context() as patch:
            passes = count_passes(model, patch)
            recording = core.record(model, images, GIVEN, core.Needs())
            assert passes == [2]
            for _ in range(2):
                found = core.explain(model, recording, method, TARGETS[:2], **params)
                assert passes == [2, 2], method
                for one, other in zip(found, wanted, strict=True):
                    np.testing.assert_array_equal(one.relevance, other.relevance)
            assert stated <= recording.needs


@pytest.mark.parametrize("name", builds(RECIPES))
def test_usual_needs_serve_every_map_without_expensive_gradients(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, usual = built(name).model, core.usual_needs(built(name).model)
    cheap = core.Needs(gradients=model.cheap_gradients)
    served = [m for m in calls_of(name) if core.needs(model, m).gradients <= cheap.gradients]
    assert {"rollout", "attention"} <= set(served) or {"grad_cam", "layer_cam"} <= set(served)
    passes = count_passes(model, monkeypatch)
    recording = core.record(model, pictures(name, 1)[0], GIVEN)
    for method in served:
        assert core.needs(model, method) <= usual
        core.explain(model, recording, method)
    if isinstance(model, VisionTransformer):
        attention = core.attention(model, recording)
        attention.joints()
        attention.received()
        attention.mosaic()
        for kind in core.PROJECTIONS:
            attention.projection(kind, 1, 0, 0)
    recording.predictions()
    assert passes == [1]


@pytest.mark.parametrize("name", ["timm", "plain"])
def test_class_after_class_costs_a_backward_pass_and_no_forward_pass(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, method = built(name).model, "transformer_attribution" if name in VITS else "hirescam"
    recording = core.record(model, pictures(name, 2), GIVEN, core.needs(model, method))
    passes, backward = count_passes(model, monkeypatch), count_backward_passes(monkeypatch)
    for number, target in enumerate((0, 1, 2), start=1):
        core.explain(model, recording, method, target)
        core.explain(model, recording, method, target)
        assert (len(passes), len(backward)) == (0, number)


def test_recording_says_what_it_holds() -> None:
    case = built("timm")
    images = pictures("timm", 2)
    recording = core.record(case.model, images, GIVEN)
    assert len(recording) == len(recording.views) == 2
    assert recording.size == (8, 12)
    assert recording.needs == core.usual_needs(case.model)
    assert recording.seconds > 0
    for view, image in zip(recording.views, images, strict=True):
        assert np.array_equal(np.asarray(view.image), np.asarray(image))
        assert view.digest == core.digest(image)
        assert view.framing == GIVEN


def test_recording_of_a_model_without_classes() -> None:
    module = timm_vit(num_classes=0)
    model = as_model(shake(module), classes=0)
    recording = core.record(model, pictures("timm", 2), GIVEN)
    assert recording.logits is None
    with pytest.raises(UnsupportedMethod, match="without classes"):
        recording.predictions()
    assert all(one.prediction is None for one in core.explain(model, recording, "rollout"))


def test_no_picture_and_several_sizes_are_refused() -> None:
    model = built("timm").model
    with pytest.raises(ImageError, match="No picture"):
        core.record(model, [], GIVEN)
    with pytest.raises(ImageError, match="several sizes"):
        core.record(model, [picture(2, 3), picture(3, 2)], GIVEN)


# -- streams --------------------------------------------------------------------------------------

SHAPES = [(2, 3), (4, 4), (3, 2)]


def stream(count: int | None, read: list[int]) -> Iterator[Image.Image]:
    """Pictures of mixed sizes, as they are asked for; ``read`` grows by the place of each."""
    for place in itertools.count() if count is None else range(count):
        read.append(place)
        yield picture(*SHAPES[place % 7 % 3], seed=place)


@pytest.fixture
def living(monkeypatch: pytest.MonkeyPatch) -> weakref.WeakSet[Recording]:
    """Recordings made from now on that something still holds."""
    made: weakref.WeakSet[Recording] = weakref.WeakSet()
    start = Recording.__init__

    def noted(self: Recording, *args: Any, **kwargs: Any) -> None:
        made.add(self)
        start(self, *args, **kwargs)

    monkeypatch.setattr(Recording, "__init__", noted)
    return made


@pytest.mark.parametrize("count", [1, WINDOW, WINDOW + 1, 3 * WINDOW - 5])
def test_stream_gives_every_place_once(count: int) -> None:
    model = built("timm").model
    places: list[int] = []
    for batch in core.record_stream(model, stream(count, []), GIVEN, core.Needs()):
        assert 1 <= len(batch.places) == len(batch.recording) <= ON_CPU
        assert batch.recording.is_batch
        for place, view in zip(batch.places, batch.recording.views, strict=True):
            assert view.digest == core.digest(picture(*SHAPES[place % 7 % 3], seed=place))
        places += batch.places
    assert sorted(places) == list(range(count))


def test_pictures_of_one_size_share_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("timm").model
    passes = count_passes(model, monkeypatch)
    batches = list(core.record_stream(model, stream(WINDOW, []), GIVEN, core.Needs()))
    of_a_shape = [sum(place % 7 % 3 == kind for place in range(WINDOW)) for kind in range(3)]
    assert len(batches) == len(passes) == sum(-(-count // ON_CPU) for count in of_a_shape)
    passes.clear()
    for batch in core.record_stream(model, pictures("timm", 7), GIVEN, core.Needs(), most=3):
        assert len(batch.places) <= 3
    assert passes == [3, 3, 1]


def test_stream_is_read_no_further_than_a_window() -> None:
    read: list[int] = []
    batches = core.record_stream(built("timm").model, stream(None, read), GIVEN, core.Needs())
    assert not read
    given = 0
    for _ in range(640 // ON_CPU):
        given += len(next(batches).places)
        assert len(read) <= given + WINDOW
    assert given > 3 * WINDOW
    batches.close()  # type: ignore[attr-defined]


def test_stream_keeps_no_recording_alive(living: weakref.WeakSet[Recording]) -> None:
    model = built("timm").model
    batches = core.record_stream(model, stream(100, []), GIVEN, core.usual_needs(model))
    for _ in range(5):
        batch = next(batches)
        assert list(living) == [batch.recording]
        tensor = weakref.ref(batch.recording.pixels)
        del batch
        gc.collect()
        assert not living
        assert tensor() is None
    batches.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "run",
    [
        lambda model, images: core.explain(model, images, "rollout", framing=GIVEN),
        lambda model, images: core.predict(model, images, framing=GIVEN),
        lambda model, images: list(
            core.explain_stream(model, iter(images), ["rollout", "legrad"], framing=GIVEN)
        ),
    ],
    ids=["explain", "predict", "explain_stream"],
)
def test_only_one_recording_lives_at_a_time(
    run: Callable[..., Any],
    living: weakref.WeakSet[Recording],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, score = built("timm").model, built("timm").model.score
    alive: list[int] = []

    def counted(pixels: Tensor) -> Tensor:
        alive.append(len(living))
        return score(pixels)

    monkeypatch.setattr(model, "score", counted)
    run(model, list(stream(2 * WINDOW, [])))
    assert len(alive) > 5
    assert set(alive) == {1}, "the one whose pass it is"
    assert not living


@pytest.mark.usefixtures("usual_capacity")
def test_memory_budget_decides_how_many_share_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = built("timm").model, [picture(16, 16, seed) for seed in range(5)]
    size = (16 * PATCH, 16 * PATCH)
    each, with_gradients = model.footprint(size), model.footprint(size, gradients=True)
    assert with_gradients < 3 * each < 2 * with_gradients
    core.configure(memory=3 * each)
    passes = count_passes(model, monkeypatch)
    maps = core.explain(model, images, "rollout", framing=GIVEN)
    assert passes == [3, 2]
    passes.clear()
    core.explain(model, images, "legrad", framing=GIVEN)
    assert passes == [1] * 5
    with pytest.raises(ImageError, match=r"4 picture.*64 × 64 pixels.*Tiny timm"):
        core.record(model, images[:4], GIVEN)
    with pytest.raises(ImageError, match=r"2 picture.*with gradients"):
        core.record(model, images[:2], GIVEN, core.needs(model, "legrad"))
    core.configure(memory=capacity.MEMORY)
    whole = core.explain(model, images, "rollout", framing=GIVEN)
    for one, other in zip(maps, whole, strict=True):
        close(one.relevance, other.relevance)
