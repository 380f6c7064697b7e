"""Maps of several classes on one picture, a row for each model, beside plain rollout."""

import streamlit as st

import core
from dashboard import cache, class_views, controls, panels, session
from dashboard.choices import FIRST, automatic_classes
from dashboard.text import plain

shown = session.scene()
models = [cache.model(model_id) for model_id in shown.ids]

panels.head(
    "Gradient rollout",
    "What counts for one class and what for another, on the same picture.",
    "Each column is **one class**, each row one model's maps of these classes. Plain rollout, "
    "first in the row of a ViT, is the same picture for every class: it shows where the ViT looks, "
    "not why it answers. The ViT's maps weight attention by a gradient, which is local: they do "
    "not tell what the model would answer without a patch. Point at a place to read it in all maps "
    "of a row; drag to zoom, double-click to zoom out.",
    "Gildenblat 2020 (vit-explain), Chefer 2021, Bousselham 2024 (LeGrad), Zhou 2016 (CAM)",
)
# Rows that begin with a plain rollout come first.
places = [*enumerate(models)]
rolling = [(i, m) for i, m in places if any(x.name == class_views.ROLLOUT for x in core.methods(m))]
ordered = [*rolling, *(one for one in places if one not in rolling)]
class_column, *method_columns, parameter_column, display_column = st.columns(
    [5, *[2.5] * len(ordered), 2, 2], vertical_alignment="bottom"
)
rows = []
for (number, model), column in zip(ordered, method_columns, strict=True):
    with column:
        slot = controls.row_slot(number, model)
        choice = controls.method_choice(slot, plain(model.spec.title), model, class_specific=True)
        rows.append(class_views.Row(number, choice))
with parameter_column, st.popover("Parameters", icon=":material/tune:", width="stretch"):
    for row in rows:
        controls.choice_widgets(row.choice)
with display_column:
    display = controls.display("On one scale equal colors mean equal values in a model's maps.")

predictions = {}
with st.skeleton(height=360), st.spinner("Running the models …", show_time=True):
    for row in rows:
        needs = core.needs(row.model, class_views.ROLLOUT) if row.has_rollout else core.Needs()
        recording = cache.recording(row.model.spec.id, shown, needs=needs | row.choice.needs)
        if recording.logits is not None:
            predictions[row.model] = recording.predictions()[0]
labeled = [model for model in models if model.classes]
known = [name for model in labeled for name in model.labels]
answers = [predictions[model] for model in models if model in predictions]
classes: list[str] = []
with class_column:
    if labeled:
        likely = automatic_classes(shown.picture.classes, known, *answers)
        classes = controls.classes_picker(likely, *labeled)
panels.doubt(shown.picture, predictions, *classes)
found = class_views.all_rows(shown, rows, classes, display)
class_views.differences([(row.model.spec.title, columns) for row, columns in found])
if animated := next((row for row in rows if row.has_rollout), None):
    method = animated.choice.method
    chosen = animated.choice.values if method and method.name == FIRST else {}
    class_views.discard_animation(shown, animated.model, classes, chosen, display)
