"""Whatever state of PyTorch the caller is in, results are the same and the state stays."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import core
from core import numerics
from core.errors import ParameterError
from core.methods.registry import all_methods
from core.models import Model
from tests.support.builders import (
    BRIEF,
    CNN_PREPROCESSING,
    CNNS,
    FEW_PASSES,
    GIVEN,
    PREPROCESSING,
    RECIPES,
    as_model,
    builds,
    built,
    pictures,
    shake,
)

State = Callable[[], AbstractContextManager[Any]]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Another default dtype for the length of a ``with`` block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


STATES: dict[str, State] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "default device": lambda: torch.device("meta"),
}
NETWORKS = ("timm resnet", "timm", "timm rotary")


def state_now() -> tuple[Any, ...]:
    """All of the caller's state that a computation depends on."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.get_default_dtype(),
        torch.get_default_device(),
    )


def fresh(name: str) -> Model:
    """A tiny network that nothing was asked of yet, always with the same weights."""
    cnn = name in CNNS
    return as_model(
        shake(RECIPES[name].make()),
        "cnn" if cnn else "vit",
        preprocessing=CNN_PREPROCESSING if cnn else PREPROCESSING,
    )


def _of_text(value: Any) -> bool:
    inner = value[0] if isinstance(value, tuple) and value else value
    return isinstance(inner, str) or (isinstance(inner, tuple) and _of_text(inner))


def numbers(value: Any) -> dict[str, Any]:
    """Everything in a result that can be compared, by a path to it."""
    if isinstance(value, core.Explanation):
        return {
            "map": value.relevance,
            "prefix": value.prefix_mass or 0.0,
            "class": -1 if value.target is None else value.target,
            "blank": value.is_blank,
        } | {f"remark {i}": note for i, note in enumerate(value.notes)}
    if isinstance(value, core.Prediction):
        return {"logits": value.logits, "first": value.probabilities, "indices": value.indices}
    if isinstance(value, core.Faithfulness):
        return {"deletion": value.deletion, "insertion": value.insertion}
    if isinstance(value, core.Robustness):
        return {"probabilities": value.probabilities, "intact": value.intact}
    if isinstance(value, core.Randomization):
        return {"maps": value.relevance, "correlation": value.rank_correlation}
    if isinstance(value, core.Maximization):
        return {
            "image": np.asarray(value.image),
            "history": value.history,
            "transparency": value.transparency,
        }
    if isinstance(value, core.Answer):
        found = {f"of {name}": numbers(one) for name, one in value.explanations.items()}
        found["answer"] = numbers(value.prediction)
        return {f"{a} {b}": part for a, parts in found.items() for b, part in parts.items()}
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        arrays = {k: v for k, v in fields.items() if isinstance(v, np.ndarray | tuple | float)}
        return numbers({k: v for k, v in arrays.items() if not _of_text(v)})
    if isinstance(value, list | tuple):
        return {f"{i} {k}": v for i, one in enumerate(value) for k, v in numbers(one).items()}
    if isinstance(value, Mapping):
        return {f"{name} {k}": v for name, one in value.items() for k, v in numbers(one).items()}
    if isinstance(value, torch.Tensor):
        assert not value.is_inference()
        return {"values": value.detach().numpy()}
    return {"values": np.asarray(value)}


def same(found: Any, wanted: Any, tolerance: float = 1e-6) -> None:
    """Equal up to a millionth of the largest value of each part."""
    one, other = numbers(found), numbers(wanted)
    assert one.keys() == other.keys()
    for key, values in other.items():
        if isinstance(values, str):
            assert one[key] == values
            continue
        scale = float(np.nanmax(np.abs(np.asarray(values, dtype=np.float64)), initial=1.0))
        np.testing.assert_allclose(
            np.asarray(one[key], dtype=np.float64),
            np.asarray(values, dtype=np.float64),
            rtol=0,
            atol=tolerance * scale,
            err_msg=key,
        )


def attention_of(model: Model, image: Image.Image) -> dict[str, Any]:
    """All that attention can tell."""
    found = core.attention(model, image, GIVEN)
    return {
        "mosaic": found.mosaic(),
        "one query": found.maps(0, 1),
        "matrix": found.matrix(0, 1),
        "prefix": found.mass_on_prefix,
        "joints": found.joints("mean", 0.3),
        "received": found.received(),
        "artifacts": found.artifacts(),
        "mask": found.mask(0),
        "query": found.projection("query", 1, 0, 1),
        "value": found.projection("value", 1, 0, 1),
    }


