"""CNN and ViT on the same picture, for the same class: two maps side by side."""

import streamlit as st

from dashboard import cache, controls, panels, scene
from dashboard.text import plain

shown = scene.current()
cnn, vit = cache.model(shown.cnn.id), cache.model(shown.vit.id)

panels.head(
    "Compare",
    "The same pixels, the same class, through both models: bright places count for that class.",
    "Each map shows which places of the picture count for **one class**, by that model's own "
    "computation. Bright does not mean that the object is there. A map marked “no class” (plain "
    "rollout, attention) is the same whatever the class: it shows where the ViT looks, not why it "
    "answers. Colors begin at zero, where the picture is left as it is; what speaks against the "
    "class is colored, in blue, only if you ask for it under Display. Point at a place to read it "
    "in both maps; drag to zoom, double-click to zoom out.",
    "Zhou 2016 (CAM), Selvaraju 2017 (Grad-CAM), Abnar & Zuidema 2020 (rollout), Chefer 2021, "
    "Bousselham 2024 (LeGrad)",
)
class_column, cnn_column, vit_column, parameter_column, display_column = st.columns(
    [3, 2, 3, 2, 2], vertical_alignment="bottom"
)
with cnn_column:
    cnn_choice = controls.method_choice("cnn_map", "CNN map", cnn)
with vit_column:
    vit_choice = controls.method_choice("vit_map", "ViT map", vit, "gradient_rollout")
choices = (cnn_choice, vit_choice)
with parameter_column, st.popover("Parameters", icon=":material/tune:", width="stretch"):
    for choice in choices:
        controls.choice_widgets(choice)
with display_column:
    display = controls.display(
        "The two maps have different units, so on one scale each is shown as multiples of its own "
        "mean (negative values as 0): equal colors mean an equal share of the relevance."
    )
with st.skeleton(height=360), st.spinner("Running both models …", show_time=True):
    recordings = {
        choice.model: cache.recording(choice.model.spec.id, shown, needs=choice.needs)
        for choice in choices
    }
labeled = [model for model in (cnn, vit) if model.classes]
answered = {model: recordings[model].predictions()[0] for model in labeled}
target = ""
with class_column:
    if labeled:
        known = [name for model in labeled for name in model.labels]
        likely = controls.automatic_classes(shown.picture.classes, known, *answered.values())
        target = controls.class_picker(likely, *labeled)
panels.doubt(shown.picture, answered, *filter(None, [target]))
with st.spinner("Explaining …"):
    maps = [(c.model.spec.title, panels.made(c, shown, target)) for c in choices]
    artifacts = cache.artifacts(shown)

notes = panels.side_by_side(cache.view(shown), maps, display, "compare", artifacts=artifacts)
with st.container(key="answers"):
    figures_column, *table_columns = st.columns(3, gap="medium")
with figures_column:
    panels.agreement_figures(maps[0][1], maps[1][1])
    for (title, _), note in zip(maps, notes, strict=True):
        if note:
            st.caption(f"**{plain(title)}.** {note}")
    panels.chance_check(shown, choices, target)
for column, (model, recording) in zip(table_columns, recordings.items(), strict=True):
    with column:
        panels.top_five(model, recording, target, shown.picture.digest)
panels.training_note(shown.cnn, shown.vit)
panels.times(maps, recordings)
