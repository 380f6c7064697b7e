"""One request in, one frozen result out; and a manifest from which it can be made again."""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import core
from core.errors import ImageError, ParameterError, UnknownMethod, UnsupportedMethod
from core.methods.registry import find_method
from core.models import Model
from core.paths import WEIGHTS
from core.recording.batches import ON_CPU, WINDOW
from tests.support.builders import (
    CLASSES,
    GIVEN,
    RECIPES,
    TARGETS,
    as_model,
    builds,
    built,
    close,
    picture,
    pictures,
    shake,
    timm_vit,
)


@pytest.fixture(scope="module")
def embedded() -> dict[str, Model]:
    """The embedded pair, by id."""
    return {name: core.open_model(name) for name in ("efficientnet-lite0", "dinov2-small")}


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    """A sample picture."""
    return core.read_image(next(s.path for s in core.samples() if s.id == "cat-beside-cup"))


# -- the manifest ---------------------------------------------------------------------------------

EMBEDDED_CALLS: list[tuple[str, str, int | None, core.Framing | None, dict[str, Any]]] = [
    ("efficientnet-lite0", "cam", 285, None, {}),
    ("efficientnet-lite0", "cam", None, core.Framing("whole", 160), {}),
    ("efficientnet-lite0", "layer_cam", 967, core.Framing("pad", 192), {"layer": "stage.2"}),
    ("dinov2-small", "rollout", None, None, {}),
    (
        "dinov2-small",
        "rollout",
        None,
        core.Framing("whole", 140),
        {"layers": (3, 4, 9), "fusion": "max", "discard": 0.25, "definition": "columns"},
    ),
    ("dinov2-small", "gradient_rollout", None, core.Framing("crop", 112), {"layers": range(2, 5)}),
    ("dinov2-small", "attention", None, core.Framing("stretch", 98), {"layer": 0, "head": 5}),
    ("dinov2-small", "legrad", 285, core.Framing("pad", 112), {"layers": [11]}),
    ("dinov2-small", "grad_cam", 967, core.Framing("native"), {"layer": "block.7.input"}),
]


def made_again(models: dict[str, Model], image: Image.Image, text: str) -> core.Explanation:
    """The map of a manifest that has been written down as JSON."""
    manifest = json.loads(text)
    model = models[manifest["model"]["id"]]
    assert manifest["picture"]["sha256"] == core.digest(image)
    assert manifest["model"]["weights_sha256"] == model.weights_digest
    return core.explain(
        model,
        image,
        manifest["method"],
        None if manifest["class"] is None else manifest["class"]["index"],
        framing=core.Framing(**manifest["framing"]),
        **manifest["parameters"],
    )


@pytest.mark.parametrize(("model_id", "method", "target", "framing", "params"), EMBEDDED_CALLS)
def test_map_is_made_again_from_its_manifest(
    embedded: dict[str, Model],
    photograph: Image.Image,
    model_id: str,
    method: str,
    target: int | None,
    framing: core.Framing | None,
    params: dict[str, Any],
) -> None:
    first = core.explain(embedded[model_id], photograph, method, target, framing=framing, **params)
    manifest = first.manifest()
    assert is_plain(manifest)
    second = made_again(embedded, photograph, json.dumps(manifest))
    np.testing.assert_array_equal(second.relevance, first.relevance)
    assert np.array_equal(np.asarray(second.view), np.asarray(first.view))
    assert second.manifest() == manifest
    assert (second.target, second.label, second.notes) == (first.target, first.label, first.notes)


def is_plain(value: Any) -> bool:
    """Whether a value is what JSON knows, exactly, all the way down."""
    if type(value) is dict:
        return all(type(key) is str and is_plain(part) for key, part in value.items())
    if type(value) is list:
        return all(is_plain(part) for part in value)
    return value is None or type(value) in (str, int, float, bool)


@pytest.mark.parametrize("name", builds(RECIPES))
def test_every_manifest_is_plain_and_enough(name: str) -> None:
    case = built(name)
    image = pictures(name, 1)[0]
    for method in core.methods(case.model):
        # Of any integer type: an index from an array of predictions is one of NumPy's.
        explanation = core.explain(case.model, image, method.name, np.int64(3), framing=GIVEN)
        manifest = explanation.manifest()
        assert is_plain(manifest)
        assert json.loads(json.dumps(manifest)) == manifest
        again = made_again({"tiny": case.model}, image, json.dumps(manifest))
        close(again.relevance, explanation.relevance, 1e-6)
        assert again.manifest() == manifest
        assert manifest["manifest"] == 1
        assert manifest["method"] == method.name
        assert manifest["framing"] == {"fit": "given", "size": None}
        assert set(manifest["parameters"]) == {p.name for p in method.parameters_for(case.model)}
        wanted = {"index": 3, "name": "class 3"} if method.class_specific else None
        assert manifest["class"] == wanted
        rows, cols = explanation.relevance.shape
        assert manifest["relevance"]["shape"] == [rows, cols]
        assert manifest["relevance"]["prefix_mass"] == explanation.prefix_mass