def calls_for(model: Model, images: list[Image.Image]) -> dict[str, Callable[[], Any]]:
    """One call of every kind that computes, by name."""
    image = images[0]
    relevance = np.arange(6, dtype=np.float32).reshape(2, 3)
    objective = core.class_logit(1)

    def explained(method: str) -> Callable[[], Any]:
        return lambda: core.explain(model, images, method, framing=GIVEN)

    def streamed() -> list[core.Answer]:
        names = [name for name in ("grad_cam", "hirescam", "rollout", "legrad") if name in offered]
        return list(core.explain_stream(model, images, names, framing=GIVEN))

    def recorded() -> list[torch.Tensor]:
        tap = next(iter(model.taps))
        batches = list(core.record_stream(model, images, GIVEN, core.Needs([tap], [tap])))
        found = [batch.recording.tensor(tap) for batch in batches]
        found += [batch.recording.on_grid(tap) for batch in batches]
        found += [b.recording.gradients([tap], [1] * len(b.places))[tap] for b in batches]
        found += [b.recording.grid_gradients(tap, [2] * len(b.places)) for b in batches]
        return found

    offered = [method.name for method in core.methods(model)]
    found: dict[str, Callable[[], Any]] = {f"explain {name}": explained(name) for name in offered}
    found |= {
        "predict": lambda: core.predict(model, images, framing=GIVEN),
        "pixels": lambda: model.pixels(image, GIVEN),
        "record": recorded,
        "explain_stream": streamed,
        "features": lambda: core.features(model, image, list(model.taps)[-1], GIVEN),
        "faithfulness": lambda: core.faithfulness(model, image, relevance, framing=GIVEN, steps=3),
        "faithfulness_stream": lambda: list(
            core.faithfulness_stream(model, [(image, relevance)], framing=GIVEN, steps=3)
        ),
        "what_if": lambda: core.what_if(model, image, relevance > 2, framing=GIVEN),
        "robustness": lambda: core.robustness(model, image, "blur", (0, 0.1), framing=GIVEN),
        "maximize": lambda: core.maximize(model, objective, steps=3, size=(16, 16)),
        "maximize the phase": lambda: core.maximize(
            model, objective, steps=3, size=(16, 16), parameterization="phase"
        ),
    }
    channel = (
        core.block_channel(1, 2)
        if "block.0.output" in model.taps
        else core.conv_channel(model.layers[1].name, 2)
    )
    found["maximize a channel"] = lambda: core.maximize(model, channel, steps=2, size=(16, 16))
    first = "grad_cam"
    found["randomization"] = lambda: core.randomization(
        model, image, first, 1, framing=GIVEN, depths=core.depths_of(model)[:2]
    )
    if "attention" in offered:
        found["attention"] = lambda: attention_of(model, image)
    return found | layerwise_calls(model, images)


def layerwise_calls(model: Model, images: list[Image.Image]) -> dict[str, Callable[[], Any]]:
    """The calls that look at all layers, with four pictures."""
    four = [*images, *(image.transpose(Image.Transpose.ROTATE_180) for image in images)]
    found: dict[str, Callable[[], Any]] = {
        "cka": lambda: core.cka(model, four, GIVEN),
        "token_norms": lambda: core.token_norms(model, images, GIVEN),
        "neighbors": lambda: core.neighbors(model, four, 1, GIVEN),
        "receptive_field": lambda: core.receptive_field(model, model.layers[1].name, images, GIVEN),
        "receptive_field of noise": lambda: core.receptive_field(
            model, model.layers[1].name, framing=core.Framing("crop", 32), noise=1
        ),
    }
    if isinstance(model, core.VisionTransformer):
        found["attention_distance"] = lambda: core.attention_distance(model, images, GIVEN)
        found["ablate"] = lambda: core.ablate(model, images, "heads", "mean", GIVEN)
        if model.reads_class_token:
            found["logit_lens"] = lambda: core.logit_lens(model, images, GIVEN)
    return found


REFERENCES: dict[str, dict[str, Any]] = {}


def reference(name: str) -> dict[str, Any]:
    """What every call gives in the plain state, found once."""
    if name not in REFERENCES:
        calls = calls_for(fresh(name), pictures(name, 2))
        REFERENCES[name] = {what: call() for what, call in calls.items()}
    return REFERENCES[name]


