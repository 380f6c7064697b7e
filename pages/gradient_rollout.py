"""Class-specific maps: several classes on one picture, beside plain rollout and the CNN's maps."""

import streamlit as st

import core
from dashboard import cache, class_views, controls, panels, state

scene = state.scene()
cnn, vit = cache.model(scene.cnn.id), cache.model(scene.vit.id)

panels.head(
    "Class-specific gradient rollout",
    "What speaks for **one class** and what for another, on the same picture. Each column is a "
    "class; the ViT's class-specific map stands above the CNN's map of the same class. Plain "
    "rollout beside them is the same for every class: what it shows is no evidence for any. "
    "The maps weigh attention by a local gradient; they do not tell what the model would answer "
    "without a patch.",
    "Gildenblat 2020 (vit-explain), Chefer 2021, Bousselham 2024 (LeGrad), Zhou 2016 (CAM)",
)

class_column, vit_column, cnn_column, display_column = st.columns(
    [4, 2, 2, 2], vertical_alignment="bottom"
)
with vit_column:
    vit_method = controls.method_picker(
        "ViT map", vit, "class_map", "gradient_rollout", class_specific=True
    )
with cnn_column:
    cnn_method = controls.method_picker("CNN map", cnn, "cnn_map")
with display_column:
    display = controls.display("classes", "Equal colors mean equal values in all maps of a model.")
    with st.popover("Parameters", icon=":material/tune:", width="stretch"):
        parameters = controls.parameters(vit_method, vit, "classes")
with st.spinner("Running both models …", show_time=True):
    needs = core.needs(vit, vit_method.name, **parameters)
    predictions = {
        model: cache.recording(
            model.spec.id, scene, needs=needs if model is vit else None
        ).predictions()[0]
        for model in (cnn, vit)
    }
with class_column:
    classes = class_views.classes_picker(vit, scene.picture.classes, predictions[vit])
if not classes:
    st.info("Choose at least one class to see its map.", icon=":material/search:")
    st.stop()

cnn_classes = tuple(controls.same_class(vit, cnn, target) for target in classes)
with st.spinner("Explaining …", show_time=True):
    maps = cache.explain(vit.spec.id, scene, vit_method.name, tuple(classes), parameters)
    cnn_maps = cache.explain(cnn.spec.id, scene, cnn_method.name, cnn_classes)
    [plain] = cache.explain(vit.spec.id, scene, "rollout")

artifacts = cache.artifacts(scene)
class_views.side_by_side(vit, cnn, maps, cnn_maps, plain, predictions, display, artifacts)
class_views.discard_animation(scene, vit, classes, parameters, display)
