"""The registry of methods: what is offered for which model, and a new file among the methods."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import core
from core.errors import ParameterError, UnknownMethod, UnsupportedMethod
from core.methods.registry import all_methods, find_method, supported
from core.models import Model
from tests.support.application import fresh, switch
from tests.support.builders import (
    GIVEN,
    RECIPES,
    VITS,
    as_model,
    builds,
    built,
    close,
    pictures,
    shake,
    timm_vit,
)

ROOT = Path(__file__).resolve().parents[2]

BOTH_KINDS = ["occlusion", "rise", "integrated_gradients", "input_x_gradient", "smooth_grad"]
FIELD_ORDER = {
    "vit": [
        "grad_cam",
        "rollout",
        "attention_flow",
        "attention",
        "gradient_rollout",
        "transformer_attribution",
        "legrad",
        "lrp",
        *BOTH_KINDS,
    ],
    "cnn": ["cam", "grad_cam", "grad_cam_plus_plus", "hirescam", "layer_cam", "lrp", *BOTH_KINDS],
}


def without_classes() -> Model:
    """A transformer that was trained without classes."""
    return as_model(shake(timm_vit(num_classes=0)), classes=0, title="Tiny without classes")


# -- what is offered ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", builds(RECIPES))
def test_methods_of_a_model_come_in_the_fields_order(name: str) -> None:
    model = built(name).model
    offered = core.methods(model)
    assert [m.order for m in offered] == sorted(m.order for m in offered)
    names = [m.name for m in offered]
    wanted = FIELD_ORDER["vit" if name in VITS else "cnn"]
    assert [n for n in names if n in wanted] == [
        n for n in wanted if n != "cam" or RECIPES[name].linear
    ]
    assert all(model.spec.family in m.serves for m in offered)


def test_no_two_methods_share_a_place_or_a_title() -> None:
    entries = all_methods().values()
    for key in ("order", "title", "meaning"):
        assert len({getattr(entry, key) for entry in entries}) == len(entries), key


@pytest.mark.parametrize("name", builds(RECIPES))
def test_what_is_not_offered_says_why(name: str) -> None:
    """Whether a method can serve a model never raises; explaining without it does."""
    model, image = built(name).model, pictures(name, 1)[0]
    offered = {m.name for m in core.methods(model)}
    for method in all_methods().values():
        reason = method.why_not(model)
        assert (reason is None) == (method.name in offered)
        if reason is None:
            continue
        assert reason.endswith(".")
        with pytest.raises(UnsupportedMethod) as caught:
            core.explain(model, image, method.name, framing=GIVEN)
        assert str(caught.value) == reason
        with pytest.raises(UnsupportedMethod):
            core.needs(model, method.name)
        with pytest.raises(UnsupportedMethod):
            supported(method.name, model)


def test_model_without_classes_is_offered_what_needs_none() -> None:
    model = without_classes()
    names = [m.name for m in core.methods(model)]
    every = all_methods().values()
    assert names == [m.name for m in every if "vit" in m.serves and not m.class_specific]
    assert {"rollout", "attention"} <= set(names)
    with pytest.raises(UnsupportedMethod, match=r"Tiny without classes .* without classes"):
        core.explain(model, pictures("timm", 1)[0], "legrad", 1, framing=GIVEN)


def test_unknown_method_names_the_known() -> None:
    with pytest.raises(UnknownMethod) as caught:
        core.find_method("gradcam")
    assert all(name in str(caught.value) for name in ("'gradcam'", *all_methods()))


@pytest.mark.parametrize("name", builds(RECIPES))
def test_defaults_are_within_their_ranges(name: str) -> None:
    model = built(name).model
    for method in core.methods(model):
        declared = {field.name for field in dataclasses.fields(method.parameters)}
        parameters = method.parameters_for(model)
        assert {p.name for p in parameters} == declared
        for parameter in parameters:
            assert parameter.accepts(parameter.default), (method.name, parameter.name)
            assert parameter.label
            assert parameter.help
        explanation = core.explain(model, pictures(name, 1)[0], method.name, 1, framing=GIVEN)
        assert explanation.params == {p.name: p.default for p in parameters}


@pytest.mark.parametrize("name", ["timm", "torchvision", "plain", "timm resnet"])
def test_values_out_of_range_are_refused(name: str) -> None:
    model = built(name).model
    wrong = {
        "number": lambda p: (p.low - 0.1, p.high + 0.1, "much", True, float("nan")),
        "choice": lambda p: ("", "none of them", None, 3),
        "index": lambda p: (-1, p.high + 1, "last", [0, "x"]),
        "span": lambda p: ((-1,), (int(p.high) + 1,), (), "ab", 2.5),
    }
    tried = set()
    for method in core.methods(model):
        for parameter in method.parameters_for(model):
            tried.add(parameter.kind)
            for value in wrong[parameter.kind](parameter):
                assert not parameter.accepts(value), (method.name, parameter.name, value)
                with pytest.raises(ParameterError, match=parameter.name):
                    core.needs(model, method.name, **{parameter.name: value})
    assert tried >= (set(wrong) if name in VITS else {"choice"})


# -- a new file -----------------------------------------------------------------------------------

NEW_FILE = '''\
"""How bright the picture is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch.nn.functional import adaptive_avg_pool2d