@pytest.mark.parametrize("name", builds(NETWORKS))
@pytest.mark.parametrize("state", STATES)
def test_every_result_is_the_same_in_every_state(state: str, name: str) -> None:
    wanted = reference(name)
    model, images = fresh(name), pictures(name, 2)
    wrong = {}
    for what, call in calls_for(model, images).items():
        with STATES[state]():
            before = state_now()
            try:
                found = call()
                error = None
            except Exception as raised:
                error = raised
            after = state_now()
        assert after == before, f"{what} changed the state of its caller"
        if error is None:
            try:
                same(found, wanted[what])
            except AssertionError as difference:
                error = difference
        if error is not None:
            wrong[what] = f"{type(error).__name__}: {str(error).strip()[:300]}"
    assert wrong == {}, f"{len(wrong)} of {len(wanted)}"
    # What was computed and kept within the state serves outside of it.
    for what, call in calls_for(model, images).items():
        same(call(), wanted[what])


def test_every_registered_method_is_tried() -> None:
    tried = {method.name for name in NETWORKS for method in core.methods(built(name).model)}
    # Of windows it has the arithmetic of attention, which is tried.
    assert tried == set(all_methods()) - {"window_attention"}
    assert set(BRIEF) <= tried


@pytest.mark.parametrize("name", builds(NETWORKS))
@pytest.mark.parametrize("state", STATES)
def test_a_recording_serves_inside_and_outside(state: str, name: str) -> None:
    """Begun outside and read inside, and the other way round."""
    images, wanted = pictures(name, 2), reference(name)
    names = [m.name for m in core.methods(built(name).model) if m.name not in BRIEF]

    def maps(model: Model, recording: core.Recording) -> dict[str, Any]:
        return {f"explain {one}": core.explain(model, recording, one) for one in names}

    model = fresh(name)
    outside = core.record(model, images, GIVEN)
    with STATES[state]():
        inside = core.record(model, images, GIVEN)
        found = maps(model, outside)
    for read in (found, maps(model, inside)):
        for what, one in read.items():
            same(one, wanted[what])


@pytest.mark.parametrize("state", STATES)
def test_nothing_leaks_between_two_items_of_a_stream(state: str) -> None:
    model, images = built("timm").model, [*pictures("timm", 1), *pictures("plain", 1)]
    relevance = np.arange(6.0).reshape(2, 3)
    streams: dict[str, Callable[[], Iterator[Any]]] = {
        "record_stream": lambda: core.record_stream(model, images, GIVEN),
        "explain_stream": lambda: core.explain_stream(model, images, ["legrad"], framing=GIVEN),
        "faithfulness_stream": lambda: core.faithfulness_stream(
            model, [(image, relevance) for image in images], framing=GIVEN, steps=1
        ),
    }
    for what, begin in streams.items():
        with STATES[state]():
            before = state_now()
            stream = begin()
            for number, _ in enumerate(stream):
                assert state_now() == before, f"{what}, item {number}"
            del stream
            left = begin()
            next(left)
            assert state_now() == before, what
        plain = state_now()
        left.close()  # type: ignore[attr-defined]
        assert state_now() == plain, what


def test_threads_in_different_states_share_one_recording() -> None:
    model, images = fresh("timm"), pictures("timm", 2)
    wanted = reference("timm")["explain legrad"]
    recording = core.record(model, images, GIVEN)

    def look(state: str) -> list[Any]:
        with STATES[state]():
            return [core.explain(model, recording, "legrad") for _ in range(3)]

    # Only states that belong to a thread: the default dtype is everybody's.
    chosen = ["no_grad", "inference_mode", "autocast", "default device"]
    with ThreadPoolExecutor(len(chosen)) as pool:
        for found in pool.map(look, chosen):
            for one in found:
                same(one, wanted)


@pytest.mark.parametrize("state", STATES)
def test_an_error_leaves_the_state_as_well(state: str) -> None:
    case = built("timm")
    (image,) = pictures("timm", 1)
    with STATES[state]():
        before = state_now()
        with pytest.raises(ParameterError):
            core.explain(case.model, image, "attention", framing=GIVEN, layer=0, head=99)
        with pytest.raises(ParameterError):
            core.maximize(case.model, core.block_channel(99, 0), steps=1, size=16)
        with pytest.raises(RuntimeError, match="in between"), numerics.own_state():
            raise RuntimeError("in between")
        assert state_now() == before


