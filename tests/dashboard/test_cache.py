"""What is remembered, and what is found out only once."""

from __future__ import annotations

import gc
import io
import subprocess
import weakref

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import core
from core import ImageError, guarded
from dashboard import availability, cache
from dashboard.cache import passes
from dashboard.scene import Scene


def test_a_refused_file_is_decoded_once_whatever_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(data: bytes, name: str) -> Image.Image:
        asked.append(data)
        raise ImageError(f"{name} is damaged.")

    monkeypatch.setattr(core, "read_strange_image", refuse)
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
            raise subprocess.TimeoutExpired("decoder", guarded.TIMEOUT)
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
        raise subprocess.TimeoutExpired("decoder", guarded.TIMEOUT)

    def script() -> None:
        import contextlib

        import core
        from dashboard import cache

        for name in ("one.png", "two.png", "one.png"):
            with contextlib.suppress(core.ImageError):
                cache.from_bytes(b"never read in time", name)
        cache.forget_late()  # as at the end of every run

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


def test_a_failed_download_refuses_once_whoever_looks_at_it_later() -> None:
    class Failed:
        model_id, error = "some/model", "its host sends nothing"

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

    monkeypatch.setattr(core, "read_strange_image", fail)
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
    cnn, vit = (core.find_spec(model_id) for model_id in core.embedded_pair())
    picture = cache.from_sample(core.samples()[0])
    scene = Scene(picture, cnn, vit, core.Framing("crop"))
    monkeypatch.setattr(passes, "id", lambda _: 7, raising=False)
    keys = [cache.key_of(spec.id, scene, "grad_cam", 285, ()) for spec in (cnn, vit)]
    assert keys[0] != keys[1]
    assert keys[0] == cache.key_of(cnn.id, scene, "grad_cam", 285, ())


def test_a_result_does_not_outlive_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    cnn, vit = (core.find_spec(model_id) for model_id in core.embedded_pair())
    scene = Scene(cache.from_sample(core.samples()[0]), cnn, vit, core.Framing("crop"))
    before = cache.key_of(cnn.id, scene, "cam")
    monkeypatch.setattr(cache.model(cnn.id), "weights_digest", "other weights")
    assert cache.key_of(cnn.id, scene, "cam") != before
