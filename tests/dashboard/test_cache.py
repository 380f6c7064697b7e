"""What is remembered, and what is found out only once."""

from __future__ import annotations

import gc
import io
import subprocess
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest
from torch import Tensor

import core
from core import ImageError, Model, sandbox
from dashboard import availability, cache
from dashboard.cache import passes
from dashboard.scene import Scene
from dashboard.shared_cache import SharedCache


def test_a_refused_file_is_decoded_once_whatever_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(data: bytes, name: str) -> Image.Image:
        asked.append(data)
        raise ImageError(f"{name} is damaged.")

    monkeypatch.setattr(core, "read_untrusted_image", refuse)
    for name in ("one.png", "two.png", "one.png"):
        with pytest.raises(ImageError, match=rf"^{name} is damaged\.$"):
            cache.from_bytes(b"the same bytes", name)
    assert len(asked) == 1
    with pytest.raises(ImageError):
        cache.from_bytes(b"other bytes", "one.png")
    assert len(asked) == 2


def test_what_was_not_read_in_time_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was busy once says nothing of the picture."""
    asked = []

    def read(data: bytes, name: str) -> Image.Image:
        asked.append(name)
        if len(asked) == 1:
            raise subprocess.TimeoutExpired("decoder", sandbox.TIMEOUT)
        return Image.new("RGB", (5, 3))

    def run(*_: object, **__: object) -> subprocess.CompletedProcess[bytes]:
        read(b"", "x")
        return subprocess.CompletedProcess("decoder", 0, b"5 3\n" + bytes(45))

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ImageError, match=r"^late\.png takes too much time .* try again\.$"):
        cache.from_bytes(b"read too late", "late.png")
    assert cache.from_bytes(b"read too late", "late.png").image.size == (5, 3)
    assert len(asked) == 2


def test_a_run_waits_once_for_what_is_not_read_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(*_: object, **__: object) -> None:
        asked.append(1)
        raise subprocess.TimeoutExpired("decoder", sandbox.TIMEOUT)

    def script() -> None:
        import contextlib

        import core
        from dashboard import cache

        with cache.reading_once():  # as every run
            for name in ("one.png", "two.png", "one.png"):
                with contextlib.suppress(core.ImageError):
                    cache.from_bytes(b"never read in time", name)

    monkeypatch.setattr(subprocess, "run", run)
    app = AppTest.from_function(script).run()
    assert not app.exception
    assert len(asked) == 1
    app.run()
    assert len(asked) == 2


def test_every_refusal_of_a_model_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    refusals = availability.Refusals(lambda: now[0])
    refusals.put("one", "no network")
    now[0] += availability.REFUSED - 1
    refusals.put("two", "no network either")
    assert refusals.get("one") == "no network"
    now[0] += 2
    assert refusals.get("one") == ""
    assert refusals.get("two") == "no network either"
    now[0] += availability.REFUSED
    assert refusals.get("two") == ""


def test_a_model_of_ones_own_is_tried_again_when_its_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only after three minutes, and not before anything has changed."""
    import timm
    from safetensors.torch import save_file

    weights = tmp_path / "retried.safetensors"
    weights.write_bytes(b"no")
    (tmp_path / "models.toml").write_text(
        '[[model]]\nid = "retried"\nfamily = "cnn"\narchitecture = "test_resnet"\n'
        'weights = "retried.safetensors"\n'
    )
    monkeypatch.setenv("PARALLAX_MODELS", str(tmp_path / "models.toml"))
    with pytest.raises(core.WeightsError, match="not a readable checkpoint"):
        cache.model("retried")
    assert "not a readable checkpoint" in cache.refusal("retried")
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    assert cache.refusal("retried") == ""
    assert cache.model("retried").spec.id == "retried"


def test_a_failed_download_refuses_once_whoever_looks_at_it_later() -> None:
    class Failed:
        model_id, error = "some/model", "its host sends no data"

    now = [1000.0]
    refusals, download = availability.Refusals(lambda: now[0]), Failed()
    refusals.failed(download)  # type: ignore[arg-type]
    now[0] += availability.REFUSED - 1
    refusals.failed(download)  # type: ignore[arg-type]
    now[0] += 2
    assert refusals.get("some/model") == "", "another session has looked meanwhile"
    refusals.failed(Failed())  # type: ignore[arg-type]
    assert refusals.get("some/model"), "another download, which failed as well"


def test_a_file_of_the_operator_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: bytes, name: str) -> Image.Image:
        raise AssertionError

    monkeypatch.setattr(core, "read_untrusted_image", fail)
    buffer = io.BytesIO()
    Image.new("RGB", (5, 3)).save(buffer, "PNG")
    assert cache.from_bytes(buffer.getvalue(), "x", trusted=True).image.size == (5, 3)


def test_a_decoded_picture_is_held_by_nobody_but_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((40, 30), 50).convert("RGB").save(buffer, "PNG")
    picture = cache.from_bytes(buffer.getvalue(), "x", trusted=True)
    cache.own_pictures().put("x", buffer.getvalue())
    before, gone = picture.image.tobytes(), weakref.ref(picture.image)
    monkeypatch.setattr(cache.results(), "budget", 0)
    cache.results().settle()
    monkeypatch.undo()
    gc.collect()
    assert gone() is None
    assert picture.image.tobytes() == before, "it is decoded anew from its file"


