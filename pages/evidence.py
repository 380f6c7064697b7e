"""The same question asked of both models, and whether a map is true to its model."""

import streamlit as st

from dashboard import cache, controls, evidence_removal, evidence_views, panels, scene
from dashboard.evidence_parts import Asked, fill_picker

QUESTIONS = {
    "removal": "Take it away",
    "curves": "Is the map true?",
    "randomization": "Was it learned?",
    "pointing": "Does it know the class?",
}
shown = scene.current()
cnn, vit = cache.model(shown.cnn.id), cache.model(shown.vit.id)

panels.head(
    "Evidence",
    "Take away what a map calls important, and see what both models then answer.",
    "A map is a claim about a model. **Take it away** shows what the answer loses. **Is the map "
    "true?** removes patches in the map's order and compares with random order, the order from the "
    "center outward and that of edges; what lies within the stated interval is not "
    "distinguishable. **Was it learned?** makes the model forget, layer by layer: a map that stays "
    "does not show what the model knows. A method that draws at random (RISE, SmoothGrad) draws "
    "anew each time, and how much two draws on the intact model agree is the most that can be "
    "expected. **Does it know the class?** puts four pictures into one and looks where each "
    "class's map lies. Both models always get the same pixels, and parts are removed on the patch "
    "grid of the ViT.",
    "Zeiler & Fergus 2014, Petsiuk 2018 (deletion, insertion), Adebayo 2018 (randomization), "
    "Böhle 2021 (grid pointing), Naseer 2021 (dropping, shuffling)",
)
question = controls.segments(
    "question", "Question", tuple(QUESTIONS), titles=QUESTIONS.__getitem__, hidden_label=True
)
columns = st.columns([3, 2, 3, 2, 2, 2], vertical_alignment="bottom")
with columns[1]:
    cnn_choice = controls.method_choice("cnn_map", "CNN map", cnn)
with columns[2]:
    vit_choice = controls.method_choice("vit_map", "ViT map", vit, "gradient_rollout")
choices = (cnn_choice, vit_choice)
with columns[3]:
    fill = fill_picker()
with columns[4], st.popover("Parameters", icon=":material/tune:", width="stretch"):
    for choice in choices:
        controls.choice_widgets(choice)
with columns[5]:
    display = controls.display("Maps of one model on one scale.")
with st.skeleton(height=360), st.spinner("Running both models …", show_time=True):
    answers = [
        cache.recording(c.model.spec.id, shown, needs=c.needs).predictions()[0]
        for c in choices
        if c.model.classes
    ]
labeled = [model for model in (cnn, vit) if model.classes]
if not labeled:
    st.info("Neither model has classes, so there is no answer that could change.")
    st.stop()
with columns[0]:
    known = [name for model in labeled for name in model.labels]
    likely = controls.automatic_classes(shown.picture.classes, known, *answers)
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
