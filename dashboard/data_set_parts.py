"""The pictures behind the figures of the data-set page: the gallery, and one looked at closer."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from core import ParallaxError, find_method, find_spec
from dashboard import animations, cache, figures, looks, session
from dashboard.cache.sweeps import Look
from dashboard.registry import pages
from dashboard.screen import Screen, Shared
from dashboard.sweeps import Rows, Seen
from dashboard.text import plain

ROOT = Path(__file__).resolve().parents[1]
LEAF = 12
"""Pictures of one page of the gallery."""

COLUMNS = 4

STYLE = """
<style>
.sweep-row { display: flex; gap: 4px; }
.sweep-row figure { margin: 0; flex: 1 1 0; min-width: 0; }
.sweep-row img { width: 100%; border-radius: .4rem; display: block; }
.sweep-row figcaption { font-size: .7rem; opacity: .8; overflow: hidden; white-space: nowrap;
  text-overflow: ellipsis; }
.sweep-text { font-size: .8rem; line-height: 1.35; margin-top: .25rem; }
.sweep-text div { overflow: hidden; white-space: nowrap; text-overflow: ellipsis; }
@media (max-width: 1000px) {
  .st-key-data-set-charts > div, .st-key-data-set-gallery > div { flex-wrap: wrap; }
  .st-key-data-set-charts > div > [data-testid="stColumn"] { min-width: 100%; }
  .st-key-data-set-gallery [data-testid="stColumn"] { min-width: 45%; }
  .st-key-picked [data-testid="stColumn"] { min-width: 30%; }
}
.st-key-data-set-figures [data-testid="stMetric"] { padding-right: 1.2rem; }
</style>
"""


def gallery(rows: Rows, chosen: tuple[str, ...]) -> None:
    """Pictures in the order that the reader chooses, with both answers and small maps."""
    orders = rows.orders()
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    with left:
        order = _order(rows, orders)
    leaf = session.screen().leaf
    found, total = cache.answered(rows, "gallery", order, chosen, LEAF * (leaf - 1), LEAF)
    leaves = max(1, -(-total // LEAF))
    if leaf > leaves:
        session.problem(f"leaf is {leaf}, expected 1 to {leaves}; shown instead: {leaves}.")
        leaf = leaves
        found, total = cache.answered(rows, "gallery", order, chosen, LEAF * (leaf - 1), LEAF)
    with right:
        # A key for each leaf: the widget takes its value at birth only.
        tie = session.tied(f"leaf-{leaf}", leaf, lambda held: session.change(leaf=held), seed=False)
        st.pagination(leaves, default=leaf, **tie)
    if not found:
        st.info("The filters leave no picture here.", icon=":material/filter_alt_off:")
        return
    looks = cache.pictured(rows, tuple(seen.picture["index"] for seen in found))
    with st.container(key="data-set-gallery"):
        for start in range(0, len(found), COLUMNS):
            columns = st.columns(COLUMNS)
            part = zip(found[start : start + COLUMNS], looks[start : start + COLUMNS], strict=True)
            for column, (seen, look) in zip(columns, part, strict=False):
                with column:
                    _card(rows, seen, look)


def _order(rows: Rows, orders: Mapping[str, str]) -> str:
    """Choose the way through the pictures; the default is the first that these rows have."""
    first, given = next(iter(orders)), session.screen().order
    wanted = rows.order_named(given)
    if wanted not in orders and given != "maps":
        session.problem(f"order is {given!r}, which is not to be had here; shown instead: {first}.")
    tie = session.tied(
        "order",
        wanted if wanted in orders else first,
        lambda held: session.change(order=held, leaf=1),
    )
    found: str = st.selectbox(
        "Pictures", list(orders), format_func=orders.__getitem__, filter_mode="contains", **tie
    )
    return found


def _card(rows: Rows, seen: Seen, look: Look) -> None:
    index = seen.picture["index"]
    st.html(_images(rows, seen, look) + _lines(rows, seen))
    st.button(
        "Look closer",
        key=f"pick-{index}",
        icon=":material/zoom_in:",
        width="stretch",
        on_click=lambda: session.change(picked=index),
    )


def _images(rows: Rows, seen: Seen, look: Look) -> str:
    """The thumbnail and the maps that are compared over it, as HTML."""
    if look.view is None:
        return "<p>The thumbnail of this picture is damaged.</p>"
    shown = [("Picture", look.view)]
    now = session.screen()
    for number in rows.shown_maps:
        if number not in look.maps:
            continue
        drawn = animations.blend(
            look.view,
            look.maps[number],
            opacity=now.opacity,
            colors=now.colors,
            percentile=now.clip,
        )
        shown.append((rows.map_title(number), drawn))
    path = seen.picture["path"]
    cells = "".join(
        f'<figure><img src="{figures.data_uri(image, 80)}" alt="{html.escape(name)} of '
        f'{html.escape(path)}"><figcaption>{html.escape(name)}</figcaption></figure>'
        for name, image in shown
    )
    return f'<div class="sweep-row">{cells}</div>'


def _lines(rows: Rows, seen: Seen) -> str:
    """The answers of the models that are compared, and what the picture is, as HTML."""
    lines = []
    for number in rows.compared:
        found = seen.answers.get(number)
        if found is None or found["answer"] is None:
            continue
        mark = {True: " ✓", False: " ✗", None: ""}[found["right"]]
        answer = f"{found['answer']}, {found['probability']:.0%}{mark}"
        lines.append(f"<b>{html.escape(rows.titles[number])}</b> {html.escape(answer)}")
    facts = []
    agreement = seen.agreements.get(_two(rows.shown_maps), {})
    if agreement.get("correlation") is not None:
        facts.append(f"rank correlation {agreement['correlation']:.2f}")
    several = len(rows.compared) > 1
    for number in rows.compared:
        if count := seen.answers.get(number, {}).get("artifacts"):
            of = f" of {rows.titles[number]}" if several and _attend(rows) > 1 else ""
            facts.append(f"{count} artifact patch{'es' if count > 1 else ''}{of}")
    if seen.picture["label"]:
        facts.append(seen.picture["label"])
    lines.append(html.escape(" · ".join(facts) or seen.picture["path"]))
    return '<div class="sweep-text">' + "".join(f"<div>{line}</div>" for line in lines) + "</div>"


def _two(numbers: Sequence[int]) -> tuple[int, int]:
    """What tables call two models or maps; of one there is none."""
    return (min(numbers, default=-1), max(numbers, default=-1))


def _attend(rows: Rows) -> int:
    """How many of the models that are compared have patches that can be artifacts."""
    return sum(rows.sweep.manifest["models"][n]["family"] != "cnn" for n in rows.compared)


# -- one picture --------------------------------------------------------------------------------


def picked(rows: Rows) -> None:
    """The picture that was picked, with all answers and figures, and links that open it."""
    index = session.screen().picked
    if index is None:
        return
    found = cache.answered(rows, "rows", (index,))
    if not found or found[0].picture["error"]:
        session.problem(f"picked is {index}, which this sweep has no figures of; it is ignored.")
        return
    [seen] = found
    [look] = cache.pictured(rows, (index,))
    picture = seen.picture
    with st.container(border=True, key="picked"):
        top, close = st.columns([6, 1], vertical_alignment="center")
        top.markdown(
            f"**{plain(picture['path'])}**"
            + (f" · {plain(picture['label'])}" if picture["label"] else "")
        )
        close.button(
            "Close",
            icon=":material/close:",
            key="close-picked",
            width="stretch",
            on_click=lambda: session.change(picked=None),
        )
        models = range(len(rows.sweep.models))
        left, *tables = st.columns([3, *(2 for _ in models)], gap="medium")
        with left:
            st.html(_images(rows, seen, look))
            _facts(rows, seen)
        for column, number in zip(tables, models, strict=True):
            with column:
                _answers(rows, seen, number)
        _links(rows, seen)


def _facts(rows: Rows, seen: Seen) -> None:
    """Figures of a picture that are not said elsewhere: of the models that are compared."""
    facts: list[tuple[str, float | None]] = []
    if len(rows.compared) == 2:
        apart = seen.divergences.get(_two(rows.compared), {})
        facts.append((rows.title("divergence"), apart.get("divergence")))
    if len(rows.shown_maps) == 2:
        agreement = seen.agreements.get(_two(rows.shown_maps), {})
        facts += [(rows.title(name), agreement.get(name)) for name in ("correlation", "overlap")]
    ids = rows.sweep.models
    for number in rows.compared:
        found = seen.answers.get(number, {})
        name = f"artifacts:{ids[number]}"
        facts.append((rows.title(name), found.get("artifacts")))
    for number, of in enumerate(rows.sweep.maps):
        if of.model in rows.compared:
            found = seen.maps.get(number, {})
            for name in ("prefix_mass", "deletion", "insertion"):
                named = rows.title(f"{name}:{ids[of.model]}:{of.method}")
                facts.append((named, found.get(name)))
    said = [f"{plain(name)} **{value:.3g}**" for name, value in facts if value is not None]
    said.append(f"{seen.picture['width']} × {seen.picture['height']} pixels")
    st.markdown(f":small[{' · '.join(said)}]")


def _answers(rows: Rows, seen: Seen, number: int) -> None:
    st.markdown(f"**{plain(rows.titles[number])}** · top 5")
    found = seen.answers.get(number, {})
    if not found.get("top"):
        st.caption("Trained without classes: it predicts none.")
        return
    labels = dict(enumerate(rows.sweep.manifest["classes"][number]))
    lines = [
        f"{probability:.0%} {plain(labels.get(place, f'class {place}'))}"
        for place, probability in zip(found["top"], found["top_probabilities"], strict=True)
    ]
    if found["label_rank"] is not None and found["label_rank"] >= len(lines):
        lines.append(f":small[The label is number {found['label_rank'] + 1:,}.]")
    st.markdown("  \n".join(lines))


def _links(rows: Rows, seen: Seen) -> None:
    """Open the original on the other pages, with the models, the fit and the class of the sweep."""
    row = seen.picture
    try:
        data = cache.original(rows.sweep.folder, row["index"], row["digest"])
        name = Path(row["path"]).name
        picture = cache.from_bytes(data, name)
    except ParallaxError as error:
        st.warning(plain(str(error)), icon=":material/link_off:")
        return
    cache.own_pictures().put(name, data)
    try:
        address = _screen(rows, seen, picture.id).address()
    except ParallaxError as error:  # a model or a fit that is not known here
        st.warning(plain(str(error)), icon=":material/link_off:")
        return
    with st.container(horizontal=True, gap="small", key="open-picked"):
        st.markdown("Open in")
        for page in pages():
            if page != "data_set":
                st.page_link(
                    str(ROOT / "pages" / f"{page}.py"),
                    label=page.replace("_", " ").capitalize(),
                    icon=pages()[page].icon,
                    query_params=address,
                )


def _screen(rows: Rows, seen: Seen, picture_id: str) -> Screen:
    """The screen that shows what the sweep saw, with the models and maps that are compared."""
    plan, sizes = rows.sweep.plan, Shared.model_fields["size"].annotation
    size = str(plan.framing.size) if plan.framing.size else "own"
    changes: dict[str, Any] = {"image": picture_id}
    changes |= {"fit": plan.framing.fit, "size": size if size in str(sizes) else "own"}
    changes["m"] = tuple(find_spec(plan.models[number]).id for number in rows.compared)
    targets = [seen.maps.get(number, {}).get("target") for number in rows.shown_maps]
    if known := next(filter(None, targets), ""):
        changes["classes"] = (known,)
    columns = []
    for number in rows.shown_maps:
        of = rows.sweep.maps[number]
        used = rows.sweep.manifest["maps"][number]["parameters"]
        named = tuple((name, str(used[name])) for name in sorted(find_method(of.method).earlier))
        columns.append(looks.Look(plan.models[of.model], of.method, named))
    changes["look"] = looks.texts(columns[: looks.MOST])
    return session.screen().to(**changes)
