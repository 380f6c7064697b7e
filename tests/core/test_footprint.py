"""The memory budget holds for convolutional networks as it does for transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import core
from core import capacity
from core.errors import ImageError
from tests.support.builders import CNNS, GIVEN, builds, built, picture, sentence

FACTOR = 3.0
"""How far a footprint may be from what a pass really takes, up or down: libraries copy for a kernel
what others compute in place."""


@pytest.fixture(autouse=True)
def _usual_capacity() -> Iterator[None]:
    yield
    core.configure(memory=capacity.MEMORY)


def most_taken(work: Callable[[], object]) -> int:
    """Most bytes of tensors that were alive at the same time, as the allocator saw it."""
    work()  # what is made once and stays is no part of it
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        kept = work()
    now = most = 0
    for event in watched.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    del kept
    return most


@pytest.mark.parametrize("size", [(128, 128), (96, 160)])
@pytest.mark.parametrize("name", builds(CNNS))
def test_footprint_is_near_what_a_pass_takes(name: str, size: tuple[int, int]) -> None:
    model = built(name).model
    pixels = torch.zeros((1, 3, *size), dtype=torch.float32)

    def forward() -> Tensor:
        with torch.no_grad():
            return model.score(pixels)

    def backward() -> tuple[Tensor, ...]:
        leaf = pixels.clone().requires_grad_()
        return torch.autograd.grad(model.score(leaf)[0, 0], leaf)

    plain, with_graph = model.footprint(size), model.footprint(size, gradients=True)
    assert 0 < plain < with_graph
    for stated, taken in ((plain, most_taken(forward)), (with_graph, most_taken(backward))):
        assert taken / FACTOR < stated < FACTOR * taken


@pytest.mark.parametrize("name", builds(CNNS))
def test_a_graph_that_begins_later_costs_less(name: str) -> None:
    model, size = built(name).model, (128, 128)
    graphs = [model.footprint(size, True, layer.name) for layer in model.layers]
    assert graphs == sorted(graphs, reverse=True)
    assert model.footprint(size, True) >= graphs[0]
    for cheap in model.cheap_gradients:
        assert model.footprint(size, True, cheap) == model.footprint(size)


def test_a_large_picture_is_refused_before_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("timm resnet").model

    def run(pixels: Tensor) -> Tensor:
        raise AssertionError("the network was run")

    monkeypatch.setattr(model, "score", run)
    core.configure(memory=2**20)
    image = Image.new("RGB", (1344, 672))
    with pytest.raises(ImageError, match=r"pixels take about"):
        core.record(model, image, GIVEN)  # its graph begins at the pooling and is next to nothing
    for ask in (
        lambda: core.record(model, image, GIVEN),
        lambda: core.predict(model, image, framing=GIVEN),
        lambda: core.explain(model, image, "hirescam", 1, framing=GIVEN),
        lambda: core.explain(model, image, "input_x_gradient", 1, framing=GIVEN),
    ):
        with pytest.raises(ImageError, match=r"1344 × 672 pixels.*GB.*choose") as error:
            ask()
        assert "0.0 GB" not in sentence(error)


def test_gradients_at_the_pixels_count_as_a_graph() -> None:
    """They begin before any tap."""
    model, size = built("timm resnet").model, (64, 96)
    core.configure(memory=2**20)
    assert model.footprint(size) < 2**20 < model.footprint(size, gradients=True)
    image = picture(16, 24)
    core.predict(model, image, framing=GIVEN)
    with pytest.raises(ImageError, match="with gradients"):
        core.explain(model, image, "input_x_gradient", 1, framing=GIVEN)


def test_budget_decides_how_many_pictures_share_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = built("timm resnet").model, [picture(32, 32, seed) for seed in range(5)]
    core.configure(memory=2 * model.footprint((128, 128)))
    passes: list[int] = []
    score = model.score

    def counted(pixels: Tensor) -> Tensor:
        passes.append(len(pixels))
        return score(pixels)

    monkeypatch.setattr(model, "score", counted)
    core.predict(model, images, framing=GIVEN)
    assert passes == [2, 2, 1]


def test_a_recording_counts_its_graph() -> None:
    model = built("timm resnet").model
    recording = core.record(model, picture(32, 32), GIVEN, core.Needs(["stage.1"], ["stage.1"]))
    held = recording.nbytes
    recording.release()
    assert held - recording.nbytes == model.footprint((128, 128), True, "stage.1")
