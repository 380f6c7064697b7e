"""Pieces of the activation-maximization page: settings, the growing pictures, the results."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import streamlit as st
from PIL import Image

import core
from core import (
    MethodError,
    Model,
    Objective,
    Regularization,
    Transforms,
    VisionTransformer,
    representations,
    seam_energy_of,
)
from dashboard import cache, controls, figures, gather, panels, screen
from dashboard.maximization import STILL, Result, Run, Task, expected
from dashboard.scene import Scene
from dashboard.text import plain

EVERY = 1.5
"""Seconds between two looks at the growing pictures."""

DEFAULT = Regularization()
SIDES = (112, 168, 224, 336)
"""About the sides that are offered, in pixels; rounded to whole patches."""

NO_PATCH = 16
"""Pixels that stand in for a patch where no model has patches."""

START = 168
"""About the side that a picture has until another is chosen."""

STYLE = """
<style>
@media (max-width: 1000px) {
  [data-testid="stColumn"]:has(.st-key-maximize-settings) { flex: 0 0 180px; min-width: 0; }
  [data-testid="stColumn"]:has(.st-key-maximize-settings) + [data-testid="stColumn"] {
    flex: 1 1 0; min-width: 0;
  }
}
</style>
"""
"""Settings stay wide enough to be read."""

_RUN, _MADE = "maximization", "maximized"


@dataclass(frozen=True, eq=False)
class Made:
    """What the last run left; holds no model."""

    results: tuple[Result, ...] = ()
    problems: tuple[str, ...] = ()


# -- settings -----------------------------------------------------------------------------------


def settings(models: Sequence[Model], scene: Scene) -> tuple[list[Task], list[str]]:
    """Widgets for objective, budget and regularizers.

    Returns
    -------
    tasks
        What is to be made.
    refusals
        Why one of the models takes no part, one sentence each.
    """
    what = controls.segments("objective", "Maximize", ("class", "channel"))
    objectives, refusals = (_classes if what == "class" else _channels)(models, scene)
    steps = int(controls.slider("steps", "Steps", 16, 512, 16))
    grid = _patch(models)
    side = _side(models, grid)
    with st.expander("Regularizers and seed", icon=":material/tune:"):
        seed = controls.number("seed", "Seed", 0, 2**31 - 1)
        regularization = Regularization(
            variation=_weight("variation", "Total variation", "Charges every step between pixels."),
            gray=_weight("gray", "Distance from gray", "Charges colors far from mid-gray."),
            seam=_weight(
                "seam",
                "Seam penalty (ViT)",
                "Charges steps across patch borders that are larger than those inside patches.",
            ),
        )
        moves = controls.toggle(
            "moves",
            "Random moves",
            help="Shifts, turns and scales the picture a little before each look. Without them the "
            "patch grid of a transformer shows most.",
        )
    effect = controls.toggle(
        "effect",
        "Show the seam penalty's effect",
        help="Makes the picture of a model with patches twice, without and with the penalty, from "
        "the same seed.",
    )
    without = replace(regularization, seam=0.0)
    wanted: list[tuple[Model, str, Regularization]] = []
    for model in objectives:
        seams = isinstance(model, VisionTransformer) and bool(regularization.seam)
        if not seams or effect:
            wanted.append((model, f"{model.spec.title} · no seam penalty", without))
        if seams:
            penalty = f"{model.spec.title} · seam penalty {regularization.seam:g}"
            wanted.append((model, penalty, regularization))
    tasks = [
        Task(
            title=title,
            model=model,
            objective=objectives[model],
            regularization=charged,
            steps=steps,
            side=side if model.flexible else model.preprocessing.size,
            seed=seed,
            patch=model.patch if isinstance(model, VisionTransformer) else grid,
            transforms=Transforms() if moves else STILL,
        )
        for model, title, charged in wanted
    ]
    return tasks, refusals


def _patch(models: Sequence[Model]) -> int:
    """Pixels of a side of a patch of the first model that has patches, by which seams of pictures
    of models without are measured; `NO_PATCH` where none has any."""
    found = (model.patch for model in models if isinstance(model, VisionTransformer))
    return next(found, NO_PATCH)


def _side(models: Sequence[Model], patch: int) -> int:
    for fixed in (model for model in models if not model.flexible):
        size = fixed.preprocessing.size
        st.caption(f"{plain(fixed.spec.title)} takes only {size} × {size} pixels.")
    flexible = [model for model in models if model.flexible]
    if not flexible:
        return models[0].preprocessing.size
    whole = math.lcm(*(model.multiple for model in flexible if model.multiple > 1), 1)
    whole = patch if whole == 1 else whole
    sides = sorted({max(whole, round(side / whole) * whole) for side in SIDES})
    side: int = controls.select(
        "side",
        "Size in pixels",
        sides,
        min(sides, key=lambda side: abs(side - START)),
        lambda side: f"{side} × {side}",
        help=f"Whole patches ({whole} pixels). Half the side takes about a quarter of the time.",
    )
    return side


def _weight(field: str, label: str, help: str) -> float:
    start = float(getattr(DEFAULT, field))
    return float(controls.slider(field, label, 0.0, 4 * start, start / 10, start, help=help))


def _classes(models: Sequence[Model], scene: Scene) -> tuple[dict[Model, Objective], list[str]]:
    """One class for all models, as far as they know it."""
    objectives: dict[Model, Objective] = {}
    refusals: list[str] = []
    labeled = [model for model in models if model.classes]
    target = ""
    if labeled:
        known = [name for model in labeled for name in model.labels]
        answers = []
        if not set(scene.picture.classes) & set(known):
            recordings = [cache.recording(model.spec.id, scene) for model in labeled]
            answers = [recording.predictions()[0] for recording in recordings]
        likely = controls.automatic_classes(scene.picture.classes, known, *answers)
        target = controls.class_picker(likely, *labeled)
    for model in models:
        if not model.classes:
            refusals.append(
                f"{model.spec.title} was trained without classes, so no picture can be made for "
                "one; choose Channel to see what excites one of its channels."
            )
        elif target not in model.labels:
            refusals.append(f"{model.spec.title} knows no class {target!r}.")
        else:
            objectives[model] = core.class_logit(controls.index_of(model, target))
    return objectives, refusals


def _channels(models: Sequence[Model], scene: Scene) -> tuple[dict[Model, Objective], list[str]]:
    """A channel of each model."""
    objectives: dict[Model, Objective] = {}
    for number, model in enumerate(models):
        if not model.taps:
            continue
        feature, title = controls.feature_of(number, model), plain(model.spec.title)
        if isinstance(model, VisionTransformer):
            word, default = "block", f"block.{model.depth // 2}.output"
        else:
            maps = [name for name, tap in model.taps.items() if "channel" in tap.axes]
            word, default = "layer", maps[-1]
        tap = controls.tap_picker(feature, f"{title}, {word}", default)
        channel = _channel(feature, f"{title}, channel", tap, scene)
        if isinstance(model, VisionTransformer):
            objectives[model] = _vit_objective(model, tap, channel)
        else:
            objectives[model] = core.conv_channel(tap, channel)
    return objectives, [model.limits for model in models if not model.taps]


def _channel(feature: controls.Feature, label: str, name: str, scene: Scene) -> int:
    model = feature.model
    with st.spinner(f"Reading {name} …", show_time=True):
        values = cache.features(model.spec.id, scene, name)
    strongest = int(representations.by_activity(values)[0])
    return controls.channel_picker(feature, label, model.tap(name), strongest)


def _vit_objective(vit: VisionTransformer, name: str, place: int) -> Objective:
    """Maximize feature ``place`` of a tap; features are counted over all heads."""
    block, _, part = name.rpartition(".")
    layer, tap = int(block.rpartition(".")[2]), vit.tap(name)
    if part == "output":
        return core.block_channel(layer, place)
    if part == "hidden":
        return core.mlp_channel(layer, place)
    head, channel = divmod(place, tap.channels)
    return core.head_channel(layer, head, channel, kind=part)  # type: ignore[arg-type]


# -- the run ------------------------------------------------------------------------------------


def start_or_stop(place: st.delta_generator.DeltaGenerator, tasks: Sequence[Task]) -> None:
    """The button above the settings, with what is going to be made below it."""
    run = _running()
    with place.container():
        if run is None and st.button(
            "Start",
            type="primary",
            icon=":material/play_arrow:",
            width="stretch",
            disabled=not tasks,
            key="start",
        ):
            _begin(tasks)
            st.rerun()
        if run is not None:
            st.button(
                "Stop",
                icon=":material/stop:",
                width="stretch",
                help="Keeps what has been made so far.",
                key="stop",
                disabled=run.stopped,
                on_click=run.stop,
            )
            st.caption("What you change below counts for the next run.")
        elif tasks:
            count = f"{len(tasks)} picture{'s' if len(tasks) > 1 else ''}, {tasks[0].steps} steps"
            seconds = expected(tasks)
            time = "the time is measured at the start" if seconds is None else duration(seconds)
            st.caption(f"{count}: {time}.")


def _begin(tasks: Sequence[Task]) -> None:
    """Start a run; what cannot be made is said, and what was made before stays."""
    try:
        screen.keep(_RUN, Run(tasks).start())
    except MethodError as error:
        made = screen.kept(_MADE) or Made()
        screen.keep(_MADE, replace(made, problems=(str(error),)))


def _running() -> Run | None:
    """The run that goes on; one that has ended is put among what was made."""
    run: Run | None = screen.kept(_RUN)
    if run is not None and run.ended:
        grown = tuple(result for result in run.results if result.image is not None)
        before = screen.kept(_MADE) or Made()
        screen.keep(_MADE, Made(grown or before.results, tuple(run.problems)))
        screen.keep(_RUN, None)
        run = None
    return run


def growing() -> None:
    """The pictures of the run that goes on, looked at again and again until it has ended."""
    run = _running()
    if run is not None:
        st.fragment(_watch, run_every=EVERY)(run)


def _watch(run: Run) -> None:
    if run.ended:
        st.rerun()
    run.watch()
    st.progress(min(1.0, run.done), _status(run))
    for column, result in zip(st.columns(max(2, len(run.results))), run.results, strict=False):
        with column:
            _heading(result)
            if result.image is None:
                st.caption("Waits for its turn.")
                continue
            # In the message itself: a file would be gone when the next picture is there.
            preview = figures.data_uri(result.image, quality=65)
            st.image(preview, width="stretch", alt=f"Grows: {_named(result)}")
            st.caption(f"Step {len(result.history)} of {result.planned}")


def _status(run: Run) -> str:
    if run.stopped:
        return "Stopping …"
    left = run.seconds_left
    if left is None:
        return "Timing the first steps …"
    return f"{run.current.title}: {duration(left)} left"


def duration(seconds: float) -> str:
    """A time that was estimated, for people."""
    if seconds < 100:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min"


# -- what was made ------------------------------------------------------------------------------


def results(refusals: Sequence[str]) -> None:
    """Pictures, seam energies and loss curves of the last run, finished or stopped."""
    made: Made = screen.kept(_MADE) or Made()
    for sentence in made.problems:
        st.warning(plain(sentence), icon=":material/warning:")
    for sentence in refusals:
        st.info(plain(sentence), icon=":material/block:")
    running = screen.kept(_RUN) is not None
    if not made.results:
        if not running:
            st.info(
                "Press **Start**: the pictures grow here, step by step. You can stop at any time, "
                "change settings or look at another page meanwhile; what has been made stays.",
                icon=":material/auto_awesome:",
            )
        return
    if running:
        st.markdown("**The run before**, until this one has ended")
    columns = st.columns(max(2, len(made.results)))
    for place, (column, result) in enumerate(zip(columns, made.results, strict=False)):
        with column:
            _show(result, place)
    losses = {result.title: result.history for result in made.results}
    st.markdown("**Loss**: minus the objective's value, without the penalties, step by step")
    panels.chart(figures.curves(losses, "loss"), "maximization-loss", "Loss over the steps")
    st.caption(
        "Each model's loss is in its own unit (logits or activations): compare the shapes of the "
        "curves, not their heights."
    )


def _heading(result: Result) -> None:
    model, _, penalty = result.title.rpartition(" · ")
    panels.title(model, penalty)


def _named(result: Result) -> str:
    return f"{result.title}, {result.objective}"


def _show(result: Result, place: int) -> None:
    done = len(result.history)
    assert result.image is not None
    gather.picture(_named(result), result.image, result.code)
    _heading(result)
    st.image(result.image, width="stretch", output_format="PNG", alt=_named(result))
    st.download_button(
        "PNG",
        data=_saved(result.image),
        file_name=_file_name(result),
        mime="image/png",
        icon=":material/download:",
        key=f"download-{place}",
        on_click="ignore",
    )
    st.metric(
        "Seam energy",
        f"{round(seam_energy_of(result.image, result.patch), 2) + 0.0:+.2f}",
        help=f"For patches of {result.patch} pixels, on the picture as shown: 0 means that no "
        "patch grid is visible; below 0 the borders are smoother than the insides.",
    )
    stopped = "" if done >= result.planned else f", stopped at {done}"
    objective = result.objective[:1].upper() + result.objective[1:]
    st.caption(
        f"{plain(objective)}. {result.planned} steps{stopped}, {result.side} × {result.side} "
        f"pixels, seed {result.seed}, {'with' if result.moves else 'without'} random moves. "
        f"Trained on: {result.pretraining}."
    )


def _saved(image: Image.Image) -> Callable[[], bytes]:
    def png() -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()

    return png


def _file_name(result: Result) -> str:
    words = "".join(c if c.isalnum() else " " for c in f"{result.title} {result.objective}")
    return f"{'-'.join(words.split())[:80].lower()}-seed-{result.seed}.png"
