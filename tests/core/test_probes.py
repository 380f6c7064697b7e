"""A shared model is looked into and stays as it is: bit for bit, from any number of threads."""

from __future__ import annotations

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
from core import admission, probes
from core.methods.registry import all_methods
from core.models import Model
from tests.support.builders import GIVEN, RECIPES, VITS, answer, built, picture, pictures

CALLS = [
    (name, method)
    for name in RECIPES
    for method in sorted(all_methods())
    if (all_methods()[method].family == "vit") == (name in VITS)
    and (method != "cam" or RECIPES[name].linear)
]


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


def assert_untouched(model: Model, before: dict[str, Any]) -> None:
    """The model is as it was, no recorder is active and no place is taken."""
    assert state(model.module) == before
    assert probes._recorder.get() is None
    assert not admission._inside.get()
    assert admission._places._value == admission.PLACES


@pytest.mark.parametrize("name", RECIPES)
def test_opened_model_is_frozen(name: str) -> None:
    module = built(name).model.module
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not any(part.training for part in module.modules())


@pytest.mark.parametrize("name", RECIPES)
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
    assert_untouched(model, before)


class Midway(RuntimeError):
    """Raised inside."""


def stop(*_args: Any, **_kwargs: Any) -> Any:
    """Fail."""
    raise Midway


def within_the_network(model: Model, patch: pytest.MonkeyPatch) -> None:
    """A late layer fails during the forward pass."""
    parts = [part for part in model.module.modules() if isinstance(part, nn.Linear)]
    patch.setattr(parts[-1], "forward", stop)


def within_the_backward_pass(model: Model, patch: pytest.MonkeyPatch) -> None:
    """Autograd fails."""
    patch.setattr(torch.autograd, "grad", stop)


def within_the_arithmetic(model: Model, patch: pytest.MonkeyPatch) -> None:
    """The method itself fails, as late as it can be made to."""
    from core.methods import registry

    for name, method in all_methods().items():

        def run(*args: Any, run: Any = method.run) -> Any:
            run(*args)
            raise Midway

        patch.setitem(registry.all_methods(), name, dataclasses.replace(method, run=run))


@pytest.mark.parametrize(
    "failure", [within_the_network, within_the_backward_pass, within_the_arithmetic]
)
@pytest.mark.parametrize(("name", "method"), CALLS)
def test_failure_midway_leaves_nothing_behind(
    name: str, method: str, failure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = built(name).model, pictures(name, 1)[0]
    wanted = core.explain(model, image, method, 1, framing=GIVEN).relevance
    before = state(model.module)
    needs_gradient = method not in ("attention", "rollout", "cam")
    with monkeypatch.context() as patch:
        failure(model, patch)
        if failure is within_the_backward_pass and not needs_gradient:
            core.explain(model, image, method, 1, framing=GIVEN)
        else:
            with pytest.raises(Midway):
                core.explain(model, image, method, 1, framing=GIVEN)
    assert_untouched(model, before)
    again = core.explain(model, image, method, 1, framing=GIVEN).relevance
    np.testing.assert_array_equal(again, wanted)


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


def test_without_a_recorder_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RECIPES:
        case, image = built(name), pictures(name, 1)[0]
        recording = core.record(case.model, image, GIVEN)
        kept = {key: tensor.clone() for key, tensor in recording.tensors.items()}
        with monkeypatch.context() as patch, torch.no_grad():
            patch.setattr(probes.Recorder, "see", stop)
            answer(case.model.module, case.model.pixels(pictures(name, 2)[1], GIVEN))
        assert kept.keys() == recording.tensors.keys()
        assert all(torch.equal(recording.tensors[key], kept[key]) for key in kept)


def test_recorder_keeps_what_it_was_asked_for_and_no_more() -> None:
    case = built("plain")
    pixels = case.model.pixels(picture(4, 4), GIVEN)
    recorder = probes.Recorder({"layer1"})
    with torch.no_grad(), probes.recording(recorder) as active:
        assert active is recorder
        answer(case.model.module, pixels)
    assert set(recorder.tensors) == {"layer1"}
    assert not recorder.tensors["layer1"].requires_grad


def test_recorder_of_one_thread_is_not_seen_by_another() -> None:
    case = built("timm")
    pixels = case.model.pixels(picture(2, 3), GIVEN)
    recorder = probes.Recorder({"blocks.0.qkv"})
    outside: list[Any] = []

    def elsewhere() -> None:
        outside.append(probes._recorder.get())
        with torch.no_grad():
            answer(case.model.module, pixels)

    with probes.recording(recorder):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert probes._recorder.get() is recorder
    assert outside == [None]
    assert not recorder.tensors


def test_recorder_ends_with_an_error() -> None:
    recorder = probes.Recorder({"layer1"})
    with pytest.raises(Midway), probes.recording(recorder):
        raise Midway
    assert probes._recorder.get() is None


@pytest.mark.parametrize("name", ["timm registers", "torchvision", "hf dinov2", "plain"])
def test_four_threads_share_one_model(name: str) -> None:
    """Many calls at once give exactly what one thread gives."""
    model = built(name).model
    family = "vit" if name in VITS else "cnn"
    images = pictures(name, 3)
    jobs = [
        (method, image, target)
        for method in sorted(all_methods())
        if all_methods()[method].family == family
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
    assert_untouched(model, before)


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


def test_recording_lets_go_of_its_graph() -> None:
    before = tensors_with_a_graph()
    recording = core.record(built("timm").model, picture(2, 3), GIVEN)
    assert not tensors_with_a_graph() - before
    core.explain(built("timm").model, recording, "gradient_rollout", 1)
    assert tensors_with_a_graph() - before
    recording.release()
    assert not tensors_with_a_graph() - before
    assert not any(tensor.requires_grad for tensor in recording.tensors.values())


@pytest.mark.parametrize("name", ["timm", "plain"])
def test_remembered_gradients_are_bounded(name: str) -> None:
    from core.recordings import REMEMBERED_GRADIENTS, GradientRequest

    model = built(name).model
    recording = core.record(model, pictures(name, 3), GIVEN)
    tap = "blocks.1.context" if name in VITS else "features"
    for number in range(20):
        targets = [number % 5, number // 5, 0]
        recording.gradients(GradientRequest((tap,)), targets)
    assert len(recording._gradients) == REMEMBERED_GRADIENTS


def test_places_are_limited_and_nested() -> None:
    from core.errors import BusyError

    with admission.admitted(), admission.admitted(), admission.admitted():
        assert admission._places._value == admission.PLACES - 1
    assert admission._places._value == admission.PLACES
    taken = [admission._places.acquire() for _ in range(admission.PLACES)]
    try:
        with (
            pytest.raises(BusyError, match=r"places for computing.*try again"),
            admission.admitted(patience=0.01),
        ):
            pass
    finally:
        for _ in taken:
            admission._places.release()
