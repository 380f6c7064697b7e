"""Widgets and layout of Activation maximization."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core import VisionTransformer
from dashboard import controls, figures, panels, session
from dashboard.text import duration, plain
from pages.activation_maximization import examples
from pages.activation_maximization.run import Making, Result, Run, expected
from pages.activation_maximization.settings import (
    STEPS,
    USUAL_STEPS,
    Channel,
    Settings,
    Size,
    usual_weight,
    weight_limit,
)
from pages.activation_maximization.view import Maximization, Picture

EVERY = 1.5
"""Seconds between two updates of the growing pictures."""

KINDS = {"phase": "phase", "fourier": "Fourier coefficients"}
"""Parameterizations, in a sentence."""

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
"""The settings keep a readable width."""


def draw(view: Maximization) -> None:
    """Settings at the left; growing and finished pictures at the right."""
    panels.head(
        "Activation maximization",
        "Pictures optimized from noise so that one class or channel responds as strongly as "
        "possible.",
        "All models get the same number of steps and the same seed. A picture shows what excites "
        "**one class or channel** most, not what it needs in photographs, and depends on the "
        "parameterization and the regularizers. With **phase**, every frequency is as strong as in "
        "photographs and only its phase is optimized; what the class does not depend on fades to "
        "white. With **Fourier**, frequencies are free. What all models make of the result is "
        "stated below it: one that convinces another model as well is no mere adversarial "
        "texture. **Seam energy** measures the visible patch grid of a transformer: 0 means "
        "that steps across patch borders are no larger than steps inside patches.",
        "Fel 2023 (MACO), Olah 2017 (Feature Visualization, Distill), Lucid; the seam penalty is "
        "this project's own",
    )
    st.html(STYLE)
    left, right = st.columns([2, 5], gap="medium")
    with left, st.container(key="maximize-settings"):
        _start_or_stop(view)
        _settings(view.settings)
    with right:
        if view.run is not None:
            st.fragment(_watch, run_every=EVERY)(view.run)
        _results(view)


# -- settings -------------------------------------------------------------------------------------


def _settings(chosen: Settings) -> None:
    """Widgets for objective, budget and regularizers."""
    controls.segments("objective", "Maximize", ("class", "channel"))
    if chosen.classes.shown:
        labeled = [model for model in chosen.models if model.classes]
        controls.class_picker(chosen.classes, *labeled)
    for channel in chosen.channels:
        _channel(channel)
    controls.segments(
        "parameterization",
        "Parameterization",
        ("phase", "fourier"),
        help="Phase: the magnitudes are those of photographs, and only the phase is optimized. "
        "Fourier: all coefficients are optimized.",
    )
    controls.slider("steps", "Steps", *STEPS, 16, USUAL_STEPS[chosen.parameterization])
    for fixed in (model for model in chosen.models if not model.flexible):
        pixels = fixed.preprocessing.size
        st.caption(f"{plain(fixed.spec.title)} takes only {pixels} × {pixels} pixels.")
    if chosen.size.offered:
        _size(chosen.size)
    with st.expander("Regularizers and seed", icon=":material/tune:"):
        controls.number("seed", "Seed", 0, 2**31 - 1)
        _weight("variation", "Total variation", "Penalizes differences between neighboring pixels.")
        _weight("gray", "Distance from gray", "Penalizes colors far from mid-gray.")
        _weight(
            "seam",
            "Seam penalty (ViT)",
            "Penalizes steps across patch borders that are larger than those inside patches.",
        )
        controls.toggle(
            "moves",
            "Random moves",
            help="Shifts, rotates and scales the picture slightly before each step; with phase, "
            "looks at random crops of it. Without them the patch grid of a transformer is most "
            "visible.",
        )
    if chosen.parameterization == "phase":
        controls.segments(
            "transparency",
            "Shown",
            ("white", "bare"),
            titles={"white": "On white", "bare": "Bare"}.__getitem__,
            help="On white, places fade that the objective depended on little while the picture "
            "was made.",
        )
    controls.toggle(
        "twin",
        "Also without seam penalty",
        help="Makes the picture of each model with patches twice, without and with the penalty, "
        "from the same seed, so that its effect can be seen.",
    )


def _channel(chosen: Channel) -> None:
    model = chosen.feature.model
    title = plain(model.spec.title)
    word = "block" if isinstance(model, VisionTransformer) else "layer"
    controls.tap_picker(chosen.feature, f"{title}, {word}", chosen.tap.name)
    controls.channel_picker(
        chosen.feature, f"{title}, channel", chosen.tap, chosen.strongest, chosen.channel
    )


def _size(chosen: Size) -> None:
    controls.select(
        "side",
        "Size in pixels",
        chosen.offered,
        chosen.side,
        lambda side: f"{side} × {side}",
        help=f"Whole patches ({chosen.whole} pixels). Half the side takes about a quarter of the "
        "time.",
    )


def _weight(field: str, label: str, help: str) -> None:
    most, start = weight_limit(field), usual_weight(session.screen(), field)
    controls.slider(field, label, 0.0, most, most / 40, start, help=help)


# -- the run --------------------------------------------------------------------------------------


def _start_or_stop(view: Maximization) -> None:
    """The button above the settings, with the planned pictures below it."""
    run, tasks = view.run, view.settings.tasks
    if run is None and st.button(
        "Start",
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        disabled=not tasks,
        key="start",
    ):
        session.kept(Making).begin(tasks)
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
        st.caption("Changes below take effect in the next run.")
    elif tasks:
        count = f"{len(tasks)} picture{'s' if len(tasks) > 1 else ''}, {tasks[0].steps} steps"
        seconds = expected(tasks)
        time = "the time is measured at the start" if seconds is None else duration(seconds)
        st.caption(f"{count}: {time}.")


def _watch(run: Run) -> None:
    """The pictures of the current run, updated until it has ended."""
    if run.ended:
        st.rerun()
    run.watch()
    st.progress(min(1.0, run.done), _status(run))
    for column, result in zip(st.columns(max(2, len(run.results))), run.results, strict=False):
        with column:
            _heading(result)
            shown = result.preview if result.image is None else result.image
            if shown is None:
                st.caption("Waiting for its turn.")
                continue
            # As a data URI: a file would be removed before the next picture arrives.
            source = figures.data_uri(shown, quality=65)
            st.image(source, width="stretch", alt=f"Grows: {result.name}")
            if result.image is None:
                st.caption(f"A preview of {shown.width} × {shown.height} pixels.")
            else:
                st.caption(f"Step {len(result.history)} of {result.planned}")


def _status(run: Run) -> str:
    if run.stopped:
        return "Stopping …"
    left = run.seconds_left
    if left is None:
        return "Timing the first steps …"
    return f"{run.current.title}: {duration(left)} left"


# -- what was made --------------------------------------------------------------------------------


def _results(view: Maximization) -> None:
    """Pictures, seam energies and loss curves of the last run, finished or stopped."""
    for sentence in view.failures:
        st.warning(plain(sentence), icon=":material/warning:")
    for sentence in view.settings.refusals:
        st.info(plain(sentence), icon=":material/block:")
    if view.losses is None:
        if view.run is None:
            st.info(
                "Press **Start**: the pictures grow here, step by step. You can stop at any time, "
                "change settings or open another page meanwhile; finished steps are kept.",
                icon=":material/auto_awesome:",
            )
            examples.draw()
        return
    if view.run is not None:
        st.markdown("**The previous run**, until this one has ended")
    columns = st.columns(max(2, len(view.results)))
    for place, (column, picture) in enumerate(zip(columns, view.results, strict=False)):
        with column:
            _picture(picture, place)
    st.markdown("**Loss**: minus the objective's value, without the penalties, step by step")
    panels.chart(view.losses)
    st.caption(
        "Each model's loss is in its own unit (logits or activations): compare the shapes of the "
        "curves, not their heights."
    )


def _heading(result: Result) -> None:
    model, _, penalty = result.title.rpartition(" · ")
    panels.title(model, penalty)


def _picture(made: Picture, place: int) -> None:
    result = made.result
    _heading(result)
    st.image(made.image, width="stretch", output_format="PNG", alt=made.name)
    st.download_button(
        "PNG",
        data=partial(figures.png, made.image),
        file_name=_file_name(result),
        mime="image/png",
        icon=":material/download:",
        key=f"download-{place}",
        on_click="ignore",
    )
    _opinions(result)
    st.metric(
        "Seam energy",
        f"{round(made.energy, 2) + 0.0:+.2f}",
        help=f"For patches of {result.patch} pixels, on the bare picture: 0 means that no patch "
        "grid is visible; below 0 the steps across borders are the smaller ones.",
    )
    stopped = "" if made.steps >= result.planned else f", stopped at {made.steps}"
    objective = result.objective[:1].upper() + result.objective[1:]
    st.caption(
        f"{plain(objective)}. {result.planned} steps{stopped}, {result.side} × {result.side} "
        f"pixels, {KINDS[result.parameterization]}, seed {result.seed}, "
        f"{'with' if result.moves else 'without'} random moves. "
        f"Trained on: {result.pretraining}."
    )


def _opinions(result: Result) -> None:
    """What each model calls the picture."""
    for one in result.opinions:
        first = f"**{plain(one.label)}** {one.probability:.2f}"
        also = (
            ""
            if one.wanted is None or one.label == result.wanted
            else (f", {plain(result.wanted)} {one.wanted:.2f}")
        )
        st.markdown(f"{plain(one.name)} calls it {first}{also}")


def _file_name(result: Result) -> str:
    words = "".join(c if c.isalnum() else " " for c in f"{result.title} {result.objective}")
    return f"{'-'.join(words.split())[:80].lower()}-seed-{result.seed}.png"
