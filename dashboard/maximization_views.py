"""Pieces of the activation-maximization page: settings, the run, the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st
from PIL import Image

import core
from core import (
    ConvNet,
    Model,
    Objective,
    Regularization,
    Transforms,
    VisionTransformer,
    seam_energy_of,
)
from dashboard import controls, figures, panels

EVERY = 4
"""Steps between two updates of the growing picture."""

DEFAULT = Regularization()
STILL = Transforms(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Budget:
    """What all pictures of a run share."""

    steps: int
    size: int
    seed: int
    patch: int
    transforms: Transforms


@dataclass(frozen=True, eq=False)
class Task:
    """One picture to be made."""

    title: str
    model: Model
    objective: Objective
    regularization: Regularization


@dataclass(eq=False)
class Result:
    """A picture as far as it has grown; kept in the session so that a stop loses nothing."""

    task: Task
    budget: Budget
    image: Image.Image | None = None
    history: list[float] = field(default_factory=list)


def settings(cnn: Model, vit: Model) -> tuple[list[Task], Budget]:
    """Widgets for objective, budget and regularizers; returns what is to be made."""
    what = st.segmented_control(
        "Maximize",
        ("class", "channel"),
        default="class",
        key="objective",
        required=True,
        format_func=str.capitalize,
        persist_state="session",
    )
    if what == "channel" or not vit.classes:
        objectives = {cnn: _cnn_channel(cnn), vit: _vit_channel(vit)}
    else:
        target = controls.class_picker(vit.labels, 285, "maximized", vit)
        objectives = {vit: core.class_logit(target)}
        if cnn.classes:
            objectives[cnn] = core.class_logit(controls.same_class(vit, cnn, target))
    steps = st.slider("Steps", 16, 512, 96, 16, key="steps", persist_state="session")
    assert isinstance(vit, VisionTransformer)
    sizes = [vit.patch * n for n in (8, 12, 16)] if vit.flexible else [vit.preprocessing.size]
    size = st.select_slider("Size in pixels", sizes, sizes[-1], key=f"size-{vit.patch}")
    with st.expander("Regularizers and seed", icon=":material/tune:"):
        seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="maximize-seed")
        regularization = Regularization(
            variation=_weight("Total variation", "variation", "Charges every step between pixels."),
            gray=_weight("Distance from gray", "gray", "Charges colors far from mid-gray."),
            seam=_weight(
                "Seam penalty (ViT)",
                "seam",
                "Charges steps across patch borders that are larger than those inside patches.",
            ),
        )
        moves = st.toggle(
            "Random moves",
            True,
            key="moves",
            persist_state="session",
            help="Shifts, turns and scales the picture a little before each look. Without them the "
            "patch grid of a transformer shows most.",
        )
    effect = st.toggle(
        "Show the seam penalty's effect",
        True,
        key="seam-effect",
        persist_state="session",
        help="Makes the ViT's picture twice, without and with the penalty, from the same seed.",
    )
    without = replace(regularization, seam=0.0)
    tasks = []
    if cnn in objectives:
        tasks.append(Task(cnn.spec.title, cnn, objectives[cnn], without))
    if effect or not regularization.seam:
        tasks.append(Task(f"{vit.spec.title} · no seam penalty", vit, objectives[vit], without))
    if regularization.seam:
        title = f"{vit.spec.title} · seam penalty {regularization.seam:g}"
        tasks.append(Task(title, vit, objectives[vit], regularization))
    return tasks, Budget(steps, size, int(seed), vit.patch, Transforms() if moves else STILL)


def _weight(label: str, name: str, help: str) -> float:
    start = float(getattr(DEFAULT, name))
    top = 4 * start
    return float(
        st.slider(
            label,
            0.0,
            top,
            start,
            top / 40,
            key=f"weight-{name}",
            help=help,
            persist_state="session",
        )
    )


def _cnn_channel(cnn: Model) -> Objective:
    assert isinstance(cnn, ConvNet)
    layer = st.selectbox("CNN layer", tuple(reversed(cnn.taps)), key=f"conv-{cnn.spec.id}")
    last = cnn.taps[layer].channels - 1
    channel = st.number_input("CNN channel", 0, last, 0, key=f"conv-channel-{layer}-{last}")
    return core.conv_channel(layer, int(channel))


def _vit_channel(vit: Model) -> Objective:
    assert isinstance(vit, VisionTransformer)
    kinds = ("block output", "MLP hidden", "head's key", "head's query", "head's value")
    kind = st.selectbox("ViT tensor", kinds, key="vit-kind", persist_state="session")
    layer = st.slider("ViT layer", 0, vit.depth - 1, vit.depth // 2, key=f"vit-l-{vit.depth}")
    if kind.startswith("head"):
        head = st.slider("Head", 0, vit.heads - 1, 0, key=f"vit-head-{vit.heads}")
        channel = st.number_input("ViT channel", 0, vit.head_width - 1, 0, key="head-c")
        name = kind.removeprefix("head's ")
        return core.head_channel(layer, head, int(channel), kind=name)  # type: ignore[arg-type]
    last = (vit.width if kind == "block output" else vit.hidden) - 1
    channel = st.number_input("ViT channel", 0, last, 0, key=f"vit-c-{last}")
    make = core.block_channel if kind == "block output" else core.mlp_channel
    return make(layer, int(channel))


def run(tasks: Sequence[Task], budget: Budget) -> None:
    """Make the pictures one after the other; each grows on the screen and in the session."""
    st.button("Stop", icon=":material/stop:", help="Keeps what has been made so far.")
    results = [Result(task, budget) for task in tasks]
    st.session_state["_maximizations"] = results
    frames = [column.empty() for column in st.columns(max(1, len(tasks)))]
    progress = st.progress(0.0, "Starting …")
    for place, (result, frame) in enumerate(zip(results, frames, strict=True)):
        _make(result, frame, progress, place / len(tasks), 1 / len(tasks))
    st.rerun()


def _make(result: Result, frame: Any, progress: Any, before: float, share: float) -> None:
    """Make one picture; every step lands in the session before it is drawn."""
    task, budget = result.task, result.budget

    def on_step(step: int, loss: float, image: Image.Image) -> bool:
        result.image = image
        result.history.append(loss)
        if step % EVERY == 0 or step == budget.steps:
            text = f"{task.title}: step {step} of {budget.steps}"
            progress.progress(min(1.0, before + share * step / budget.steps), text)
            preview = figures.jpeg(image, quality=65)  # a run sends dozens of them
            frame.image(preview, width="stretch", caption=task.title)
        return True

    core.maximize(
        task.model,
        task.objective,
        steps=budget.steps,
        size=budget.size,
        seed=budget.seed,
        on_step=on_step,
        regularization=task.regularization,
        transforms=budget.transforms,
        patch=budget.patch,
    )


def results() -> None:
    """Pictures, seam energies and loss curves of the last run, finished or stopped."""
    found: list[Result] = [
        r for r in st.session_state.get("_maximizations", []) if r.image is not None
    ]
    if not found:
        st.info(
            "Choose what is to be maximized and press **Start**: the pictures grow here, step by "
            "step, and can be stopped at any time.",
            icon=":material/auto_awesome:",
        )
        return
    for column, result in zip(st.columns(max(2, len(found))), found, strict=False):
        with column:
            _show(result)
    losses = {r.task.title: r.history for r in found}
    st.markdown("**Loss** · minus the objective's value, without the penalties, step by step")
    panels.chart(figures.curves(losses, "loss"), "maximization-loss", "Loss over the steps")
    st.caption(
        "The losses of two models are in different units (their own logits or activations): "
        "compare the shapes of the curves, not their heights."
    )


def _show(result: Result) -> None:
    task, steps = result.task, len(result.history)
    assert result.image is not None
    st.markdown(f"**{task.title}**")
    st.image(result.image, width="stretch")
    st.metric(
        "Seam energy",
        f"{round(seam_energy_of(result.image, result.budget.patch), 2) + 0.0:+.2f}",
        help=f"At a patch of {result.budget.patch} px, on the picture as shown: 0 is no visible "
        "patch grid, below 0 the borders are smoother than the insides.",
    )
    stopped = "" if steps >= result.budget.steps else f", stopped at {steps}"
    st.caption(
        f"{task.objective.describe(task.model)}. {result.budget.steps} steps{stopped}, "
        f"{result.image.width} × {result.image.height} px, seed {result.budget.seed}, "
        f"{'without random moves' if result.budget.transforms == STILL else 'with random moves'}. "
        f"Trained on: {task.model.spec.pretraining}."
    )
