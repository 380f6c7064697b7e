"""Maps of several classes on one picture, beside plain rollout and the CNN's maps."""

import streamlit as st

import core
from dashboard import cache, class_views, controls, panels, scene

shown = scene.current()
cnn, vit = cache.model(shown.cnn.id), cache.model(shown.vit.id)

panels.head(
    "Gradient rollout",
    "What counts for one class and what for another, on the same picture.",
    "Each column is **one class**: the ViT's map above, the CNN's map of the same class below. "
    "Plain rollout, first, is the same picture for every class: it shows where the ViT looks, not "
    "why it answers. The ViT's maps weight attention by a gradient, which is local: they do not "
    "tell what the model would answer without a patch. Point at a place to read it in all maps of "
    "a row; drag to zoom, double-click to zoom out.",
    "Gildenblat 2020 (vit-explain), Chefer 2021, Bousselham 2024 (LeGrad), Zhou 2016 (CAM)",
)
class_column, vit_column, cnn_column, parameter_column, display_column = st.columns(
    [5, 3, 2, 2, 2], vertical_alignment="bottom"
)
rows = (("vit", vit, vit_column), ("cnn", cnn, cnn_column))
methods, parameters, refusals = {}, {}, {}
for kind, model, column in rows:
    field = "class_map" if kind == "vit" else "cnn_map"
    with column:
        try:
            methods[kind] = (
                controls.method_picker(
                    field, "ViT map", model, "gradient_rollout", class_specific=True
                )
                if kind == "vit"
                else controls.method_picker(field, "CNN map", model)
            )
            parameters[kind] = controls.parameters(field, methods[kind], model)
        except core.UnsupportedMethod as error:
            refusals[kind] = str(error)
with parameter_column, st.popover("Parameters", icon=":material/tune:", width="stretch"):
    for kind, model, _ in rows:
        if kind in methods:
            st.markdown(f"**{methods[kind].title}**")
            field = "class_map" if kind == "vit" else "cnn_map"
            controls.parameter_widgets(field, methods[kind], model, parameters[kind])
with display_column:
    display = controls.display("On one scale equal colors mean equal values in a model's maps.")

predictions = {}
with st.skeleton(height=360), st.spinner("Running both models …", show_time=True):
    for kind, model, _ in rows:
        needs = core.needs(vit, "rollout") if kind == "vit" else core.Needs()
        if kind in methods:
            needs |= core.needs(model, methods[kind].name, **parameters[kind])
        recording = cache.recording(model.spec.id, shown, needs=needs)
        if recording.logits is not None:
            predictions[kind] = recording.predictions()[0]
labeled = [model for model in (cnn, vit) if model.classes]
known = [name for model in labeled for name in model.labels]
answers = [predictions[kind] for kind in ("cnn", "vit") if kind in predictions]
classes: list[str] = []
with class_column:
    if labeled:
        likely = controls.automatic_classes(shown.picture.classes, known, *answers)
        classes = controls.classes_picker(likely, *labeled)
panels.doubt(
    shown.picture,
    {model: predictions[kind] for kind, model, _ in rows if kind in predictions},
    *classes,
)
columns = class_views.both_rows(
    shown, {"vit": vit, "cnn": cnn}, methods, parameters, refusals, classes, display
)
class_views.differences(
    [(model.spec.title, columns[kind]) for kind, model, _ in rows if kind in columns]
)
animated = parameters["vit"] if "vit" in methods else {}
if "vit" not in methods or methods["vit"].name != "gradient_rollout":
    animated = {}
class_views.discard_animation(shown, vit, classes, animated, display)