def test_manifest_names_the_versions() -> None:
    versions = core.explain(
        built("plain").model, pictures("plain", 1)[0], "cam", framing=GIVEN
    ).manifest()["versions"]
    assert versions["python"] == platform.python_version()
    for name in ("torch", "torchvision", "timm", "numpy", "pillow"):
        assert versions[name]
    assert torch.__version__.startswith(versions["torch"])


def test_changing_a_manifest_changes_nothing_else() -> None:
    explanation = core.explain(
        built("timm").model, pictures("timm", 1)[0], "rollout", framing=GIVEN
    )
    first = explanation.manifest()
    first["parameters"]["fusion"] = "max"
    first["versions"].clear()
    second = explanation.manifest()
    assert second["parameters"]["fusion"] == "mean"
    assert second["versions"]


@pytest.mark.parametrize("model_id", ["efficientnet-lite0", "dinov2-small"])
def test_digest_of_embedded_weights_is_their_files_checksums(
    embedded: dict[str, Model], photograph: Image.Image, model_id: str
) -> None:
    model = embedded[model_id]
    files = [WEIGHTS / name for name in (model.spec.weights, model.spec.head) if name]
    listed = dict(line.split()[::-1] for line in (WEIGHTS / "SHA256SUMS").read_text().splitlines())
    method = core.methods(model)[0].name
    manifest = core.explain(model, photograph, method).manifest()
    found = manifest["model"]["weights_sha256"]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert digests == [listed[file.name] for file in files]
    if len(files) > 1:  # one name for both
        digests = [hashlib.sha256("".join(digests).encode()).hexdigest()]
    assert [found] == digests


def test_digest_of_other_weights_is_of_all_tensors() -> None:
    modules = [shake(timm_vit()) for _ in range(2)]
    one, other = (as_model(module) for module in modules)
    assert one.weights_digest == other.weights_digest
    for name in one.module.state_dict():
        module = shake(timm_vit())
        with torch.no_grad():
            module.state_dict()[name].view(-1)[-1] += 1e-3
        assert as_model(module).weights_digest != one.weights_digest, name


def test_picture_digest_is_of_the_pixels_before_fitting() -> None:
    model, image = built("timm").model, picture(7, 9)
    for framing in (core.Framing("crop"), core.Framing("whole", 24)):
        explanation = core.explain(model, image, "rollout", framing=framing)
        assert explanation.picture_digest == core.digest(image)
        assert explanation.framing == framing
    turned = image.transpose(Image.Transpose.ROTATE_90)
    assert core.digest(turned) != core.digest(image)
    assert core.digest(image.convert("RGBA")) == core.digest(image)


# -- one, several, a recording --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["timm", "plain"])
def test_what_goes_in_decides_what_comes_out(name: str) -> None:
    model, images = built(name).model, pictures(name, 2)
    method = "rollout" if name == "timm" else "cam"

    def result(image: Any) -> Any:
        recorded = isinstance(image, core.Recording)
        return core.explain(model, image, method, framing=None if recorded else GIVEN)

    assert isinstance(result(images[0]), core.Explanation)
    assert isinstance(result(core.record(model, images[0], GIVEN)), core.Explanation)
    for count in (1, 2):
        for several in (images[:count], tuple(images[:count])):
            recording = core.record(model, several, GIVEN)
            for found in (result(several), result(recording)):
                assert [type(one) for one in found] == [core.Explanation] * count


@pytest.mark.parametrize("name", builds(RECIPES))
def test_targets_of_a_list(name: str) -> None:
    """One for all, one for each, or each picture's most probable class where there is none."""
    model, images = built(name).model, pictures(name, 3)
    method = next(m.name for m in core.methods(model) if m.class_specific)
    tops = [prediction.top for prediction in core.predict(model, images, framing=GIVEN)]
    recording = core.record(model, images, GIVEN)
    for target, wanted in (
        (None, tops),
        (2, [2] * 3),
        (TARGETS, TARGETS),
        ([None, 4, None], [tops[0], 4, tops[2]]),
        (np.array(TARGETS), TARGETS),
    ):
        found = core.explain(model, images, method, target, framing=GIVEN)
        assert [one.target for one in found] == wanted
        assert [one.label for one in found] == [f"class {index}" for index in wanted]
        shared = core.explain(model, recording, method, target)
        for one, other in zip(found, shared, strict=True):
            close(one.relevance, other.relevance, 1e-3 if "plus" in method else 1e-5)
            assert one.target == other.target