def test_whoever_watches_a_maximization_is_in_the_callers_state() -> None:
    seen = []
    with torch.no_grad():
        before = state_now()
        core.maximize(
            built("timm").model,
            core.class_logit(1),
            steps=2,
            size=16,
            on_step=lambda *_: seen.append(state_now()),
        )
    assert seen == [before] * 2


@pytest.mark.slow
@pytest.mark.parametrize("model_id", core.default_models())
@pytest.mark.parametrize("state", STATES)
def test_the_embedded_models_open_in_every_state(state: str, model_id: str) -> None:
    image = core.read_image(core.samples()[0].path)
    method = "grad_cam"
    if model_id not in REFERENCES:
        model = core.open_model(model_id)
        REFERENCES[model_id] = {
            "predict": core.predict(model, image),
            "map": core.explain(model, image, method),
            "kinds": {name: str(t.dtype) for name, t in model.module.state_dict().items()},
        }
    wanted = REFERENCES[model_id]
    with STATES[state]():
        before = state_now()
        model = core.open_model(model_id)
        assert state_now() == before
        same(core.predict(model, image), wanted["predict"])
        same(core.explain(model, image, method), wanted["map"])
    tensors = model.module.state_dict()
    assert {name: str(tensor.dtype) for name, tensor in tensors.items()} == wanted["kinds"]
    assert not any(tensor.is_inference() for tensor in tensors.values())
    same(core.predict(model, image), wanted["predict"])
    same(core.explain(model, image, method), wanted["map"])
    assert set(FEW_PASSES) == {*BRIEF, "attention_flow"}


@pytest.mark.parametrize("name", ["hf vit", "torchvision", "torchvision resnet", "plain"])
@pytest.mark.parametrize("state", STATES)
def test_networks_of_other_libraries_open_in_every_state(state: str, name: str) -> None:
    images = pictures(name, 1)
    wanted = core.predict(fresh(name), images, framing=GIVEN)
    module = shake(RECIPES[name].make())
    cnn = name in CNNS
    with STATES[state]():
        model = as_model(
            module,
            "cnn" if cnn else "vit",
            preprocessing=CNN_PREPROCESSING if cnn else PREPROCESSING,
        )
        same(core.predict(model, images, framing=GIVEN), wanted)
    same(core.predict(model, images, framing=GIVEN), wanted)


# -- every tensor names its dtype -----------------------------------------------------------------

CREATING = {
    "arange", "as_tensor", "empty", "eye", "fftfreq", "full", "linspace", "logspace", "ones",
    "rand", "randint", "randn", "randperm", "rfftfreq", "scalar_tensor", "tensor", "zeros",
}  # fmt: skip
ROOT = Path(core.__file__).parent


def without_dtype(text: str) -> list[str]:
    """Calls in code that make a tensor and leave its dtype to the process."""
    tree = ast.parse(text)
    taken = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "torch"
        for alias in node.names
    }
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        first, _, last = called.rpartition(".")
        of_torch = first.split(".")[0] == "torch" if first else last in taken
        if of_torch and last in CREATING and "dtype" not in {k.arg for k in node.keywords}:
            found.append(f"line {node.lineno}: {called}")
        if called.startswith("torch.set_default") or called == "torch.Tensor":
            found.append(f"line {node.lineno}: {called}")
    return found


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.stem)
def test_every_tensor_names_its_dtype(path: Path) -> None:
    assert without_dtype(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.zeros(3)",
        "import torch\ntorch.fft.fftfreq(3)",
        "from torch import tensor\ntensor([1])",
        "import torch\ntorch.rand(3, generator=g)",
        "import torch\ntorch.set_default_dtype(torch.float64)",
    ],
)
def test_a_tensor_without_dtype_would_be_seen(text: str) -> None:
    assert without_dtype(text)
    assert not without_dtype("import torch\ntorch.zeros(3, dtype=torch.float32)\nx.tensor('tap')")


def test_only_one_place_asks_for_the_callers_state() -> None:
    """`core.numerics` alone switches modes, so none of them is forgotten elsewhere."""
    switches = ("inference_mode(", "enable_grad(", "no_grad(", "set_grad_enabled(", "autocast(")
    found = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if any(f"torch.{switch}" in path.read_text(encoding="utf-8") for switch in switches)
    }
    assert found == {"numerics.py"}
