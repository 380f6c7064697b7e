"""Widgets and layout of Representation."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard import cache, controls, panels, session, show, taking
from dashboard.several_pictures import offered_pictures
from dashboard.text import plain
from pages.representation.asked import FEWEST, MOST, NEIGHBORS, Asked, percent
from pages.representation.fields import OF_FIELDS
from pages.representation.inside import Early, Found, Lengths, Removed
from pages.representation.likeness import Likeness, Near, Nearby
from pages.representation.options import Options
from pages.representation.reach import Reach
from pages.representation.view import Representation

QUESTIONS = {
    "layers": "Which layers are alike?",
    "distance": "How far does it look?",
    "norms": "Token norms",
    "neighbors": "Neighbors",
    "lens": "What would it answer here?",
    "ablation": "Take a head or block away",
}
COSTS = {
    "layers": "one pass of each model over each picture",
    "distance": f"one pass over each picture, and one way back for each layer and {OF_FIELDS} of "
    "the pictures",
    "norms": "one pass of each model over each picture",
    "neighbors": "one pass of each model over each picture",
    "lens": "one pass over each picture",
    "ablation": "one pass over each picture for each head or block",
}


def draw(view: Representation) -> None:
    """The head, the question, the models and pictures, and the answer."""
    panels.head(
        "Representation",
        "What each layer of the models represents, over a set of pictures.",
        "**Which layers are alike?** compares all values of two layers over the pictures: 1 means "
        "the same up to rotation and scale, about 0 unrelated (linear CKA, estimated without "
        "bias). Point at a cell for its layers and for what shuffled pictures give. **How far does "
        "it look?** shows the mean distance between a patch and those that a head attends to, and "
        "how far away pixels influence the center of a layer. **Token norms** shows which tokens "
        "are far longer than the others. **Neighbors** shows the pictures that a model holds for "
        "most alike. **What would it answer here?** reads the class token after each block with "
        "the final classifier. **Take a head or block away** counts the answers that change "
        "without it; without a block, what entered it goes on. All models get the same pixels.",
        "Kornblith 2019, Nguyen 2021 (CKA), Dosovitskiy 2020, Raghu 2021 (attention distance), "
        "Luo 2016 (receptive fields), Darcet 2023 (norms), nostalgebraist 2020 (logit lens)",
    )
    controls.segments(
        "represents",
        "Question",
        tuple(QUESTIONS),
        titles=QUESTIONS.__getitem__,
        hidden_label=True,
        also={"layers_measured": False, "ablated_part": None},
    )
    _choices(view)
    with show.tab():
        if view.asked.cropped:
            st.caption("All pictures here need one shape, so they are cropped.")
        if view.waits:
            _offer(view)
        _found(view)


def _found(view: Representation) -> None:
    match view.found:
        case Likeness():
            _likeness(view.found)
        case Nearby():
            _nearby(view.asked, view.found)
        case Reach():
            _reach(view.found)
        case Found():
            _inside(view.asked, view.found)
        case str():
            st.info(plain(view.found), icon=":material/visibility_off:")


def _offer(view: Representation) -> None:
    question = session.screen().of(Options).represents
    count = len(view.asked.pictures)
    st.info(
        f"This is not known yet for these {count} pictures and models: it takes "
        f"{COSTS[question]}. Press **Measure**.",
        icon=":material/layers:",
    )


# -- choices --------------------------------------------------------------------------------------


def _choices(view: Representation) -> None:
    """The models, the pictures, and the button that measures."""
    of = view.asked
    models, pictures, button = st.columns([4, 2, 1.4], gap="medium", vertical_alignment="bottom")
    with models:
        _models(of)
    with pictures:
        chosen = session.screen().of(Options).picture_set
        name = f"{len(of.pictures)} pictures" if chosen else f"The {len(of.pictures)} samples"
        with st.popover(name, icon=":material/photo_library:", width="stretch", key="set"):
            _pictures([picture.id for picture in of.pictures], bool(chosen))
    with button:
        _measure(view)


def _models(of: Asked) -> None:
    held = {spec.id: spec.title for spec in of.scene.models}
    chosen = [model.spec.id for model in of.models]
    if len(held) < 3:
        st.caption(plain(" and ".join(held.values())))
        return
    st.multiselect(
        "One or two models",
        list(held),
        format_func=held.__getitem__,
        max_selections=2,
        filter_mode="contains",
        select_all=False,
        **session.tied(
            "represented", chosen, lambda given: session.change(represented=tuple(given))
        ),
    )


def _measure(view: Representation) -> None:
    """Start what takes long; while it runs the same button ends it."""
    measured = view.asked.measured
    if not view.waits and not measured:
        return
    st.button(
        "Close" if measured else "Measure",
        key="measure",
        type="secondary" if measured else "primary",
        icon=":material/close:" if measured else ":material/play_arrow:",
        width="stretch",
        help="Ends what is still being computed; finished results are kept." if measured else None,
        on_click=lambda: session.change(
            layers_measured=not session.screen().of(Options).layers_measured
        ),
    )


def _pictures(chosen: list[str], own: bool) -> None:
    """Samples and uploaded pictures in one list; the choice stays in the address."""
    offered = offered_pictures(chosen, session.current().own)
    st.multiselect(
        f"Pictures, {FEWEST} to {MOST}",
        list(offered),
        max_selections=MOST,
        format_func=lambda picture_id: offered[picture_id].name,
        filter_mode="contains",
        **session.tied("picture_set", chosen, lambda held: _take(tuple(held))),
    )
    st.file_uploader(
        "Pictures to add",
        accept_multiple_files=True,
        type=["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"],
        max_upload_size=20,
        **session.tied(
            f"set-upload-{len(session.current().own)}",
            None,
            lambda given: _upload(given, chosen if own else []),
            seed=False,
        ),
    )
    if own:
        st.button(
            "All samples",
            key="set-samples",
            icon=":material/restart_alt:",
            on_click=session.guarded(lambda: _take(())),
        )
    else:
        st.caption(f"{FEWEST} or more uploaded pictures take the place of the samples.")


def _take(pictures: tuple[str, ...]) -> None:
    session.change(picture_set=pictures[:MOST], layers_measured=False, near_picture=None)


def _upload(given: Any, chosen: list[str]) -> None:
    added = taking.take_several(given)
    every = list(dict.fromkeys([*chosen, *added]))
    if len(every) > MOST:
        session.say(f"Up to {MOST} pictures make a set; the first ones are left out.")
    if added:
        _take(tuple(every[-MOST:]))


# -- answers --------------------------------------------------------------------------------------


def _likeness(found: Likeness) -> None:
    panels.chart(found.figure)
    st.caption("  \n".join(map(plain, found.said)))


def _reach(found: Reach) -> None:
    if found.distances is not None:
        panels.chart(found.distances)
        st.caption(
            "Each dot is a head: the mean distance between a patch and those it attends to. The "
            "dashed line is attention that is the same everywhere. Diamonds are the mean distance "
            "of pixels from the center of a layer, weighted by their influence on it "
            f"(|gradient|, mean of {OF_FIELDS} pictures)."
        )
    for sentence in found.without:
        st.caption(plain(sentence))
    if not found.fields:
        return
    controls.slider(
        "receptive_layer", "Depth of the layer whose receptive field is drawn", 0.0, 1.0, 0.05
    )
    columns = st.columns(max(2, len(found.fields)), gap="medium")
    for column, one in zip(columns, found.fields, strict=False):
        with column:
            panels.title(one.title, one.said)
            panels.chart(one.figure)


def _inside(of: Asked, found: Found) -> None:
    options = session.screen().of(Options)
    if options.represents == "ablation":
        _ablation_choices()
    if options.represents == "lens" and any(
        isinstance(one, Early) and one.rows for one in found.sides
    ):
        _focus(of)
    if found.chart is not None:
        panels.chart(found.chart)
    if found.sides:
        columns = st.columns(len(found.sides), gap="medium")
        for number, (column, one) in enumerate(zip(columns, found.sides, strict=True)):
            with column:
                _side(number, one)
    for sentence in found.without:
        st.info(plain(sentence), icon=":material/visibility_off:")


def _side(number: int, one: Lengths | Early | Removed) -> None:
    st.markdown(f"**{plain(one.title)}**")
    match one:
        case Lengths():
            panels.chart(one.figure)
            st.caption(plain(one.said))
            if one.places is not None:
                panels.chart(one.places)
        case Early():
            _early(number, one)
        case Removed():
            _removed(one)


def _early(number: int, one: Early) -> None:
    if not one.rows:
        st.info(plain(one.said), icon=":material/visibility_off:")
        return
    rows = [
        {"After": layer, "Answer": answer, "Probability": percent(share)}
        for layer, answer, share in one.rows
    ]
    st.dataframe(rows, hide_index=True, row_height=30, key=f"early-{number}")
    st.caption(plain(one.said))


def _ablation_choices() -> None:
    with st.container(horizontal=True, gap="medium"):
        controls.segments(
            "ablated",
            "Take away",
            ("heads", "blocks"),
            titles={"heads": "Each head", "blocks": "Each block"}.__getitem__,
            also={"ablated_part": None},
        )
        controls.segments(
            "ablated_by",
            "Replaced by",
            ("zero", "mean"),
            titles={"zero": "Zero", "mean": "Its mean"}.__getitem__,
            help="The mean over all pictures of the set and their patches.",
        )


def _removed(one: Removed) -> None:
    panels.chart(one.figure, lambda data: session.change(ablated_part=int(data[0])))
    st.caption("Colors are the share of the first answers that change.")
    count = len(one.changed)
    what = {0: "no answer changes", 1: "1 answer changes"}.get(count, f"{count} answers change")
    st.markdown(
        f"Without **{plain(one.name)}**: {what}; the first answer loses {percent(one.lost, 1)} on "
        "average. Click a cell for another."
    )
    with st.container(horizontal=True, gap="small", key=f"changed-{one.figure.key}"):
        for changed in one.changed:
            with st.container(width=132):
                st.image(cache.thumbnail_of(changed.picture), width=128)
                st.caption(f"{plain(changed.before)} → **{plain(changed.after)}**")


def _focus(of: Asked) -> None:
    names = {picture.id: picture.name for picture in of.pictures}
    side = of.scene.picture.id
    controls.select(
        "near_picture",
        "Picture",
        list(names),
        side if side in names else None,
        format_func=names.__getitem__,
    )


def _nearby(of: Asked, found: Nearby) -> None:
    left, right = st.columns([1, 4], gap="medium")
    with left:
        _focus(of)
        st.image(cache.thumbnail_of(of.pictures[found.at]), width=128)
        if found.overlap is not None:
            st.metric(
                "In both",
                percent(found.overlap),
                help=f"Share of the {NEIGHBORS} nearest pictures that both models have, mean over "
                "all pictures of the set, in what the classifiers read.",
            )
        st.caption(f"By chance: {percent(found.chance)}.")
    with right:
        for number, side in enumerate(found.sides):
            _near(number, side)
    if found.by_depth is not None:
        st.markdown("**Common neighbors by depth**")
        panels.chart(found.by_depth)


def _near(number: int, side: Near) -> None:
    st.markdown(f"**{plain(side.title)}** · nearest first")
    with st.container(horizontal=True, gap="small", key=f"near-{number}"):
        for picture, common in zip(side.pictures, side.common, strict=True):
            with st.container(width=132):
                st.image(cache.thumbnail_of(picture), width=128)
                mark = ":green-badge[both] " if common else ""
                st.caption(f"{mark}{plain(picture.name, 40)}")
