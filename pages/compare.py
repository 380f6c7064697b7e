"""CNN and ViT on the same picture: class activation map beside attention rollout."""

import streamlit as st

import core
from dashboard import cache, controls, panels, state

scene = state.scene()
cnn, vit = cache.model(scene.cnn.id), cache.model(scene.vit.id)

panels.head(
    "Compare",
    "The same pixels through both models: the **CNN**'s map of one class, beside what the "
    "**ViT**'s attention gathers. Plain rollout and attention do not depend on the class, the "
    "CNN's maps do: choose a class-specific ViT map to compare like with like. Bright means "
    "relevant to that model's own computation, not that the object is there.",
    "Zhou 2016 (CAM), Selvaraju 2017 (Grad-CAM), Abnar & Zuidema 2020 (rollout), Chefer 2021, "
    "Bousselham 2024 (LeGrad)",
)

class_column, cnn_column, vit_column, display_column = st.columns(
    [3, 3, 3, 2], vertical_alignment="bottom"
)
with cnn_column:
    cnn_method = controls.method_picker("CNN map", cnn, "cnn_map")
with vit_column:
    vit_method = controls.method_picker("ViT map", vit, "vit_map", "rollout")
with display_column:
    display = controls.display(
        "compare",
        "The two maps have different units, so on one scale each is shown as multiples of its own "
        "mean (negative values as 0): equal colors mean an equal share of the relevance.",
    )
    with st.popover("Parameters", icon=":material/tune:", width="stretch"):
        st.markdown(f"**{cnn_method.title}**")
        cnn_parameters = controls.parameters(cnn_method, cnn, "compare")
        st.markdown(f"**{vit_method.title}**")
        vit_parameters = controls.parameters(vit_method, vit, "compare")
with st.spinner("Running both models …", show_time=True):
    recordings = {
        model: cache.recording(model.spec.id, scene, needs=core.needs(model, method.name, **params))
        for model, method, params in (
            (cnn, cnn_method, cnn_parameters),
            (vit, vit_method, vit_parameters),
        )
    }
with class_column:
    prediction = recordings[cnn].predictions()[0]
    target = controls.class_picker(cnn.labels, prediction.top, "class", vit)

with st.spinner("Explaining …"):
    [left] = cache.explain(cnn.spec.id, scene, cnn_method.name, (target,), cnn_parameters)
    vit_target = controls.same_class(cnn, vit, target) if vit_method.class_specific else None
    [right] = cache.explain(vit.spec.id, scene, vit_method.name, (vit_target,), vit_parameters)

picture_column, cnn_column, vit_column = st.columns(3, gap="medium")
with picture_column:
    panels.seen(left.view, "compare-picture")
with cnn_column:
    panels.explained(left, display, "compare-cnn", (right,), caption=cnn.spec.title)
with vit_column:
    with st.spinner("Looking for artifact patches …"):
        artifacts = cache.artifacts(scene)
    panels.explained(
        right, display, "compare-vit", (left,), caption=vit.spec.title, artifacts=artifacts
    )

correlation, overlap = panels.agreement(left, right)
metrics = st.columns(4)
metrics[0].metric(
    "Rank correlation",
    panels.number(correlation),
    help="Spearman's, over the finer patch grid: 1 same order, 0 unrelated, −1 reversed.",
)
metrics[1].metric(
    "Overlap of top 20 %",
    panels.number(overlap),
    help="Intersection over union of the brightest fifth of the area; 0.11 is what chance gives.",
)
for place, opened, explanation in ((metrics[2], cnn, left), (metrics[3], vit, right)):
    seconds = recordings[opened].seconds
    place.metric(
        f"{opened.spec.title}",
        f"{1000 * (seconds + explanation.seconds):.0f} ms",
        help=f"Forward pass {1000 * seconds:.0f} ms, then {1000 * explanation.seconds:.0f} ms for "
        f"{explanation.title}, when it was first computed.",
    )

table_columns = st.columns(2, gap="medium")
for place, opened in zip(table_columns, (cnn, vit), strict=True):
    with place:
        panels.top_five(opened, recordings[opened], cnn.label(target), scene.picture.digest)
panels.training_note(scene.cnn, scene.vit)
