"""The pictures behind the figures of the data-set page: the gallery, and one looked at closer."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import streamlit as st

from core import ParallaxError, find_method
from dashboard import animations, cache, controls, figures, screen
from dashboard.screen import PAGES, Screen
from dashboard.sweeps import Rows, map_title, title
from dashboard.text import plain
from dashboard.titles import ICONS

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
        order = controls.select(
            "order",
            "Pictures",
            list(orders),
            next(iter(orders)),
            lambda name: orders[name].title,
            read=lambda name: screen.change(leaf=1) or name,  # type: ignore[func-returns-value]
        )
    leaf = screen.current().leaf
    found, total = cache.answered(rows, "gallery", order, chosen, LEAF * (leaf - 1), LEAF)
    leaves = max(1, -(-total // LEAF))
    if leaf > leaves:
        screen.problem(f"leaf is {leaf}, expected 1 to {leaves}; shown instead: {leaves}.")
        leaf = leaves
        found, total = cache.answered(rows, "gallery", order, chosen, LEAF * (leaf - 1), LEAF)
    with right:
        # A key for each leaf: the widget takes its value at birth only.
        tie = screen.tied(f"leaf-{leaf}", leaf, lambda held: screen.change(leaf=held), seed=False)
        st.pagination(leaves, default=leaf, **tie)
    if not found:
        st.info("The filters leave no picture here.", icon=":material/filter_alt_off:")
        return
    seen = cache.pictured(rows, tuple(row["index"] for row in found))
    with st.container(key="data-set-gallery"):
        for start in range(0, len(found), COLUMNS):
            columns = st.columns(COLUMNS)
            part = zip(found[start : start + COLUMNS], seen[start : start + COLUMNS], strict=True)
            for column, (row, looks) in zip(columns, part, strict=False):
                with column:
                    _card(rows, row, looks)


def _card(rows: Rows, row: dict[str, Any], looks: dict[str, Any]) -> None:
    st.html(_images(rows, row, looks) + _lines(rows, row))
    st.button(
        "Look closer",
        key=f"pick-{row['index']}",
        icon=":material/zoom_in:",
        width="stretch",
        on_click=lambda: screen.change(picked=row["index"]),
    )


def _images(rows: Rows, row: dict[str, Any], looks: dict[str, Any]) -> str:
    """The thumbnail and both maps over it, as HTML."""
    view = looks["view"]
    if view is None:
        return "<p>The thumbnail of this picture is damaged.</p>"
    shown = [("Picture", view)]
    now = screen.current()
    for key in rows.shown_maps:
        relevance = looks[f"map__{key}"]
        if relevance is None:
            continue
        drawn = animations.blend(
            view, relevance, opacity=now.opacity, colors=now.colors, percentile=now.clip
        )
        shown.append((map_title(key), drawn))
    cells = "".join(
        f'<figure><img src="{figures.data_uri(image, 80)}" alt="{html.escape(name)} of '
        f'{html.escape(row["path"])}"><figcaption>{html.escape(name)}</figcaption></figure>'
        for name, image in shown
    )
    return f'<div class="sweep-row">{cells}</div>'


def _lines(rows: Rows, row: dict[str, Any]) -> str:
    """Both answers, and what the picture is, as HTML."""
    lines = []
    for key, name in (("cnn", "CNN"), ("vit", "ViT")):
        if row[f"{key}_answer"] is None:
            continue
        mark = {True: " ✓", False: " ✗", None: ""}[row[f"{key}_right"]]
        answer = f"{row[f'{key}_answer']}, {row[f'{key}_probability']:.0%}{mark}"
        lines.append(f"<b>{name}</b> {html.escape(answer)}")
    facts = []
    if rows.compared[0] and row[rows.compared[0]] is not None:
        facts.append(f"rank correlation {row[rows.compared[0]]:.2f}")
    if row["artifacts"]:
        facts.append(f"{row['artifacts']} artifact patch{'es' if row['artifacts'] > 1 else ''}")
    if row["label"]:
        facts.append(row["label"])
    lines.append(html.escape(" · ".join(facts) or row["path"]))
    return '<div class="sweep-text">' + "".join(f"<div>{line}</div>" for line in lines) + "</div>"


# -- one picture --------------------------------------------------------------------------------


def picked(rows: Rows) -> None:
    """The picture that was picked, with all answers and figures, and links that open it."""
    index = screen.current().picked
    if index is None:
        return
    found = cache.answered(rows, "rows", (index,))
    if not found or found[0]["error"]:
        screen.problem(f"picked is {index}, which this sweep has no figures of; it is ignored.")
        return
    [row] = found
    [looks] = cache.pictured(rows, (index,))
    with st.container(border=True, key="picked"):
        top, close = st.columns([6, 1], vertical_alignment="center")
        top.markdown(
            f"**{plain(row['path'])}**" + (f" · {plain(row['label'])}" if row["label"] else "")
        )
        close.button(
            "Close",
            icon=":material/close:",
            key="close-picked",
            width="stretch",
            on_click=lambda: screen.change(picked=None),
        )
        left, *tables = st.columns([3, 2, 2], gap="medium")
        with left:
            st.html(_images(rows, row, looks))
            _facts(rows, row)
        for column, key, name in zip(tables, ("cnn", "vit"), ("CNN", "ViT"), strict=True):
            with column:
                _answers(rows, row, key, name)
        _links(rows, row)


def _facts(rows: Rows, row: dict[str, Any]) -> None:
    """All figures of a picture that are not said elsewhere."""
    left_out = ("bytes", "width", "height", "cnn_", "vit_")
    names = [n for n in rows.numbers if not n.startswith(left_out) and row[n] is not None]
    kinds = [title(name).partition(":")[0] for name in names]
    facts = [
        f"{kind if kinds.count(kind) == 1 else title(name)} **{row[name]:.3g}**"
        for kind, name in zip(kinds, names, strict=True)
    ]
    st.markdown(f":small[{' · '.join(facts)} · {row['width']} × {row['height']} pixels]")


def _answers(rows: Rows, row: dict[str, Any], key: str, name: str) -> None:
    st.markdown(f"**{name}** · top 5")
    if row[f"{key}_top"] is None:
        st.caption("Trained without classes: it predicts none.")
        return
    labels = dict(enumerate(rows.sweep.manifest["classes"].get(key, ())))
    lines = [
        f"{probability:.0%} {plain(labels.get(place, f'class {place}'))}"
        for place, probability in zip(
            row[f"{key}_top"], row[f"{key}_top_probabilities"], strict=True
        )
    ]
    st.markdown("  \n".join(lines))


def _links(rows: Rows, row: dict[str, Any]) -> None:
    """Open the original on the other pages, with the pair, the fit and the class of the sweep."""
    try:
        data = cache.original(rows.sweep.folder, row["index"], row["digest"])
        name = Path(row["path"]).name
        picture = cache.from_bytes(data, name)
    except ParallaxError as error:
        st.warning(plain(str(error)), icon=":material/link_off:")
        return
    cache.own_pictures().put(name, data)
    try:
        address = _screen(rows, row, picture.id).address()
    except ParallaxError as error:  # a model or a fit that is not known here
        st.warning(plain(str(error)), icon=":material/link_off:")
        return
    with st.container(horizontal=True, gap="small", key="open-picked"):
        st.markdown("Open in")
        for page in PAGES:
            if page != "data_set":
                st.page_link(
                    str(ROOT / "pages" / f"{page}.py"),
                    label=page.replace("_", " ").capitalize(),
                    icon=ICONS[page],
                    query_params=address,
                )


def _screen(rows: Rows, row: dict[str, Any], picture_id: str) -> Screen:
    """The screen that shows what the sweep saw."""
    plan, sizes = rows.sweep.plan, Screen.model_fields["size"].annotation
    size = str(plan.framing.size) if plan.framing.size else "own"
    changes: dict[str, Any] = {"image": picture_id, "cnn": plan.cnn, "vit": plan.vit}
    changes |= {"fit": plan.framing.fit, "size": size if size in str(sizes) else "own"}
    targets = [row[f"target__{key}"] for key in rows.shown_maps]
    if known := next(filter(None, targets), ""):
        changes["classes"] = (known,)
    for key in rows.shown_maps:
        family, _, method = key.partition("_")
        used = rows.sweep.manifest["maps"][key]["parameters"]
        named = tuple((name, str(used[name])) for name in sorted(find_method(method).earlier))
        changes |= {f"{family}_map": method, f"{family}_map_parameters": named}
    return screen.current().to(**changes)
