"""Questions to the rows of a sweep, asked with DuckDB. Knows no Streamlit.

Every answer is bounded: what is heavy stays in the file, and only the rows that are shown leave it.
"""

from __future__ import annotations

import io
import logging
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import duckdb

from core import MethodError, SweepError, find_method, sweep

if TYPE_CHECKING:
    import pandas as pd

MEMORY = "256MB"
"""What DuckDB may take; what does not fit goes to a temporary file."""

MOST_POINTS = 4000
"""Points of a scatter; of more rows a sample is shown, the same one every time."""

MOST_CLASSES = 300
"""Lines of the table of classes."""

MOST_CSV = 100_000
"""Rows of a download as CSV; Parquet has all."""

ROWS_AT_A_TIME = 65_536
"""Rows of a download that are held beside the file."""

_log = logging.getLogger(__name__)
Kind = Literal["number", "flag", "text"]
_KINDS: dict[str, Kind] = {
    "bool": "flag",
    "string": "text",
    "float": "number",
    "int32": "number",
    "int64": "number",
}
"""What a column of a type holds; lists are not filtered by."""

_FILTER = re.compile(r"^(\w+?)\s*(<=|>=|!=|=|<|>)\s*(.*)$")
_FLAGS = {"yes": "IS TRUE", "no": "IS FALSE", "unknown": "IS NULL"}
_NAMES = {"cnn": "CNN", "vit": "ViT"}
_OUTCOME = (
    "CASE WHEN cnn_right IS NULL OR vit_right IS NULL THEN 'unlabeled' "
    "WHEN cnn_right AND vit_right THEN 'both right' "
    "WHEN cnn_right THEN 'only CNN right' WHEN vit_right THEN 'only ViT right' "
    "ELSE 'both wrong' END"
)
_AGREEMENT = (
    "CASE WHEN same_answer IS NULL THEN 'no answer' WHEN same_answer THEN 'same answer' "
    "ELSE 'different answers' END"
)
OUTCOMES = ("both right", "only CNN right", "only ViT right", "both wrong", "unlabeled")
AGREEMENTS = ("same answer", "different answers", "no answer")
COLORS = {"agreement": _AGREEMENT, "outcome": _OUTCOME, "label": ""}
"""What the points of a scatter may be colored by, and the expression that gives it."""

OTHER = "other labels"
MOST_LABELS = 8
"""Labels that have a color of their own."""


class Unfit(Exception):
    """A filter that cannot be applied; the sentence says why."""


@dataclass(frozen=True)
class Order:
    """A way to go through the pictures.

    Attributes
    ----------
    only
        What a picture must be to take part, as SQL; empty for all.
    by
        What comes first, as SQL; ``{correlation}`` stands for the maps that are compared.
    labeled
        Whether it makes sense for labeled pictures only.
    """

    title: str
    only: str
    by: str
    labeled: bool = False


ORDERS = {
    "maps": Order("Maps disagree most", "", "{correlation} ASC NULLS LAST"),
    "surest": Order(
        "Surest disagreement",
        "NOT same_answer",
        "least(cnn_probability, vit_probability) DESC NULLS LAST",
    ),
    "divergence": Order("Answers differ most", "", "divergence DESC NULLS LAST"),
    "vit_right": Order(
        "ViT right, CNN wrong", "vit_right AND NOT cnn_right", "vit_probability DESC", True
    ),
    "cnn_right": Order(
        "CNN right, ViT wrong", "cnn_right AND NOT vit_right", "cnn_probability DESC", True
    ),
    "artifacts": Order("Artifact patches", "artifacts > 0", "artifacts DESC"),
    "alike": Order("Maps agree most", "", "{correlation} DESC NULLS LAST"),
    "listed": Order("As listed", "", '"index" ASC'),
}


@dataclass(frozen=True)
class Figures:
    """What is said of the pictures that a filter leaves.

    Attributes
    ----------
    pictures, all, failed, labeled
        Counts: left by the filter, in the sweep, that could not be looked at, with a known class.
    same, cnn_right, vit_right
        Shares in [0, 1]; ``None`` where there is nothing to take a share of.
    correlation, overlap
        Medians over the maps that are compared; ``None`` without any.
    """

    pictures: int
    all: int
    failed: int
    labeled: int
    same: float | None
    cnn_right: float | None
    vit_right: float | None
    correlation: float | None
    overlap: float | None


@dataclass(frozen=True, eq=False)
class Points:
    """A scatter: which pictures, where, of which group; and out of how many."""

    frame: pd.DataFrame
    total: int
    groups: tuple[str, ...]


