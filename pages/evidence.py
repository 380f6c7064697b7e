"""The same question asked of every model, and whether a map is true to its model."""

import streamlit as st

from dashboard import cache, controls, evidence_removal, evidence_views, panels, session
from dashboard.choices import automatic_classes, needs_of, told_apart
from dashboard.evidence_parts import Asked, fill_picker
from dashboard.text import plain

QUESTIONS = {
    "removal": "Take it away",
    "curves": "Is the map true?",
    "randomization": "Was it learned?",
    "pointing": "Does it know the class?",
}
shown = session.scene()
models = {model_id: cache.model(model_id) for model_id in shown.ids}

panels.head(
    "Evidence",
    "Take away what a map calls important, and see what every model then answers.",
    "A map is a claim about a model. **Take it away** shows what the answer loses. **Is the map "
    "true?** removes patches in the map's order and compares with random order, the order from the "
    "center outward and that of edges; what lies within the stated interval is not "
    "distinguishable. **Was it learned?** makes the model forget, layer by layer: a map that stays "
    "does not show what the model knows. A method that draws at random (RISE, SmoothGrad) draws "
    "anew each time, and how much two draws on the intact model agree is the most that can be "
    "expected. **Does it know the class?** puts four pictures into one and looks where each "
    "class's map lies. All models always get the same pixels, and parts are removed on the patch "
    "grid of the first ViT.",
    "Zeiler & Fergus 2014, Petsiuk 2018 (deletion, insertion), Adebayo 2018 (randomization), "
    "Böhle 2021 (grid pointing), Naseer 2021 (dropping, shuffling)",
)
question = controls.segments(
    "question", "Question", tuple(QUESTIONS), titles=QUESTIONS.__getitem__, hidden_label=True
)
slots = controls.column_slots()
class_column, *look_columns, fill_column, parameter_column, display_column = st.columns(
    [3, *[2.5] * len(slots), 2, 2, 2], vertical_alignment="bottom"
)
found = []
for slot, column in zip(slots, look_columns, strict=True):
    with column:
        model = models[slot.look.model]
        found.append(controls.method_choice(slot, plain(model.spec.title), model))
choices = tuple(told_apart(found))
with fill_column:
    fill = fill_picker()
with parameter_column, st.popover("Parameters", icon=":material/tune:", width="stretch"):
    for choice in choices:
        controls.choice_widgets(choice)
with display_column:
    display = controls.display("Maps of one model on one scale.")
asked_models = [*dict.fromkeys(choice.model for choice in choices)]
labeled = [model for model in asked_models if model.classes]
with st.skeleton(height=360), st.spinner("Running the models …", show_time=True):
    answers = [
        cache.recording(model.spec.id, shown, needs=needs_of(choices, model)).predictions()[0]
        for model in labeled
    ]
if not labeled:
    st.info("No model here has classes, so there is no answer that could change.")
    st.stop()
with class_column:
    known = [name for model in labeled for name in model.labels]
    likely = automatic_classes(shown.picture.classes, known, *answers)
    target = controls.class_picker(likely, *labeled)

asked = Asked(shown, choices, target, fill)
if question == "removal":
    evidence_removal.removal(asked)
elif question == "curves":
    evidence_views.curves(asked)
elif question == "randomization":
    evidence_views.randomization(asked, display)
else:
    evidence_views.pointing(asked, display)