from core.methods.parameters import number
from core.methods.registry import Relevance, method
from core.models import Model
from core.recording.recording import Recording
from core.recording.run import Needs


@dataclass(frozen=True)
class BrightnessParameters:
    """By how much."""

    factor: float = number(1.0, 0.5, 2.0, 0.5, "Factor", "What brightness is multiplied by.")


@method(
    "brightness",
    title="Brightness of the picture",
    order=35,
    serves={serves!r},
    class_specific=False,
    meaning="The brightness of each place.",
    caveat="It knows nothing of the model.",
    source="nowhere",
    parameters=BrightnessParameters,
    needs=lambda model, parameters: Needs(),
)
def brightness(
    recording: Recording, targets: Sequence[int], parameters: BrightnessParameters
) -> Relevance:
    """Mean over colors of a grid of 4 by 6 places."""
    means = adaptive_avg_pool2d(recording.pixels.mean(dim=1, keepdim=True), (4, 6))
    return Relevance(parameters.factor * means[:, 0])
'''


@pytest.fixture
def new_file(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """A folder with one method in it belongs to the package of methods; gone afterwards."""
    package = importlib.import_module("core.methods")
    file = tmp_path / "brightness.py"
    file.write_text(NEW_FILE.format(serves=request.param), encoding="utf-8")
    package.__path__.append(str(tmp_path))
    importlib.invalidate_caches()
    all_methods.cache_clear()
    yield
    package.__path__.remove(str(tmp_path))
    sys.modules.pop("core.methods.brightness", None)
    vars(package).pop("brightness", None)
    all_methods.cache_clear()


BOTH = ("cnn", "vit")


@pytest.mark.parametrize(
    ("new_file", "kinds"),
    [(BOTH, set(BOTH)), (("cnn",), {"cnn"}), (("vit",), {"vit"})],
    indirect=["new_file"],
)
@pytest.mark.usefixtures("new_file")
def test_new_method_is_offered_and_explains(kinds: set[str]) -> None:
    for name in RECIPES:
        model = built(name).model
        offered = [m.name for m in core.methods(model)]
        assert ("brightness" in offered) == (model.spec.family in kinds)
        assert set(FIELD_ORDER[model.spec.family]) - {"cam"} < {*offered, "brightness"}
    for name in ("timm", "plain"):
        model, images = built(name).model, pictures(name, 2)
        if model.spec.family not in kinds:
            with pytest.raises(UnsupportedMethod, match="Brightness of the picture works on"):
                core.explain(model, images, "brightness", framing=GIVEN)
            continue
        names = [m.name for m in core.methods(model)]
        orders = [m.order for m in core.methods(model)]
        assert orders == sorted(orders)
        assert names.index("brightness") == sum(order < 35 for order in orders)
        for factor in (1.0, 2.0):
            found = core.explain(model, images, "brightness", framing=GIVEN, factor=factor)
            for one, image in zip(found, images, strict=True):
                colors = model.pixels(image, GIVEN)[0].mean(dim=0)
                blocks = colors.unflatten(0, (4, -1)).unflatten(-1, (6, -1))
                close(one.relevance, factor * blocks.mean(dim=(1, 3)))
                assert one.manifest()["parameters"] == {"factor": factor}
        recording = core.record(model, images, GIVEN, core.needs(model, "brightness"))
        for one, other in zip(found, core.explain(model, recording, "brightness"), strict=True):
            close(one.relevance, 2 * other.relevance)
        with pytest.raises(ParameterError, match="factor"):
            core.explain(model, images, "brightness", framing=GIVEN, factor=9)


def test_new_method_is_gone_afterwards() -> None:
    assert "brightness" not in all_methods()
    assert "core.methods.brightness" not in sys.modules
    with pytest.raises(UnknownMethod):
        find_method("brightness")


PICKERS = {
    "compare": {"look-0", "look-1"},
}
"""Pickers of methods that need not depend on the class, by page."""


def titles_of(options: list[str]) -> list[str]:
    """Titles of methods without the mark of those that know no class."""
    return [option.removesuffix(" · no class") for option in options]


@pytest.mark.parametrize("new_file", [BOTH], indirect=True)
@pytest.mark.usefixtures("new_file")
def test_new_method_is_offered_and_drawn_on_the_pages() -> None:
    title = find_method("brightness").title
    app = fresh().run()
    for page, keys in PICKERS.items():
        if page != "compare":
            switch(app, page)
        for key in keys:
            picker = app.selectbox(key=f"screen-{key}")
            assert title in titles_of(picker.options), (page, key)
            if page == "compare":
                picker.set_value("brightness").run()
                assert not app.exception
                assert not app.error
                assert any(w.label == "Factor" for w in app.slider)
    assert len(app.get("plotly_chart"))


def test_pages_offer_every_method_there_is() -> None:
    app = fresh().run()
    for key, kind in (("look-0", "cnn"), ("look-1", "vit")):
        titles = [m.title for m in all_methods().values() if kind in m.serves]
        options = app.selectbox(key=f"screen-{key}").options
        assert sorted(titles_of(options)) == sorted(titles)
    assert app.selectbox(key="screen-look-1").value == "gradient_rollout"
    assert np.all([not app.exception, not app.error])
