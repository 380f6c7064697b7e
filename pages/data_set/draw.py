"""Widgets and layout of Data set."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import streamlit as st

from dashboard import panels, session
from dashboard.sweeps import MOST_CSV, SweepTable
from dashboard.text import plain
from pages.data_set import chosen, gallery, making
from pages.data_set.better import Better
from pages.data_set.chosen import Filters
from pages.data_set.options import Options
from pages.data_set.view import Classes, Contents, DataSet, Limits, Number, Scatter

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
  :is(.st-key-data-set-charts, .st-key-data-set-better, .st-key-data-set-gallery)
    > div > [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
  :is(.st-key-data-set-charts, .st-key-data-set-better)
    > div > [data-testid="stHorizontalBlock"] > [data-testid="stColumn"] { min-width: 100%; }
  .st-key-data-set-gallery [data-testid="stColumn"] { min-width: 45%; }
  .st-key-picked [data-testid="stColumn"] { min-width: 30%; }
}
.st-key-data-set-figures [data-testid="stMetric"] { padding-right: 1.2rem; }
</style>
"""


def draw(view: DataSet) -> None:
    """The chosen sweep, filters, numbers, and the pictures behind them."""
    panels.head(
        "Data set",
        "How often do the models agree, and on which pictures do they differ?",
        "A **sweep** runs many pictures through its models and stores answers and maps. The "
        "figures, points, classes and pictures below are those that pass the **filters**. Draw a "
        "box in the scatter, or select a class, to filter; type a filter such as divergence>0.5 "
        "for anything else.\n\n"
        "With more than two models, two are compared at a time.\n\n"
        "**Divergence of the answers** is the Jensen–Shannon divergence over the classes that both "
        "models have: 0 bits for equal answers, 1 for answers without overlap. **Rank "
        "correlation** and **overlap** compare the first map of each model, at the finer of their "
        "two grids. An **artifact patch** receives attention far beyond all others.\n\n"
        "**Look closer** shows a picture with all its answers and opens it on the other pages.",
        "Lin 1991 (divergence), Darcet 2023 (artifact patches)",
    )
    st.html(STYLE)
    left, right = st.columns([5, 2], vertical_alignment="bottom")
    with right:
        making.maker(session.scene())
    with left:
        making.chooser(view.source)
    making.progress(view.source)
    if view.source.warning:
        st.warning(plain(view.source.warning), icon=":material/warning:")
    if view.pending:
        st.caption(view.pending)
    if view.missing:
        st.info(plain(view.missing), icon=":material/hourglass_empty:")
    if view.contents is not None:
        _contents(view.contents)


def _contents(contents: Contents) -> None:
    table, found = contents.table, contents.table.sweep
    if contents.other_weights:
        st.info(contents.other_weights, icon=":material/history:")
    if len(found.models) > 2:
        _compared(table)
    if not found.finished:
        st.caption(f"Not finished: {found.done:,} of {found.total:,} pictures so far.")
    _filters(contents)
    _numbers(contents.numbers)
    with st.container(key="data-set-charts"):
        left, right = st.columns([3, 2], gap="medium")
    with left:
        _scatter(table, contents.scatter)
    with right:
        _classes(table, contents.classes, contents.filters)
    if contents.better is not None:
        _better(contents.better)
    if contents.picked is not None:
        gallery.picked(contents.picked)
    gallery.gallery(contents.gallery)
    _downloads(table, contents.filters)
    _limits(contents.limits)


# -- which models are compared --------------------------------------------------------------------


def _compared(table: SweepTable) -> None:
    """Choose two of several models."""
    models = table.sweep.models
    with st.container(key="data-set-models"):
        left, right = st.columns(2)
    for column, name, label, number, taken in (
        (left, "sweep_first", "Compared", table.first, table.second),
        (right, "sweep_second", "with", table.second, table.first),
    ):
        with column:
            st.selectbox(
                label,
                [model_id for place, model_id in enumerate(models) if place != taken],
                format_func=lambda model_id: table.titles[models.index(model_id)],
                filter_mode="contains",
                **session.tied(name, models[number], _compare(name, table)),
            )


def _compare(field: str, table: SweepTable) -> Callable[[str], None]:
    """Callback that replaces one of the compared models."""
    models = table.sweep.models
    shown = {"sweep_first": models[table.first], "sweep_second": models[table.second]}
    return lambda held: session.change(**(shown | {field: held}), leaf=1)


# -- filters and figures --------------------------------------------------------------------------


def _filters(contents: Contents) -> None:
    """Choose filters."""
    kept = list(contents.filters)
    st.multiselect(
        "Filters",
        list(dict.fromkeys([*kept, *contents.offered_filters])),
        accept_new_options=True,
        format_func=lambda text: chosen.readable(contents.table, text),
        placeholder="All pictures. Choose a filter, or type a column and a value: divergence>0.5",
        help=f"A picture must pass all filters. Columns: {contents.columns_named}.",
        **session.tied("where", kept, lambda held: _filter(tuple(held))),
    )


def _filter(wanted: Filters) -> None:
    session.change(where=tuple(dict.fromkeys(wanted))[:16], leaf=1, picked=None)


def _numbers(numbers: Sequence[Number]) -> None:
    with st.container(horizontal=True, gap="small", key="data-set-figures"):
        for one in numbers:
            st.metric(one.label, one.value, help=one.help or None, width="content")


