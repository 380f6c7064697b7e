"""A shared model is looked into and stays as it is: bit for bit, from any number of threads."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import core
from core import capacity, probes
from core.errors import BusyError
from core.methods.registry import all_methods
from core.models import Model
from core.recording.recording import REMEMBERED_GRADIENTS
from core.recording.run import Needs
from tests.support.builders import (
    CNNS,
    GIVEN,
    PATCH,
    RECIPES,
    SIDE,
    VITS,
    Built,
    answer,
    builds,
    built,
    picture,
    pictures,
    pixels_of,
    served,
    spread,
)

AT_PIXELS = ("lrp", "integrated_gradients", "input_x_gradient", "smooth_grad")
"""Methods that ask for gradients at the pixels, which no tap stands for."""

CALLS = spread()


def state(module: nn.Module) -> dict[str, Any]:
    """Everything about a network that a request could leave changed."""
    hooks = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_backward_pre_hooks",
        "_state_dict_hooks",
        "_load_state_dict_pre_hooks",
    )
    found: dict[str, Any] = {}
    for name, part in module.named_modules():
        plain = (bool, int, float, str, type(None))
        flags = {key: value for key, value in vars(part).items() if isinstance(value, plain)}
        found[name] = (
            {hook: [id(h) for h in getattr(part, hook).values()] for hook in hooks},
            flags,
            sorted(vars(part)),
        )
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        found[f"tensor {name}"] = (
            tensor.requires_grad,
            tensor.grad is None,
            tensor.data_ptr(),
            tensor.detach().numpy().tobytes(),
        )
    return found


def free_places() -> int:
    """How many passes could start right now; this very context must hold no place."""
    count = 0
    with contextlib.ExitStack() as held:
        while True:
            context, place = contextvars.Context(), core.admitted(patience=0)
            try:
                context.run(place.__enter__)
            except BusyError:
                break
            held.callback(context.run, place.__exit__, None, None, None)
            count += 1
        with pytest.raises(BusyError), core.admitted(patience=0):
            pass
    return count


def is_recorded(case: Built) -> bool:
    """Whether a pass that is run now, in this context, would be written down."""

    def note(_self: probes.Recorder, _name: str, tensor: Tensor, *_: Any) -> Tensor:
        noted.append(_name)
        return tensor

    noted: list[str] = []
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(probes.Recorder, "record", note)
        answer(case.model.module, pixels_of(case, pictures(case.name, 1)))
    return bool(noted)


def assert_untouched(case: Built, before: dict[str, Any]) -> None:
    """The model is as it was, no recorder is active and no place is taken."""
    assert state(case.model.module) == before
    assert free_places() == capacity.PASSES
    assert not is_recorded(case)


@pytest.mark.parametrize("name", builds(RECIPES))
def test_opened_model_is_frozen(name: str) -> None:
    module = built(name).model.module
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not any(part.training for part in module.modules())


@pytest.mark.parametrize("name", builds(RECIPES))
def test_recorded_logits_are_bit_identical(name: str) -> None:
    case = built(name)
    images = pictures(name, 3)
    recording = core.record(case.model, images, GIVEN)
    with torch.no_grad():
        bare = answer(case.bare, recording.pixels)
        probed = answer(case.model.module, recording.pixels)
    assert torch.equal(probed, bare)
    assert recording.logits is not None
    assert torch.equal(recording.logits, bare)
    for count, image in enumerate(images):
        with torch.no_grad():
            alone = answer(case.bare, case.model.pixels(image, GIVEN))[0]
        prediction = core.predict(case.model, image, framing=GIVEN)
        assert np.array_equal(prediction.logits, alone.numpy())
        assert torch.equal(recording.pixels[count], case.model.pixels(image, GIVEN)[0])


@pytest.mark.parametrize(("name", "method"), CALLS)
def test_logits_under_a_gradient(name: str, method: str) -> None:
    """A pass that builds a graph answers the same; torchvision takes another kernel there."""
    case = built(name)
    image = pictures(name, 1)[0]
    with torch.no_grad():
        bare = answer(case.bare, case.model.pixels(image, GIVEN))[0].numpy()
    prediction = core.explain(case.model, image, method, 1, framing=GIVEN).prediction
    assert prediction is not None
    if name == "torchvision":
        np.testing.assert_allclose(prediction.logits, bare, rtol=1e-5, atol=1e-5)
    else:
        assert np.array_equal(prediction.logits, bare)


@pytest.mark.parametrize(("name", "method"), CALLS)
def test_method_leaves_the_model_as_it_was(name: str, method: str) -> None:
    model, image = built(name).model, pictures(name, 1)[0]
    before = state(model.module)
    core.explain(model, [image, image], method, [0, 1], framing=GIVEN)
    core.explain(model, core.record(model, image, GIVEN), method, 1)
    if name in VITS:
        core.attention(model, image, GIVEN).joints()
    assert_untouched(built(name), before)


class Midway(RuntimeError):
    """Raised inside."""


def stop(*_args: Any, **_kwargs: Any) -> Any:
    """Fail."""
    raise Midway


def within_the_network(model: Model, patch: pytest.MonkeyPatch) -> None:
    """A late layer fails during the forward pass."""
    parts = [part for part in model.module.modules() if isinstance(part, nn.Linear)]
    patch.setattr(parts[-1], "forward", stop)


def within_the_backward_pass(_model: Model, patch: pytest.MonkeyPatch) -> None:
    """Autograd fails, by either of its ways in."""
    patch.setattr(torch.autograd, "grad", stop)
    patch.setattr(torch.autograd, "backward", stop)


def within_the_arithmetic(model: Model, patch: pytest.MonkeyPatch) -> None:
    """The method itself fails, as late as it can be made to."""
    from core.methods import registry

    for name, method in all_methods().items():

        def run(*args: Any, run: Any = method.run) -> Any:
            run(*args)
            raise Midway

        patch.setitem(registry.all_methods(), name, dataclasses.replace(method, run=run))


def takes_gradients(name: str, method: str) -> bool:
    """Whether a method asks for gradients of this model."""
    return bool(core.needs(built(name).model, method).gradients) or method in AT_PIXELS


@pytest.mark.parametrize(("name", "method"), CALLS)
def test_failure_midway_leaves_nothing_behind(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a method that states no gradients gives its map where none can be had."""
    model, image = built(name).model, pictures(name, 1)[0]

    def found() -> np.ndarray:
        return core.explain(model, image, method, 1, framing=GIVEN).relevance

    wanted, before = found(), state(model.module)
    for failure in (within_the_network, within_the_backward_pass, within_the_arithmetic):
        with monkeypatch.context() as patch:
            failure(model, patch)
            if failure is not within_the_backward_pass or takes_gradients(name, method):
                with pytest.raises(Midway):
                    found()
            else:
                np.testing.assert_array_equal(found(), wanted)
        assert_untouched(built(name), before)
        np.testing.assert_array_equal(found(), wanted, failure.__name__)