class Rows:
    """The rows of a sweep; may be shared between threads.

    Where a sweep comes from is not known. So its names never stand in a question: a column is
    looked up among those that a sweep of these maps has, and those that belong to maps are called
    by their number. The connection can open one file, for reading, and nothing else.

    Raises
    ------
    SweepError
        From every method: the rows are damaged, or are not those of such a sweep.
    """

    def __init__(self, of: sweep.Sweep) -> None:
        self.sweep = of
        self.path = of.rows
        self.changed = self.path.stat().st_mtime_ns
        self._sql = self._known()
        spill = tempfile.mkdtemp(
            prefix="parallax-rows-"
        )  # DuckDB may write there, and nowhere else
        weakref.finalize(self, shutil.rmtree, spill, ignore_errors=True)
        self._connection = duckdb.connect(
            config={
                "memory_limit": MEMORY,
                "threads": 2,
                "temp_directory": spill,
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        with self._told():
            self._connection.execute("SET allowed_paths = ?", [[str(self.path)]])
            self._connection.execute("SET enable_external_access = false")
            self._connection.execute("SET lock_configuration = true")
            file = self._connection.read_parquet(str(self.path), hive_partitioning=False)
            places = {name: place for place, name in enumerate(file.columns, start=1)}
            chosen = [f"#{places[name]} AS {called}" for name, called in self._sql.items()]
            file.project(", ".join(chosen)).create_view("rows")

    def _known(self) -> dict[str, str]:
        """The columns of the file that a sweep has, and what questions call each."""
        from pyarrow import parquet

        try:
            there = parquet.read_schema(self.path)
        except (OSError, ValueError) as error:
            raise self._damaged() from error
        found = {}
        for number, (name, kind) in enumerate(self.sweep.columns.items()):
            if name not in there.names:
                if "_umap_" in name:
                    continue
                raise self._damaged(f"have no column {name}")
            if there.names.count(name) > 1 or there.field(name).type != kind:
                raise self._damaged(f"have another column {name} than a sweep has")
            found[name] = f"c{number}" if "__" in name else f'"{name}"'
        return found

    def _damaged(self, what: str = "cannot be read") -> SweepError:
        return SweepError(
            f"The rows of the sweep {self.sweep.folder.name} {what}; remove "
            f"{self.path.name} in its folder, it is made anew."
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Make a sentence of what DuckDB cannot do."""
        try:
            yield
        except duckdb.Error as error:
            _log.warning("a question failed", exc_info=True)
            raise self._damaged() from error

    def _ask(self, query: str, values: Sequence[Any] = ()) -> duckdb.DuckDBPyConnection:
        with self._told():
            return self._connection.cursor().execute(query, list(values))

    # -- columns ------------------------------------------------------------------------------

    @cached_property
    def columns(self) -> dict[str, Kind]:
        """Columns that can be filtered by, with what they hold."""
        kinds = {name: _KINDS.get(str(kind)) for name, kind in self.sweep.columns.items()}
        return {name: kind for name in self._sql if (kind := kinds[name]) is not None}

    @cached_property
    def numbers(self) -> list[str]:
        """Columns that an axis can show, those that say most first."""
        left_out = {"index", "cnn_class", "vit_class"}
        every = [name for name, kind in self.columns.items() if kind == "number"]
        first = ["divergence", *filter(None, self.compared)]
        return list(dict.fromkeys([*first, *(name for name in every if name not in left_out)]))

    @cached_property
    def compared(self) -> tuple[str, str]:
        """Columns of rank correlation and overlap of the first CNN map and the first ViT map."""
        maps = self.shown_maps
        if len(maps) < 2:
            return "", ""
        return f"correlation__{maps[0]}__{maps[1]}", f"overlap__{maps[0]}__{maps[1]}"

    @cached_property
    def shown_maps(self) -> list[str]:
        """The first map of each model, as far as there is one; the order of the sweep's own."""
        keys = self.sweep.maps
        first = [next((k for k in keys if k.startswith(f)), "") for f in ("cnn_", "vit_")]
        return sorted(filter(None, first), key=keys.index)

    @cached_property
    def labeled(self) -> bool:
        """Whether any picture has a label that means a class."""
        asked = self._ask("SELECT count(cnn_right) + count(vit_right) FROM rows").fetchone()
        return bool(asked and asked[0])

    # -- filters ------------------------------------------------------------------------------

    def condition(self, filters: Sequence[str]) -> tuple[str, list[Any]]:
        """Filters as SQL with its values.

        Raises
        ------
        Unfit
            One is none: unknown column, or a value that the column does not hold.
        """
        parts, values = ["TRUE"], []
        for text in filters:
            part, value = self._one(text)
            parts.append(part)
            values += value
        return " AND ".join(parts), values

    def _one(self, text: str) -> tuple[str, list[Any]]:
        found = _FILTER.match(text.strip())
        if not found or found[1] not in self.columns:
            raise Unfit(
                f"The filter {text!r} is unknown; write a column, a comparison and a value, such "
                "as divergence>0.5 or same_answer=no."
            )
        column, sign, value = found[1], found[2], found[3].strip()
        kind, called = self.columns[column], self._sql[column]
        if kind == "flag":
            if sign != "=" or value not in _FLAGS:
                raise Unfit(
                    f"{column} is compared with {value!r}; write {column}=yes, =no or =unknown."
                )
            return f"{called} {_FLAGS[value]}", []
        if kind == "text":
            if sign not in ("=", "!="):
                raise Unfit(f"{column} is a text; compare it with = or !=.")
            return f"{called} {sign} ?", [value]
        try:
            return f"{called} {sign} ?", [float(value)]
        except ValueError:
            raise Unfit(f"{column} is compared with {value!r}, expected a number.") from None

    # -- answers ------------------------------------------------------------------------------

    def figures(self, filters: Sequence[str] = ()) -> Figures:
        """What stands on top of the page."""
        where, values = self.condition(filters)
        medians = ", ".join(
            f"median({self._sql[name]})" if name else "NULL" for name in self.compared
        )
        found = self._ask(
            "SELECT count(*), count(*) FILTER (error != ''), "
            "count(coalesce(cnn_right, vit_right)), avg(same_answer::INT), avg(cnn_right::INT), "
            f"avg(vit_right::INT), {medians} FROM rows WHERE {where}",
            values,
        ).fetchone()
        assert found is not None
        every = self._ask("SELECT count(*) FROM rows").fetchone()
        assert every is not None
        return Figures(found[0], every[0], *found[1:])

    def scatter(
        self, x: str, y: str, color: str, filters: Sequence[str] = (), most: int = MOST_POINTS
    ) -> Points:
        """Two columns against each other.

        Of more than ``most`` rows those with the smallest hash of their index are taken: as good
        as chance, and the same every time.

        Returns
        -------
        Points
            Its frame has the columns ``index``, ``x``, ``y``, ``group`` and ``path``.
        """
        across, up = (self._sql[name] for name in (x, y))
        where, values = self.condition(filters)
        where += f" AND {across} IS NOT NULL AND {up} IS NOT NULL"
        asked = self._ask(f"SELECT count(*) FROM rows WHERE {where}", values).fetchone()
        total = asked[0] if asked else 0
        group = COLORS[color]
        groups: tuple[str, ...] = AGREEMENTS if color == "agreement" else OUTCOMES
        if color == "label":
            known = self._labels(where, values)
            group, groups = "label", (*known, OTHER)
        frame = self._ask(
            f'SELECT "index", {across} AS x, {up} AS y, {group} AS "group", path FROM rows '
            f'WHERE "index" IN (SELECT "index" FROM rows WHERE {where} '
            f'ORDER BY hash("index") LIMIT {most}) ORDER BY "index"',
            values,
        ).df()
        if color == "label":
            frame["group"] = frame["group"].where(frame["group"].isin(groups), OTHER)
        return Points(frame, total, groups)

    def _labels(self, where: str, values: Sequence[Any]) -> tuple[str, ...]:
        found = self._ask(
            f"SELECT label FROM rows WHERE {where} AND label != '' GROUP BY label "
            f"ORDER BY count(*) DESC, label LIMIT {MOST_LABELS}",
            values,
        ).fetchall()
        return tuple(label for (label,) in found)

    def classes(self, filters: Sequence[str] = ()) -> pd.DataFrame:
        """By label, or by the CNN's answer where nothing is labeled: the largest difference first.

        Returns
        -------
        DataFrame
            ``name``, ``pictures``, ``cnn``, ``vit`` (shares of right answers), ``same``,
            ``correlation`` (median); at most `MOST_CLASSES` lines.
        """
        where, values = self.condition(filters)
        name = "label" if self.labeled else "coalesce(cnn_answer, vit_answer)"
        known = "coalesce(cnn_right, vit_right) IS NOT NULL" if self.labeled else f"{name} != ''"
        median = f"median({self._sql[self.compared[0]]})" if self.compared[0] else "NULL"
        return self._ask(
            f"SELECT {name} AS name, count(*) AS pictures, avg(cnn_right::INT) AS cnn, "
            "avg(vit_right::INT) AS vit, avg(same_answer::INT) AS same, "
            f"{median} AS correlation FROM rows WHERE {where} AND {known} AND error = '' "
            "GROUP BY 1 ORDER BY abs(cnn - vit) DESC NULLS LAST, same ASC NULLS LAST, "
            f"pictures DESC, name LIMIT {MOST_CLASSES}",
            values,
        ).df()

    def orders(self) -> dict[str, Order]:
        """Ways through the pictures that these rows allow."""
        return {
            name: order
            for name, order in ORDERS.items()
            if (self.labeled or not order.labeled)
            and (self.compared[0] or "{correlation}" not in order.by)
        }

    def gallery(
        self, order: str, filters: Sequence[str], start: int, count: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Some pictures of a way through them, each with all its light columns; and of how many.

        Only the column that is sorted by is read for all rows.
        """
        where, values = self.condition(filters)
        chosen = ORDERS[order]
        where += " AND error = ''" + (f" AND {chosen.only}" if chosen.only else "")
        by = chosen.by.replace("{correlation}", self._sql.get(self.compared[0], ""))
        asked = self._ask(f"SELECT count(*) FROM rows WHERE {where}", values).fetchone()
        found = self._ask(
            f'SELECT "index" FROM rows WHERE {where} ORDER BY {by}, "index" '
            f"LIMIT {int(count)} OFFSET {int(start)}",
            values,
        ).fetchall()
        return self.rows([index for (index,) in found]), asked[0] if asked else 0

    def rows(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """All light columns of some pictures, in the order of ``indices``, as far as they exist."""
        if not indices:
            return []
        listed = ", ".join(str(int(index)) for index in indices)
        asked = self._ask(f'SELECT * FROM rows WHERE "index" IN ({listed})')
        names = list(self._sql)
        found = {row[names.index("index")]: row for row in asked.fetchall()}
        return [dict(zip(names, found[i], strict=True)) for i in indices if i in found]

    def failures(self, filters: Sequence[str] = (), most: int = 20) -> list[tuple[str, str]]:
        """Paths and errors of pictures that could not be looked at."""
        where, values = self.condition(filters)
        return self._ask(
            f"SELECT path, error FROM rows WHERE {where} AND error != '' "
            f'ORDER BY "index" LIMIT {most}',
            values,
        ).fetchall()

    def download(self, kind: Literal["csv", "parquet"], filters: Sequence[str] = ()) -> bytes:
        """The rows that a filter leaves, as a file; CSV has `MOST_CSV` of them at most."""
        import pyarrow as pa
        from pyarrow import csv, parquet

        where, values = self.condition(filters)
        columns, limit = "*", ""
        if kind == "csv":  # which has no lists
            limit = f"LIMIT {MOST_CSV}"
            columns = ", ".join(
                called if name in self.columns else f"{called}::VARCHAR"
                for name, called in self._sql.items()
            )
        query = f'SELECT {columns} FROM rows WHERE {where} ORDER BY "index" {limit}'
        target = io.BytesIO()
        with self._told():
            cursor = self._connection.cursor()  # held until all is read
            found = cursor.query(query, params=values)
            read = getattr(found, "to_arrow_reader", None) or found.fetch_arrow_reader
            batches = read(ROWS_AT_A_TIME)
        schema = pa.schema(
            field.with_name(name) for field, name in zip(batches.schema, self._sql, strict=True)
        )
        texts = [name for name, kind in self.columns.items() if kind == "text"]
        with (
            csv.CSVWriter(target, schema)
            if kind == "csv"
            else parquet.ParquetWriter(
                target, schema, compression="zstd", use_dictionary=texts, store_schema=False
            )
        ) as writer:
            for batch in batches:
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
        return target.getvalue()


def title(column: str) -> str:
    """A column, for people: ``Rank correlation: CNN CAM, ViT rollout``."""
    kind, *maps = column.split("__")
    names = {
        "correlation": "Rank correlation",
        "overlap": "Overlap of top 20 %",
        "prefix_mass": "Mass on prefix tokens",
        "deletion": "Deletion area",
        "insertion": "Insertion area",
        "target": "Class of the map",
        "divergence": "Divergence of the answers",
        "artifacts": "Artifact patches",
        "same_answer": "Same first answer",
        "cnn_probability": "CNN's first answer, probability",
        "vit_probability": "ViT's first answer, probability",
        "bytes": "Size of the file in bytes",
        "width": "Width in pixels",
        "height": "Height in pixels",
    }
    if found := re.fullmatch(r"(cnn|vit)_(pca|umap)_(\d+)", column):
        what = "component" if found[2] == "pca" else "UMAP"
        return f"{_NAMES[found[1]]} embedding, {what} {found[3]}"
    first = names.get(kind, kind.replace("_", " ").capitalize())
    return f"{first}: {', '.join(map_title(key) for key in maps)}" if maps else first


def map_title(key: str) -> str:
    """A map, for people: ``CNN CAM``."""
    family, _, method = key.partition("_")
    try:
        return f"{_NAMES[family]} {find_method(method).title}"
    except MethodError:  # of a method that this version does not have
        return f"{_NAMES[family]} {method}"


def accounts_for(total: int, shown: int) -> str:
    """How many points of how many are shown, in a sentence."""
    if shown == total:
        return f"All {total:,} pictures."
    return f"{shown:,} of {total:,} pictures, a sample that stays the same."