@pytest.mark.parametrize(
    ("target", "match"),
    [
        (CLASSES, r"Class 5 .* from 0 to 4"),
        (-1, r"Class -1 .* from 0 to 4"),
        ([0, 1], r"2 classes .* 3 pictures"),
        ([0, 1, 9], r"Class 9 .* from 0 to 4"),
        ("cat", r"'cat' is unknown"),
        (["cat", 1, 2], r"'cat' is unknown"),
        ({"index": 1}, r"expected an index .* a name, or a target"),
        ([0, 1.5, 2], r"1\.5, expected an index"),
        (True, r"True, expected an index"),
        (1.5, r"1\.5, expected an index"),
    ],
)
@pytest.mark.parametrize("recorded", [False, True])
def test_targets_that_do_not_exist_are_refused(target: Any, match: str, recorded: bool) -> None:
    model, images = built("plain").model, pictures("plain", 3)
    asked: Any = core.record(model, images, GIVEN) if recorded else images
    with pytest.raises(ParameterError, match=match):
        core.explain(model, asked, "cam", target, framing=None if recorded else GIVEN)


def test_requests_that_do_not_fit_are_refused() -> None:
    model, image = built("timm").model, pictures("timm", 1)[0]
    recording = core.record(model, image, GIVEN)
    with pytest.raises(ParameterError, match="omit framing"):
        core.explain(model, recording, "rollout", framing=GIVEN)
    with pytest.raises(ParameterError, match="another model"):
        core.explain(built("timm registers").model, recording, "rollout")
    with pytest.raises(ImageError, match="No picture"):
        core.explain(model, [], "rollout")
    with pytest.raises(UnknownMethod, match=r"'roll-out'.*rollout"):
        core.explain(model, image, "roll-out")
    with pytest.raises(UnsupportedMethod, match="CAM works on convolutional networks"):
        core.explain(model, image, "cam")
    for params in ({"fusion": "sum"}, {"discard": 1.5}, {"layers": (3,)}, {"laiers": (1,)}):
        (name,) = params
        with pytest.raises(ParameterError, match=name):
            core.explain(model, image, "rollout", framing=GIVEN, **params)
        with pytest.raises(ParameterError, match=name):
            core.needs(model, "rollout", **params)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1)])
def test_maps_of_too_few_places_are_refused(shape: tuple[int, int]) -> None:
    rows, cols = shape
    vit = built("timm").model
    for method in core.methods(vit):
        with pytest.raises(ParameterError, match=f"{rows} × {cols} places.*too few"):
            core.explain(vit, picture(rows, cols), method.name, 1, framing=GIVEN)
    cnn = built("plain").model  # its last map has a place for 4 × 4 pixels
    with pytest.raises(ParameterError, match=f"{rows} × {cols} places.*earlier layer"):
        core.explain(cnn, picture(rows, cols), "cam", 1, framing=GIVEN)
    finer = core.explain(cnn, picture(rows, cols), "layer_cam", 1, framing=GIVEN, layer="stage.0")
    assert finer.relevance.shape == (2 * rows, 2 * cols)


def test_two_by_two_places_are_a_map() -> None:
    for method in core.methods(built("timm").model):
        one = core.explain(built("timm").model, picture(2, 2), method.name, 1, framing=GIVEN)
        assert one.relevance.shape == (2, 2)


# -- streams --------------------------------------------------------------------------------------

SHAPES = [(2, 3), (4, 4), (3, 2)]


def stream(count: int | None, read: list[int]) -> Iterator[Image.Image]:
    """Pictures of mixed sizes, as they are asked for; ``read`` grows by the place of each."""
    for place in itertools.count() if count is None else range(count):
        read.append(place)
        yield picture(*SHAPES[place % 5 % 3], seed=place)