def test_both_kinds_of_method_meet_a_failing_backward_pass() -> None:
    kinds = [takes_gradients(name, method) for name, method in CALLS]
    assert 0 < sum(kinds) < len(kinds)


def test_state_notices_what_it_should() -> None:
    """The comparison above can fail: each kind of change shows."""
    changes: list[Callable[[Any], Any]] = [
        lambda m: m.layer1.register_forward_hook(lambda *_: None),
        lambda m: m.fc.register_full_backward_hook(lambda *_: None),
        lambda m: m.train(),
        lambda m: m.requires_grad_(True),
        lambda m: m.fc.bias.data.add_(1e-6),
        lambda m: setattr(m.fc, "flag", True),
    ]
    for change in changes:
        module = RECIPES["plain"].make().eval().requires_grad_(False)
        before = state(module)
        change(module)
        assert state(module) != before


@pytest.mark.parametrize(
    ("mode", "grid"), [(torch.no_grad, (4, 5)), (torch.inference_mode, (5, 4))]
)
@pytest.mark.parametrize("name", builds(RECIPES))
def test_callers_without_gradients_get_the_same(
    name: str, mode: Callable[..., Any], grid: tuple[int, int]
) -> None:
    """And leave nothing behind that would forbid a gradient later on."""
    case = built(name)
    methods = [method for one, method in CALLS if one == name]
    # A size of its own: whatever a model keeps for a size is made within the mode.
    own_size = name in VITS and case.model.flexible
    images = [picture(*grid, seed) for seed in (0, 1)] if own_size else pictures(name, 2)

    def maps(recording: core.Recording) -> list[Any]:
        found = [core.explain(case.model, recording, method, 1) for method in methods]
        return [one.relevance for several in found for one in several]

    with mode():
        within = core.record(case.model, images, GIVEN)
        found = maps(within)
        untouched = core.record(case.model, images, GIVEN)
    wanted = maps(core.record(case.model, images, GIVEN))
    for recorded in (found, maps(within), maps(untouched)):
        for one, other in zip(recorded, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
    if name in VITS:
        size = (grid[0] * PATCH, grid[1] * PATCH) if own_size else SIDE
        core.maximize(case.model, core.head_channel(1, 0, 1, "query"), steps=1, size=size)


@pytest.mark.parametrize("name", builds(RECIPES))
def test_without_a_recorder_nothing_is_recorded(name: str) -> None:
    case = built(name)
    recording = core.record(case.model, pictures(name, 1), GIVEN)
    kept = {tap: recording.tensor(tap).clone() for tap in recording.needs.keep}
    assert not is_recorded(case)
    with probes.recording(probes.Recorder(())):
        assert is_recorded(case)
    assert kept
    for tap, tensor in kept.items():
        assert torch.equal(recording.tensor(tap), tensor)


def test_recorder_keeps_what_it_was_asked_for_and_no_more() -> None:
    case = built("plain")
    recorder = probes.Recorder({"stage.0"})
    with torch.no_grad(), probes.recording(recorder) as active:
        assert active is recorder
        answer(case.model.module, pixels_of(case, pictures("plain", 1)))
    assert set(recorder.tensors) == {"stage.0"}
    assert not recorder.tensors["stage.0"].requires_grad


def test_recorder_of_one_thread_is_not_that_of_another() -> None:
    case = built("timm")
    outside: list[bool] = []
    recorder = probes.Recorder({"block.0.input"})
    with probes.recording(recorder):
        thread = threading.Thread(target=lambda: outside.append(is_recorded(case)))
        thread.start()
        thread.join()
        assert outside == [False]
        assert not recorder.tensors
        assert is_recorded(case)
    assert not is_recorded(case)


def test_recorder_ends_with_an_error() -> None:
    case = built("plain")
    with pytest.raises(Midway), probes.recording(probes.Recorder({"stage.0"})):
        stop()
    assert not is_recorded(case)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["timm registers", "timm rotary", "torchvision", "hf dinov2", "plain"]
)
def test_four_threads_share_one_model(name: str) -> None:
    """Many calls at once give exactly what one thread gives."""
    model = built(name).model
    images = pictures(name, 3)
    jobs = [
        (method, image, target)
        for method in served(name)
        for image in range(3)
        for target in (0, 3)
    ]
    shared = [core.record(model, image, GIVEN) for image in images]

    def work(job: tuple[str, int, int]) -> tuple[Any, Any]:
        method, image, target = job
        alone = core.explain(model, images[image], method, target, framing=GIVEN)
        recorded = core.explain(model, shared[image], method, target)
        return alone.relevance, recorded.relevance

    before = state(model.module)
    wanted = {job: work(job) for job in jobs}
    with ThreadPoolExecutor(4) as pool:
        torch.set_num_threads(1)
        results = list(pool.map(work, jobs * 3))
    for job, (alone, recorded) in zip(jobs * 3, results, strict=True):
        np.testing.assert_array_equal(alone, wanted[job][0])
        np.testing.assert_array_equal(recorded, wanted[job][1])
    assert_untouched(built(name), before)