def test_a_result_never_passes_to_another_model_that_has_the_same_place_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cnn, vit = (core.find_spec(model_id) for model_id in core.default_models())
    picture = cache.from_sample(core.samples()[0])
    scene = Scene(picture, (cnn, vit), core.Framing("crop"))
    monkeypatch.setattr(passes, "id", lambda _: 7, raising=False)
    keys = [cache.key_of(spec.id, scene, "grad_cam", 285, ()) for spec in (cnn, vit)]
    assert keys[0] != keys[1]
    assert keys[0] == cache.key_of(cnn.id, scene, "grad_cam", 285, ())


def test_a_result_does_not_outlive_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    cnn, vit = (core.find_spec(model_id) for model_id in core.default_models())
    scene = Scene(cache.from_sample(core.samples()[0]), (cnn, vit), core.Framing("crop"))
    before = cache.key_of(cnn.id, scene, "cam")
    monkeypatch.setattr(cache.model(cnn.id), "weights_digest", "other weights")
    assert cache.key_of(cnn.id, scene, "cam") != before


# -- what is computed once ------------------------------------------------------------------------


@pytest.fixture
def scene() -> Scene:
    """A sample, fitted in a way that no other test has asked for, so that nothing is held yet."""
    cnn, vit = (core.find_spec(model_id) for model_id in core.default_models())
    return Scene(cache.from_sample(core.samples()[1]), (cnn, vit), core.Framing("crop", 112))


def count_passes(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets a number for every pass of a model from now on."""
    passes: list[int] = []
    score = model.score

    def counted(pixels: Tensor) -> Tensor:
        passes.append(len(pixels))
        return score(pixels)

    monkeypatch.setattr(model, "score", counted)
    return passes


def forget(model_id: str) -> None:
    """Let go of recordings of a model; its maps are held on."""
    cache.results().drop(cache.model(model_id))


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("kind", [0, 1])
def test_four_classes_share_one_graph(
    scene: Scene, kind: int, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one call, and where a page asks for each class by itself."""
    spec = scene.models[kind]
    model, method = cache.model(spec.id), "grad_cam"
    params = {"layer": "stage.4"} if kind == 0 else {"layer": "block.10.input"}
    classes = (1, 2, 3, 4) if alone else (5, 6, 7, 8)
    forget(spec.id)
    recorded = cache.recording(spec.id, scene)
    passes = count_passes(model, monkeypatch)
    if alone:
        with cache.keeping_graph(spec.id, scene):
            for index in classes:
                cache.explain(spec.id, scene, method, (index,), params)
    else:
        cache.explain(spec.id, scene, method, classes, params)
    assert len(passes) == 1
    monkeypatch.undo()
    again = count_passes(model, monkeypatch)
    core.explain(model, recorded, method, 9, **params)
    assert len(again) == 1, "the graph was let go after the last class"
    forget(spec.id)


def test_arrays_that_sessions_share_cannot_be_written_to() -> None:
    held = SharedCache(2**20)
    made = held.get("x", lambda: {"one": [np.zeros(3)], "two": (np.ones(2), "text")})
    for array in (made["one"][0], made["two"][0]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_what_a_scene_shares_cannot_be_written_to(scene: Scene) -> None:
    cnn, vit = scene.ids
    assert cache.artifacts(cnn, scene) is None
    found = cache.artifacts(vit, scene)
    assert found is not None
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = True
    summary = cache.summary(vit, scene, scene.picture)
    with pytest.raises(ValueError, match="read-only"):
        summary.maps[0, 0, 0] = 1
    [frame] = cache.frames(vit, scene, "rollout", None, [{}], lambda done: None)
    with pytest.raises(ValueError, match="read-only"):
        frame.relevance[0, 0] = 1
    forget(vit)


def alone(scene: Scene, *numbers: int) -> Scene:
    """The scene with some of its models only."""
    return Scene(scene.picture, tuple(scene.models[i] for i in numbers), scene.framing)


def test_a_recording_does_not_depend_on_the_models_beside_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as all see the same pixels, which the first model with patches decides."""
    _, vit = scene.ids
    passes = count_passes(cache.model(vit), monkeypatch)
    forget(vit)
    first = cache.recording(vit, scene)
    for other in (alone(scene, 1), alone(scene, 1, 0)):
        assert cache.seen(other) == cache.seen(scene)
        assert cache.recording(vit, other) is first
        assert cache.key_of(vit, other, "x") == cache.key_of(vit, scene, "x")
    assert len(passes) == 1
    assert cache.seen(alone(scene, 0)) == cache.seen(scene), "112 pixels were chosen for all"
    forget(vit)


def test_results_are_told_apart_where_other_models_change_the_pixels(scene: Scene) -> None:
    """The side is that of the first model with patches, where none is chosen."""
    own = Scene(scene.picture, scene.models, core.Framing("crop", 150))
    cnn, _ = own.ids
    single = alone(own, 0)
    assert cache.view(own).size == (154, 154), "whole patches of 14 pixels"
    assert cache.view(single).size == (150, 150)
    assert cache.key_of(cnn, own, "x") != cache.key_of(cnn, single, "x")