def _scatter(table: SweepTable, made: Scatter) -> None:
    """A scatter of two columns; a box filters, a click picks a picture."""
    left, middle, right = st.columns([5, 5, 3])
    with left:
        _axis(table, "x", "Across", made.x)
    with middle:
        _axis(table, "y", "Up", made.y)
    with right:
        st.selectbox(
            "Color",
            made.colors,
            format_func=str.capitalize,
            **session.bound("color", made.color),
        )

    def select() -> None:
        held = session.held(f"{made.figure.key}-figure").selection
        if boxes := held.get("box"):
            where = session.screen().of(Options).where
            for column, axis in ((made.x, "x"), (made.y, "y")):
                low, high = sorted(boxes[-1][axis])
                limits = (f"{column}>={low:.4g}", f"{column}<={high:.4g}")
                where = chosen.replaced(where, column, *limits)
            _filter(where)
        elif held.get("points"):
            session.change(picked=int(held["points"][0]["customdata"][0]))

    panels.chart(
        made.figure,
        on_select=session.guarded(select),
        selection_mode=("box", "points"),
        theme="streamlit",
    )
    st.caption(f"{made.accounts} Draw a box to filter; click a point to look closer.")


def _axis(table: SweepTable, field: str, label: str, value: str) -> None:
    st.selectbox(
        label,
        table.numbers,
        format_func=table.title,
        filter_mode="contains",
        **session.bound(field, value),
    )


def _classes(table: SweepTable, made: Classes, filters: Filters) -> None:
    """The table of classes; selecting one filters."""
    titles = [table.titles[number] for number in table.compared]
    percent = {
        name: st.column_config.NumberColumn(text, format="percent", width="small")
        for name, text in zip(("first", "second"), titles, strict=False)
    }
    percent["same"] = st.column_config.NumberColumn("Same", format="percent", width="small")

    def select() -> None:
        picked = session.held(made.key).selection.rows
        if picked:
            name = made.frame["name"].iloc[picked[0]]
            _filter(chosen.replaced(filters, made.column, f"{made.column}={name}"))

    st.markdown(made.title)
    st.dataframe(
        made.frame,
        key=made.key,
        alt=made.title.replace("*", ""),
        hide_index=True,
        height=400,
        row_height=28,
        on_select=session.guarded(select),
        selection_mode="single-row",
        column_config={
            "name": st.column_config.TextColumn("Class"),
            "pictures": st.column_config.NumberColumn("Pictures", width="small"),
            "correlation": st.column_config.NumberColumn(
                "Correlation", format="%.2f", width="small", help="Median rank correlation."
            ),
            **percent,
        },
    )


def _better(made: Better) -> None:
    """Accuracy, likelihood and calibration, with the paired difference."""
    st.markdown("**Which is better?**")
    with st.container(key="data-set-better"):
        left, right = st.columns([3, 2], gap="medium")
    with left:
        if made.sentence:
            st.markdown(made.sentence)
        number, text = st.column_config.NumberColumn, st.column_config.TextColumn
        st.dataframe(
            made.frame,
            key="better",
            alt="Accuracy, likelihood and calibration of each model",
            hide_index=True,
            row_height=28,
            column_config={
                "Pictures": number(width="small"),
                "First five": text(help="Share whose label is among the first five answers."),
                "Negative log-likelihood": text("−log p", help="Mean negative log-likelihood."),
                "Calibration error": number("Calibration", format="%.3f", width="small"),
                "Confidence of errors": number(format="%.3f", width="small"),
            },
        )
        st.caption(
            "Of labeled pictures that pass the filters; intervals of 95 % over pictures. "
            "Calibration error: how far probability and share of right answers are apart, mean "
            "over 15 bins."
        )
    with right:
        panels.chart(made.reliability, theme="streamlit")


# -- the end of the page --------------------------------------------------------------------------


def _downloads(table: SweepTable, filters: Filters) -> None:
    """Downloads of the filtered rows, made on request."""

    def made(kind: str) -> Callable[[], bytes]:
        return lambda: table.download(kind, filters)  # type: ignore[arg-type]

    name = re.sub(r"[^\w-]+", "-", table.sweep.folder.name)
    with st.container(horizontal=True, gap="small"):
        for kind, what in (
            ("csv", f"CSV, at most {MOST_CSV:,} rows"),
            ("parquet", "Parquet, all rows"),
        ):
            st.download_button(
                kind.upper() if kind == "csv" else "Parquet",
                data=made(kind),
                file_name=f"{name}.{kind}",
                icon=":material/download:",
                help=f"The filtered pictures, one row each: {what}. With the answers of every "
                "model, the values of every map, and the agreement of those compared.",
                key=f"download-{kind}",
                on_click="ignore",
            )


def _limits(limits: Limits) -> None:
    """Limits of these numbers."""
    if limits.unknown:
        st.caption(plain(limits.unknown))
        return
    with st.expander("What this does not show", icon=":material/visibility_off:"):
        st.markdown("\n".join(f"- {plain(text)}" for text in limits.sentences))
        st.caption(limits.made)
        for path, error in limits.failures:
            st.caption(f"Not readable: {plain(path)}. {plain(error)}")