def tensors_with_a_graph() -> set[int]:
    """Ids of living tensors that hold a gradient graph."""
    gc.collect()
    living = [thing for thing in gc.get_objects() if type(thing) is Tensor]
    return {id(tensor) for tensor in living if tensor.grad_fn is not None}


def inside(thing: Any) -> list[Any]:
    """A value and all values within it."""
    if dataclasses.is_dataclass(thing):
        parts: list[Any] = [getattr(thing, field.name) for field in dataclasses.fields(thing)]
    elif isinstance(thing, dict):
        parts = [*thing.keys(), *thing.values()]
    elif isinstance(thing, tuple | list):
        parts = list(thing)
    else:
        parts = []
    return [thing, *[value for part in parts for value in inside(part)]]


@pytest.mark.parametrize(("name", "method"), CALLS)
def test_explanation_holds_no_tensor(name: str, method: str) -> None:
    explanations = core.explain(built(name).model, pictures(name, 2), method, framing=GIVEN)
    assert not [value for value in inside(explanations) if isinstance(value, Tensor)]
    assert all(type(one.relevance) is np.ndarray for one in explanations)
    with pytest.raises(dataclasses.FrozenInstanceError):
        explanations[0].target = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "method"),
    [("timm", "legrad"), ("torchvision", "gradient_rollout"), ("plain", "layer_cam")],
)
def test_no_graph_outlives_an_explanation(name: str, method: str) -> None:
    before = tensors_with_a_graph()
    explanations = core.explain(built(name).model, pictures(name, 2), method, framing=GIVEN)
    assert not tensors_with_a_graph() - before
    assert explanations


