"""A picture and one to four looks at it: model × method × parameters, for the same class."""

import streamlit as st

from dashboard import cache, compare_columns, controls, panels, scene
from dashboard.text import plain

shown = scene.current()
models = {spec.id: cache.model(spec.id) for spec in shown.models}

head = panels.head(
    "Compare",
    "The same pixels, the same class, through every model: bright places count for that class.",
    "Each map shows which places of the picture count for **one class**, by that model's own "
    "computation. Bright does not mean that the object is there. A map marked “no class” (plain "
    "rollout, attention) is the same whatever the class: it shows where the ViT looks, not why it "
    "answers. Colors begin at zero, where the picture is left as it is; what speaks against the "
    "class is colored, in blue, only if you ask for it under Display. Point at a place to read it "
    "in all maps; drag to zoom, double-click to zoom out. **Add a column** sets another model "
    "beside these, or another method or definition of one that is there.",
    "Zhou 2016 (CAM), Selvaraju 2017 (Grad-CAM), Abnar & Zuidema 2020 (rollout), Chefer 2021, "
    "Bousselham 2024 (LeGrad)",
)
with head:
    added = st.container(width="content")
    display = controls.display(
        "The maps have different units, so on one scale each is shown as multiples of its own "
        "mean (negative values as 0): equal colors mean an equal share of the relevance.",
        width="content",
    )
looks = compare_columns.container()
with looks:
    class_column, choices = compare_columns.heads(models)
with added:
    compare_columns.adder(models)
with st.skeleton(height=360), st.spinner("Running the models …", show_time=True):
    recordings = {
        model: cache.recording(model.spec.id, shown, needs=controls.needs_of(choices, model))
        for model in models.values()
    }
labeled = [model for model in models.values() if model.classes]
answered = {model: recordings[model].predictions()[0] for model in labeled}
target = ""
with class_column:
    if labeled:
        known = [name for model in labeled for name in model.labels]
        likely = controls.automatic_classes(shown.picture.classes, known, *answered.values())
        target = controls.class_picker(likely, *labeled)
panels.doubt(shown.picture, answered, *filter(None, [target]))
with st.spinner("Explaining …"):
    maps = [(choice.model.spec.title, panels.made(choice, shown, target)) for choice in choices]
    artifacts = {
        model_id: found
        for model_id in models
        if (found := cache.artifacts(model_id, shown)) is not None
    }
with looks:
    notes = panels.side_by_side(
        cache.view(shown),
        maps,
        display,
        "compare",
        artifacts=artifacts,
        details=[choice.own for choice in choices],
        least=compare_columns.least(len(choices)),
    )
with st.container(key="answers"):
    figures_column, *table_columns = st.columns(1 + len(models), gap="medium")
named = [(choice.name, found) for choice, (_, found) in zip(choices, maps, strict=True)]
with figures_column:
    panels.agreement_figures(named)
    for (name, _), note in zip(named, notes, strict=True):
        if note:
            st.caption(f"**{plain(name)}.** {note}")
    panels.chance_check(shown, choices, target)
for column, (model, recording) in zip(table_columns, recordings.items(), strict=True):
    with column:
        panels.top_five(model, recording, target, shown.picture.digest)
panels.training_note(shown.models)
panels.times(choices, maps, recordings)