def test_stream_gives_what_single_calls_give() -> None:
    model, count = built("timm").model, WINDOW + 9
    calls: dict[str, dict[str, Any]] = {
        "rollout": {"fusion": "max", "layers": (0, 2)},
        "gradient_rollout": {"discard": 0.3},
        "grad_cam": {"layer": "block.1.input"},
    }
    answers = list(core.explain_stream(model, stream(count, []), calls, 2, framing=GIVEN))
    assert sorted(answer.place for answer in answers) == list(range(count))
    for answer in answers[:: count // 8]:
        image = picture(*SHAPES[answer.place % 5 % 3], seed=answer.place)
        assert list(answer.explanations) == list(calls)
        assert answer.prediction is not None
        close(answer.prediction.logits, core.predict(model, image, framing=GIVEN).logits)
        for method, params in calls.items():
            alone = core.explain(model, image, method, 2, framing=GIVEN, **params)
            found = answer.explanations[method]
            close(found.relevance, alone.relevance, 5e-5)
            assert found.picture_digest == core.digest(image)
            assert (found.params, found.target) == (alone.params, alone.target)


def test_stream_runs_one_pass_for_all_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = built("plain").model, pictures("plain", 6)
    score, passes = model.score, []

    def counted(pixels: torch.Tensor) -> torch.Tensor:
        passes.append(len(pixels))
        return score(pixels)

    monkeypatch.setattr(model, "score", counted)
    methods = ["cam", "grad_cam", "hirescam", "layer_cam"]
    list(core.explain_stream(model, iter(images[:1]), methods, framing=GIVEN))
    passes.clear()  # what a pass leaves behind is known from now on
    answers = list(core.explain_stream(model, iter(images), methods, framing=GIVEN))
    assert passes == [ON_CPU, 6 - ON_CPU]
    assert [set(answer.explanations) for answer in answers] == [set(methods)] * 6


def test_stream_of_any_length_is_read_as_it_is_needed() -> None:
    read: list[int] = []
    answers = core.explain_stream(built("timm").model, stream(None, read), ["rollout"])
    assert not read
    for given in range(1, 3 * WINDOW):
        next(answers)
        assert len(read) <= given + WINDOW
    answers.close()  # type: ignore[attr-defined]


def test_stream_of_a_model_without_classes() -> None:
    model = as_model(shake(timm_vit(num_classes=0)), classes=0)
    for answer in core.explain_stream(model, pictures("timm", 2), ["rollout"], framing=GIVEN):
        assert answer.prediction is None
        assert answer.explanations["rollout"].target is None


def test_stream_refuses_what_does_not_fit_before_it_reads() -> None:
    model, read = built("timm").model, list[int]()
    for methods, error in (
        (["rollout", "cam"], UnsupportedMethod),
        ({"rollout": {"fusion": "sum"}}, ParameterError),
        (["roll-out"], UnknownMethod),
    ):
        with pytest.raises(error):
            next(core.explain_stream(model, stream(9, read), methods))  # type: ignore[arg-type]
    assert not read


@pytest.mark.parametrize("name", builds(RECIPES))
def test_needs_of_a_method_are_what_it_reads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No method asks the recording for more than it has stated, whatever its parameters."""
    model = built(name).model
    image = pictures(name, 1)[0]
    for method in core.methods(model):
        variants: list[dict[str, Any]] = [{}]
        for parameter in method.parameters_for(model):
            values = {
                "choice": parameter.options,
                "index": (0, int(parameter.high)),
                "span": ((0,), (int(parameter.high),), (0, int(parameter.high))),
            }.get(parameter.kind, ())
            variants += [{parameter.name: value} for value in values]
        for params in variants:
            stated = core.needs(model, method.name, **params)
            recording = core.record(model, image, GIVEN, stated)
            with monkeypatch.context() as patch:
                patch.setattr(recording, "extend", refuse_unless_met(recording, stated))
                core.explain(model, recording, method.name, 1, **params)
            assert recording.needs == stated


def refuse_unless_met(recording: core.Recording, stated: core.Needs) -> Any:
    """Stands in for `Recording.extend` where nothing may be missing."""
    extend = recording.extend

    def checked(needs: core.Needs) -> None:
        assert needs <= stated
        extend(needs)

    return checked


def test_notes_name_what_a_reader_must_know() -> None:
    case = built("hf dinov2")
    explanation = core.explain(case.model, pictures("hf dinov2", 1)[0], "rollout", framing=GIVEN)
    assert any("prefix" in note for note in explanation.notes)
    assert any(case.model.readout.text in note for note in explanation.notes)  # type: ignore[attr-defined]
    plain = core.explain(built("timm").model, pictures("timm", 1)[0], "rollout", framing=GIVEN)
    assert not any("Read at" in note for note in plain.notes)
    blank = core.explain(
        built("timm").model, pictures("timm", 1)[0], "rollout", framing=GIVEN, discard=1.0
    )
    assert blank.is_blank == any("zero everywhere" in note for note in blank.notes)
    assert blank.is_blank
    assert find_method("rollout").signed is blank.signed is False