@pytest.mark.parametrize(("name", "method"), [("timm", "gradient_rollout"), ("plain", "layer_cam")])
def test_recording_lets_go_of_its_graph(name: str, method: str) -> None:
    before = tensors_with_a_graph()
    recording = core.record(built(name).model, pictures(name, 1), GIVEN)
    usual = tensors_with_a_graph() - before
    params = {"layer": "stage.0"} if name in CNNS else {}
    core.explain(built(name).model, recording, method, 1, **params)
    assert len(tensors_with_a_graph() - before) > len(usual)
    recording.release()
    assert not tensors_with_a_graph() - before
    assert not any(recording.tensor(tap).requires_grad for tap in recording.needs.keep)


def test_graph_that_costs_nothing_is_kept() -> None:
    """That of a convolutional network's pooling and classifier serves any class, also later."""
    case = built("plain")
    recording = core.record(case.model, pictures("plain", 1), GIVEN)
    recording.release()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(case.model, "score", stop)
        for target in range(5):
            core.explain(case.model, recording, "grad_cam", target)


@pytest.mark.parametrize("name", ["timm", "plain"])
def test_remembered_gradients_are_bounded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tap = "block.1.context" if name in VITS else "head.input"
    recording = core.record(built(name).model, pictures(name, 3), GIVEN, Needs([], [tap]))
    backward, calls = torch.autograd.grad, [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return backward(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counted)

    def ask(number: int) -> int:
        """Ask for the gradient of other classes; gives the backward passes so far."""
        recording.gradients([tap], [number % 5, number // 5, 0])
        return calls[0]

    count = 20
    assert [ask(number) for number in range(count)] == list(range(1, count + 1))
    for number in range(count - REMEMBERED_GRADIENTS, count):
        assert ask(number) == count
    assert ask(count - REMEMBERED_GRADIENTS - 1) == count + 1, "it was to be forgotten"


def test_places_are_limited_and_nested() -> None:
    assert free_places() == capacity.PASSES
    with core.admitted(), core.admitted(), core.admitted():
        others = contextvars.Context().run(free_places)
        assert others == capacity.PASSES - 1
    with contextlib.ExitStack() as held:
        for _ in range(capacity.PASSES):
            context, place = contextvars.Context(), core.admitted()
            context.run(place.__enter__)
            held.callback(context.run, place.__exit__, None, None, None)
        with (
            pytest.raises(BusyError, match=r"slots for network passes.*try again"),
            core.admitted(patience=0.01),
        ):
            pass
    assert free_places() == capacity.PASSES


def test_capacity_is_configured_by_a_call() -> None:
    core.configure(passes=5, patience=0)
    try:
        assert free_places() == 5
    finally:
        core.configure(capacity.PASSES, capacity.PATIENCE, capacity.MEMORY)
    assert free_places() == capacity.PASSES
    assert capacity.memory_budget() == capacity.MEMORY


@pytest.mark.parametrize("wrong", [{"passes": 0}, {"patience": -1}, {"memory": 5}], ids=str)
def test_capacity_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(core.ParameterError, match=str(next(iter(wrong.values())))):
        core.configure(**wrong)
    assert free_places() == capacity.PASSES
