"""Queries on the rows of a sweep, with DuckDB. Independent of Streamlit.

Every result is bounded: heavy columns stay in the file, and only displayed rows are read. Rows are
in long form; one or two of the models are shown together. A query joins only the tables of its
columns.
"""

from __future__ import annotations

import io
import logging
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import duckdb
import numpy as np

from core import MethodError, ParallaxError, SweepError, find_method, find_spec, sweep

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MEMORY = "256MB"
"""Memory limit of DuckDB; the rest goes to a temporary file."""

MOST_POINTS = 4000
"""Most points of a scatter; of more rows a fixed sample is shown."""

MOST_CLASSES = 300
"""Most lines of the table of classes."""

MOST_CSV = 100_000
"""Most rows of a download as CSV; Parquet has all."""

ROWS_AT_A_TIME = 65_536
"""Rows of a download held in memory beside the file."""

MOST_ROWS = 10_000
"""Most rows of one table read per picture; a sweep of four models has far fewer."""

_log = logging.getLogger(__name__)
Kind = Literal["number", "flag", "text"]
_TYPES: dict[str, tuple[str, Kind | None]] = {
    "bool": ("BOOLEAN", "flag"),
    "string": ("VARCHAR", "text"),
    "float": ("FLOAT", "number"),
    "int16": ("SMALLINT", "number"),
    "int32": ("INTEGER", "number"),
    "int64": ("BIGINT", "number"),
}
"""DuckDB's name of a column type, and the kind of its values."""

_FILTER = re.compile(r"^([^<>=!]+?)\s*(<=|>=|!=|=|<|>)\s*(.*)$", re.DOTALL)
_FLAGS = {"yes": "IS TRUE", "no": "IS FALSE", "unknown": "IS NULL"}
AGREEMENTS = {
    "same": "same answer",
    "different": "different answers",
    "none": "no answer",
}
COLORS = ("agreement", "outcome", "label")
"""Options for the color of points."""

OTHER = "other labels"
MOST_LABELS = 8
"""Most labels with their own color."""

_TITLES = {
    "answer": "{}, first answer",
    "probability": "{}, probability of the first answer",
    "label_class": "{}, class of the label",
    "right": "{} right",
    "label_log_probability": "{}, log-probability of the label",
    "label_rank": "{}, rank of the label",
    "artifacts": "{}, artifact patches",
    "pca_1": "{}, embedding, component 1",
    "pca_2": "{}, embedding, component 2",
    "umap_1": "{}, embedding, UMAP 1",
    "umap_2": "{}, embedding, UMAP 2",
    "target": "Class of the map: {}",
    "prefix_mass": "Mass on prefix tokens: {}",
    "deletion": "Deletion area: {}",
    "insertion": "Insertion area: {}",
    "same_answer": "Same first answer",
    "divergence": "Divergence of the answers",
    "correlation": "Rank correlation",
    "overlap": "Overlap of top 20 %",
    "bytes": "Size of the file in bytes",
    "width": "Width in pixels",
    "height": "Height in pixels",
}
_NO_AXIS = ("index", "label_class")
"""Numeric columns that no axis offers, as they are identifiers."""


class Unfit(Exception):
    """A filter that cannot be applied; the message states why."""


Source = tuple[str, *tuple[int, ...]]
"""A long table and a selection of its rows: those of a model, of a map, or of two."""

PICTURES: Source = ("pictures",)


@dataclass(frozen=True)
class Column:
    """A column with one value per picture.

    Attributes
    ----------
    kind
        Kind of its values; ``None`` for a list.
    sql
        SQL expression; contains only names and numbers of this module.
    sources
        Rows that contain it.
    title
        Title shown to users.
    """

    kind: Kind | None
    sql: str
    sources: tuple[Source, ...]
    title: str


def _alias(source: Source) -> str:
    return "_".join(map(str, source))


@dataclass
class _Question:
    """A query under construction: the sources that its columns need."""

    sources: dict[Source, None] = field(default_factory=lambda: {PICTURES: None})

    def __call__(self, column: Column | None) -> str:
        """The SQL of a column; null without a column."""
        if column is None:
            return "NULL"
        self.sources |= dict.fromkeys(column.sources)
        return column.sql

    @property
    def rows(self) -> str:
        """The FROM clause, after all columns have been added."""
        joined = [_rows_of(PICTURES)]
        for source in self.sources:
            if source != PICTURES:
                joined.append(f'LEFT JOIN {_rows_of(source)} USING ("index")')
        return " ".join(joined)


def _rows_of(source: Source) -> str:
    """The rows of a source, as SQL."""
    name, *numbers = source
    chosen = zip(sweep.NUMBERED[name], numbers, strict=True)
    where = " AND ".join(f'"{column}" = {int(number)}' for column, number in chosen) or "TRUE"
    return f"(SELECT * FROM {name} WHERE {where}) AS {_alias(source)}"


@dataclass(frozen=True)
class Figures:
    """Summary of the filtered pictures.

    Attributes
    ----------
    pictures, all, failed, labeled
        Counts: filtered, in the sweep, failed, with a known class.
    same, first_right, second_right
        Shares in [0, 1]; ``None`` without a denominator.
    correlation, overlap
        Medians over the compared maps; ``None`` without maps.
    """

    pictures: int
    all: int
    failed: int
    labeled: int
    same: float | None
    first_right: float | None
    second_right: float | None
    correlation: float | None
    overlap: float | None


@dataclass(frozen=True, eq=False)
class Points:
    """Points of a scatter with their groups, and the number of rows.

    Attributes
    ----------
    groups : mapping of str to str
        Title of each group by its name in the frame.
    """

    frame: pd.DataFrame
    total: int
    groups: Mapping[str, str]


@dataclass(frozen=True)
class Seen:
    """All light rows of one picture.

    Attributes
    ----------
    picture
        Its row of ``pictures``.
    answers, maps
        Rows by the number of the model, and of the map.
    divergences, agreements
        Rows by two numbers, the smaller first.
    """

    picture: Mapping[str, Any]
    answers: Mapping[int, Mapping[str, Any]]
    maps: Mapping[int, Mapping[str, Any]]
    divergences: Mapping[tuple[int, int], Mapping[str, Any]]
    agreements: Mapping[tuple[int, int], Mapping[str, Any]]


class Tables:
    """The long tables of a sweep in DuckDB; may be shared between threads.

    The source of a sweep is untrusted. So its names never enter SQL: columns have names of this
    module, models and maps numbers. The connection can only read the files of the rows. Several
    rows of a picture where one is expected would make a join explode, so this is checked before
    rows are used.

    Raises
    ------
    SweepError
        From every method: the rows are damaged or do not belong to such a sweep.
    """

    def __init__(self, of: sweep.Sweep) -> None:
        self.sweep = of
        stored = of.tables
        self.places = {one.path: None for one in stored.values()}
        self._checked: set[Source] = set()
        spill = tempfile.mkdtemp(
            prefix="parallax-rows-"
        )  # the only folder that DuckDB may write to
        weakref.finalize(self, shutil.rmtree, spill, ignore_errors=True)
        self.connection = duckdb.connect(
            config={
                "memory_limit": MEMORY,
                "threads": 2,
                "temp_directory": spill,
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        with self.told():
            self.connection.execute("SET allowed_paths = ?", [[str(path) for path in self.places]])
            self.connection.execute("SET enable_external_access = false")
            self.connection.execute("SET lock_configuration = true")
            for name, one in stored.items():
                self._view(name, one)

    def _view(self, name: str, stored: sweep.Stored) -> None:
        """Create a table from its files, by the positions of their columns."""
        schema = sweep.light_schemas()[name]
        file = self.connection.read_parquet(str(stored.path), hive_partitioning=False)
        there = self._schema(stored)
        places = {column: place for place, column in enumerate(file.columns, start=1)}
        stacked = None
        for projection in stored.projections:
            columns = [
                f'{_found(projection.get(one.name), one, places, there)} AS "{one.name}"'
                for one in schema
            ]
            found = file.project(", ".join(columns))
            stacked = found if stacked is None else stacked.union(found)
        if stacked is None:
            none = ", ".join(f'NULL::{_type(c.type)[0]} AS "{c.name}"' for c in schema)
            stacked = self.connection.sql(f"SELECT {none} WHERE FALSE")
        stacked.create_view(name)

    @cached_property
    def empty(self) -> set[tuple[Source, str]]:
        """Columns that are null in all rows of a source; they are not offered.

        Determined from the statistics of the files; a column without them counts as not empty.
        """
        from pyarrow import parquet

        found: set[tuple[Source, str]] = set()
        filled: set[tuple[Source, str]] = set()
        for name, one in self.sweep.tables.items():
            file = parquet.read_metadata(one.path)
            for place in range(file.num_row_groups):
                group = file.row_group(place)
                columns = {
                    group.column(n).path_in_schema: group.column(n).statistics
                    for n in range(group.num_columns)
                }
                for projection in one.projections:
                    source = _source(name, projection, columns)
                    for column in sweep.light_schemas()[name].names:
                        held = projection.get(column)
                        of = columns.get(held) if isinstance(held, str) else None
                        absent = held is None or (isinstance(held, str) and held not in columns)
                        if of is not None and of.has_null_count:
                            absent = of.null_count == group.num_rows
                        (found if absent else filled).add((source, column))
        return found - filled

    def _schema(self, stored: sweep.Stored) -> pa.Schema:
        """The schema of a file, after checking that every needed column occurs once."""
        from pyarrow import parquet

        try:
            there = parquet.read_schema(stored.path)
        except (OSError, ValueError) as error:
            raise self.damaged() from error
        types = {one.name: one.type for schema in sweep.light_schemas().values() for one in schema}
        for projection in stored.projections:
            for column, held in projection.items():
                if not isinstance(held, str) or column not in types:
                    continue
                count = there.names.count(held)
                if not count and column.startswith("umap_") and self.sweep.is_of_a_pair:
                    continue
                if not count:
                    raise self.damaged(f"have no column {held}")
                if count > 1 or there.field(held).type != types[column]:
                    raise self.damaged(f"have a column {held} of the wrong type")
        return there

    def damaged(self, what: str = "cannot be read") -> SweepError:
        """The error for invalid rows."""
        names = " and ".join(sorted({path.name for path in self.places}))
        return SweepError(
            f"The rows of the sweep {self.sweep.folder.name} {what}; remove {names} in its folder; "
            "they are made again."
        )

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn errors of DuckDB into a sentence."""
        try:
            yield
        except duckdb.Error as error:
            _log.warning("a question failed", exc_info=True)
            raise self.damaged() from error

    def ask(self, query: str, values: Sequence[Any] = ()) -> duckdb.DuckDBPyConnection:
        """Run a query; the caller fetches the result."""
        with self.told():
            return self.connection.cursor().execute(query, list(values))

    def check(self, sources: Sequence[Source]) -> None:
        """Check that no picture has two rows in one of these sources."""
        for source in sources:
            if source in self._checked:
                continue
            asked = f'SELECT count(*) = count(DISTINCT "index") FROM {_rows_of(source)}'
            found = self.ask(asked).fetchone()
            if not found or not found[0]:
                raise self.damaged("list a picture twice, or one without a number")
            self._checked.add(source)


def _source(name: str, projection: Mapping[str, str | int], columns: Mapping[str, Any]) -> Source:
    """The rows of a table in a row group, as far as its statistics show."""
    numbers = []
    for column in sweep.NUMBERED[name]:
        held = projection[column]
        if isinstance(held, str):
            statistics = columns.get(held)
            known = statistics is not None and statistics.has_min_max
            held = int(statistics.min) if statistics is not None and known else -1
        numbers.append(held)
    return (name, *numbers)


def _type(of: pa.DataType) -> tuple[str, Kind | None]:
    """DuckDB's name of a type, and the kind of its values; lists cannot be filtered."""
    inner = getattr(of, "value_type", None)
    return _TYPES[str(of)] if inner is None else (f"{_TYPES[str(inner)][0]}[]", None)


def _found(held: str | int | None, column: pa.Field, places: Mapping[str, int], there: Any) -> str:
    """The SQL of a column in a file."""
    kind = _type(column.type)[0]
    if isinstance(held, str) and held in there.names:
        return f"#{int(places[held])}"
    return f"{int(held)}::{kind}" if isinstance(held, int) else f"NULL::{kind}"


class SweepTable:
    """Queries on the rows of a sweep, for one model or two compared ones.

    Parameters
    ----------
    of
        A sweep whose rows are collected.
    first, second
        Numbers of the compared models; by default the first two. The same number twice
        selects one model.

    Raises
    ------
    SweepError
        From every method: the rows are damaged or do not belong to such a sweep.
    """

    def __init__(
        self,
        of: sweep.Sweep,
        first: int = 0,
        second: int | None = None,
        tables: Tables | None = None,
    ) -> None:
        self.sweep = of
        self.changed = of.tables["pictures"].path.stat().st_mtime_ns
        self.tables = tables or Tables(of)
        self.first = first
        self.second = min(1, len(of.models) - 1) if second is None else second

    def comparing(self, first: int, second: int) -> SweepTable:
        """The same rows with two other models compared."""
        return SweepTable(self.sweep, first, second, self.tables)

    @property
    def compared(self) -> tuple[int, ...]:
        """Numbers of the compared models: two, or one."""
        return tuple(dict.fromkeys((self.first, self.second)))

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """Titles of the models; their ids if two titles are equal."""
        ids = self.sweep.models
        titles = [model_title(model_id) for model_id in ids]
        return tuple(
            title if titles.count(title) == 1 else model_id
            for title, model_id in zip(titles, ids, strict=True)
        )

    def map_title(self, number: int) -> str:
        """Title of a map: the model and the method."""
        of = self.sweep.maps[number]
        return f"{self.titles[of.model]} {method_title(of.method)}"

    @cached_property
    def shown_maps(self) -> tuple[int, ...]:
        """Numbers of the compared maps.

        The first of each model; for a single model its first two.
        """
        maps = self.sweep.maps
        of = {k: [n for n, one in enumerate(maps) if one.model == k] for k in self.compared}
        if len(self.compared) == 1:
            return tuple(of[self.first][:2])
        return tuple(numbers[0] for numbers in of.values() if numbers)

    # -- columns ------------------------------------------------------------------------------

    @cached_property
    def _every(self) -> dict[str, Column]:
        """Every column that a filter or an axis can name, by that name."""
        found = {
            name: self._column("pictures", name) for name in sweep.light_schemas()["pictures"].names
        }
        found |= self._agreement
        ids = self.sweep.models
        for number, model_id in enumerate(ids):
            for name in sweep.light_schemas()["answers"].names:
                if name not in ("index", "model"):
                    one = self._column("answers", name, number, of=self.titles[number])
                    found[f"{name}:{model_id}"] = one
        for number, of in enumerate(self.sweep.maps):
            for name in sweep.light_schemas()["maps"].names:
                if name not in ("index", "map"):
                    one = self._column("maps", name, number, of=self.map_title(number))
                    found[f"{name}:{ids[of.model]}:{of.method}"] = one
        return found

    @cached_property
    def _agreement(self) -> dict[str, Column]:
        """Columns of the compared models and maps, by their short names."""
        found = {}
        if len(self.compared) == 2:
            found = self._of_two_models(self.first, self.second)
        if len(self.shown_maps) == 2:
            found |= self._of_two_maps(*self.shown_maps)
        return found

    @cached_property
    def _others(self) -> dict[str, Column]:
        """Columns of any two models and maps, by their long names."""
        found: dict[str, Column] = {}
        for two in combinations(range(len(self.sweep.models)), 2):
            named = ":".join(self.sweep.models[number] for number in two)
            found |= {f"{k}:{named}": c for k, c in self._of_two_models(*two).items()}
        for two in combinations(range(len(self.sweep.maps)), 2):
            named = ":".join(self._map_name(number) for number in two)
            found |= {f"{k}:{named}": c for k, c in self._of_two_maps(*two).items()}
        return found

    def _map_name(self, number: int) -> str:
        of = self.sweep.maps[number]
        return f"{self.sweep.models[of.model]}:{of.method}"

    def _of_two_models(self, a: int, b: int) -> dict[str, Column]:
        named = f"{self.titles[a]} and {self.titles[b]}"
        both: list[Source] = [("answers", a), ("answers", b)]
        same = " = ".join(f"{_alias(one)}.answer" for one in both)
        return {
            "same_answer": Column("flag", f"({same})", tuple(both), f"Same first answer: {named}"),
            "divergence": self._column("divergences", "divergence", *sorted((a, b)), of=named),
        }

    def _of_two_maps(self, a: int, b: int) -> dict[str, Column]:
        named = f"{self.map_title(a)} and {self.map_title(b)}"
        two = sorted((a, b))
        return {
            name: self._column("agreements", name, *two, of=named)
            for name in ("correlation", "overlap")
        }

    def _column(self, table: str, name: str, *numbers: int, of: str = "") -> Column:
        """A column of one of the long tables."""
        source: Source = (table, *numbers)
        kind = _type(sweep.light_schemas()[table].field(name).type)[1]
        title = _TITLES.get(name, name.replace("_", " ").capitalize())
        if "{}" in title:
            title = title.format(of)
        elif of:
            title = f"{title}: {of}"
        return Column(kind, f'{_alias(source)}."{name}"', (source,), title)

    @cached_property
    def _earlier(self) -> dict[str, str]:
        """Column names in older addresses, with one CNN and one ViT."""
        found: dict[str, str] = {}
        families = [one["family"] for one in self.sweep.manifest["models"]]
        models = {key: families.index(key) for key in ("cnn", "vit") if key in families}
        for key, number in models.items():
            model_id = self.sweep.models[number]
            for name in sweep.light_schemas()["answers"].names:
                found[f"{key}_{name}"] = f"{name}:{model_id}"
            found[f"{key}_class"] = f"label_class:{model_id}"
            if key == "vit":
                found["artifacts"] = f"artifacts:{model_id}"
        maps = {
            f"{key}_{of.method}": number
            for key, model in models.items()
            for number, of in enumerate(self.sweep.maps)
            if of.model == model
        }
        maps |= {key: n for n, key in enumerate(self.sweep.manifest.get("columns", ()))}
        for key, number in maps.items():
            for name in ("target", "prefix_mass", "deletion", "insertion"):
                found[f"{name}__{key}"] = f"{name}:{self._map_name(number)}"
        for (a, first), (b, second) in combinations(sorted(maps.items(), key=lambda m: m[1]), 2):
            for name in ("correlation", "overlap"):
                long = f"{name}:{self._map_name(first)}:{self._map_name(second)}"
                short = {first, second} == set(self.shown_maps)
                for two in (f"{a}__{b}", f"{b}__{a}"):
                    found[f"{name}__{two}"] = name if short else long
        return found

    def named(self, column: str) -> str:
        """The current name of a column, from any earlier name; unchanged if unknown."""
        return self._earlier.get(column, column)

    def _find(self, column: str) -> Column | None:
        column = self.named(column)
        found = self._every.get(column) or self._others.get(column)
        return found if found is not None and found.kind is not None else None

    @cached_property
    def columns(self) -> dict[str, Kind]:
        """Columns for filters, with the kinds of their values."""
        every = {**self._every, **self._others}
        return {name: one.kind for name, one in every.items() if one.kind is not None}

    @cached_property
    def numbers(self) -> list[str]:
        """Columns for axes, the most informative first."""
        same = {one.sql for one in self._agreement.values()}
        every = [
            name
            for name, one in {**self._every, **self._others}.items()
            if one.kind == "number"
            and name.partition(":")[0] not in _NO_AXIS
            and (name in self._agreement or one.sql not in same)
            and not self._is_empty(name, one)
        ]
        pca = [f"{axis}:{self.sweep.models[self.first]}" for axis in ("pca_1", "pca_2")]
        first = [name for name in ("divergence", "correlation", *pca) if name in every]
        return list(dict.fromkeys([*first, *every]))

    def _is_empty(self, name: str, column: Column) -> bool:
        """Whether a column is known to be null in all rows."""
        own = name.partition(":")[0]
        return any((source, own) in self.tables.empty for source in column.sources)

    @cached_property
    def offered(self) -> list[str]:
        """Columns suggested for filters: without those of other pairs and empty ones."""
        return [
            name
            for name, one in self._every.items()
            if one.kind is not None and not self._is_empty(name, one)
        ]

    def title(self, column: str) -> str:
        """Title of a column; its name if unknown."""
        found = self._find(column)
        short = self.named(column) in self._agreement
        if found is None:
            return column
        return found.title.partition(": ")[0] if short else found.title

    @cached_property
    def labeled(self) -> bool:
        """Whether any picture has a label that matches a class."""
        asked = self.tables.ask('SELECT count("right") FROM answers').fetchone()
        return bool(asked and asked[0])

    def _answer(self, name: str, number: int) -> Column:
        return self._column("answers", name, number)

    def _right(self) -> list[Column | None]:
        """Columns for right answers of each of the two models; ``None`` for a missing second."""
        right: list[Column | None] = [self._answer("right", number) for number in self.compared]
        return [*right, None][:2]

    # -- filters ------------------------------------------------------------------------------

    def condition(self, filters: Sequence[str]) -> tuple[str, list[Any]]:
        """Filters as SQL with its values.

        Raises
        ------
        Unfit
            A filter is invalid: unknown column, or a value of the wrong kind.
        """
        return self._condition(_Question(), filters)

    def _condition(self, ask: _Question, filters: Sequence[str]) -> tuple[str, list[Any]]:
        parts, values = ["TRUE"], []
        for text in filters:
            part, value = self._one(ask, text)
            parts.append(part)
            values += value
        return " AND ".join(parts), values

    def canonical(self, text: str) -> str:
        """A filter with the current name of its column."""
        found = _FILTER.match(text.strip())
        return f"{self.named(found[1])}{found[2]}{found[3].strip()}" if found else text

    def _one(self, ask: _Question, text: str) -> tuple[str, list[Any]]:
        found = _FILTER.match(text.strip())
        column = self._find(found[1]) if found else None
        if found is None or column is None:
            raise Unfit(
                f"The filter {text!r} is unknown; write a column, a comparison and a value, such "
                "as divergence>0.5 or same_answer=no."
            )
        name, sign, value = found[1], found[2], found[3].strip()
        if column.kind == "flag":
            if sign != "=" or value not in _FLAGS:
                raise Unfit(
                    f"{name} is compared with {value!r}; write {name}=yes, =no or =unknown."
                )
            return f"{ask(column)} {_FLAGS[value]}", []
        if column.kind == "text":
            if sign not in ("=", "!="):
                raise Unfit(f"{name} is text; compare it with = or !=.")
            return f"{ask(column)} {sign} ?", [value]
        try:
            return f"{ask(column)} {sign} ?", [float(value)]
        except ValueError:
            raise Unfit(f"{name} is compared with {value!r}, expected a number.") from None

    def _ask(
        self, ask: _Question, query: str, values: Sequence[Any] = ()
    ) -> duckdb.DuckDBPyConnection:
        self.tables.check(list(ask.sources))
        return self.tables.ask(query, values)

    # -- answers ------------------------------------------------------------------------------

    def figures(self, filters: Sequence[str] = ()) -> Figures:
        """The numbers at the top of the page."""
        ask = _Question()
        where, values = self._condition(ask, filters)
        right = [ask(column) for column in self._right()]
        same, correlation, overlap = (
            ask(self._agreement.get(name)) for name in ("same_answer", "correlation", "overlap")
        )
        found = self._ask(
            ask,
            "SELECT count(*), count(*) FILTER (pictures.error != ''), "
            f"count(coalesce({right[0]}, {right[1]})), avg({same}::INT), avg({right[0]}::INT), "
            f"avg({right[1]}::INT), median({correlation}::FLOAT), median({overlap}::FLOAT) "
            f"FROM {ask.rows} WHERE {where}",
            values,
        ).fetchone()
        assert found is not None
        every = self.tables.ask("SELECT count(*) FROM pictures").fetchone()
        assert every is not None
        return Figures(found[0], every[0], *found[1:])

    def measures(self, filters: Sequence[str] = ()) -> sweep.SweepMeasures:
        """Accuracy, likelihood and calibration of the compared models on labeled pictures."""
        ask = _Question()
        where, values = self._condition(ask, filters)
        names = ("probability", "right", "label_log_probability", "label_rank")
        asked = [
            f'{ask(self._answer(name, number))}::DOUBLE AS "{name}_{place}"'
            for place, number in enumerate(self.compared)
            for name in names
        ]
        found = self._ask(
            ask, f'SELECT "index", {", ".join(asked)} FROM {ask.rows} WHERE {where}', values
        ).fetchnumpy()
        columns = {
            name: np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan)
            for name, column in found.items()
        }
        return sweep.measures_of(
            [self.sweep.models[number] for number in self.compared],
            [
                sweep.Answers.read(
                    {"index": columns["index"]}
                    | {name: columns[f"{name}_{place}"] for name in names}
                )
                for place in range(len(self.compared))
            ],
        )

    def colors(self) -> list[str]:
        """Available options of `COLORS`."""
        left_out = set() if len(self.compared) == 2 else {"agreement"}
        return [
            name for name in COLORS if name not in left_out and (self.labeled or name != "outcome")
        ]

    def _groups(self, ask: _Question, color: str) -> tuple[str, dict[str, str]]:
        """The expression of a point's group, and the groups; for labels they are not known."""
        if color == "label":
            return "pictures.label", {}
        if color == "agreement":
            same = ask(self._agreement.get("same_answer"))
            return (
                f"CASE WHEN {same} IS NULL THEN 'none' WHEN {same} THEN 'same' "
                "ELSE 'different' END",
                AGREEMENTS,
            )
        first, second = (ask(column) for column in self._right())
        if len(self.compared) == 1:
            return (
                f"CASE WHEN {first} IS NULL THEN 'unlabeled' WHEN {first} THEN 'both' "
                "ELSE 'neither' END",
                {"both": "right", "neither": "wrong", "unlabeled": "unlabeled"},
            )
        one, two = (self.titles[number] for number in self.compared)
        return (
            f"CASE WHEN {first} IS NULL OR {second} IS NULL THEN 'unlabeled' "
            f"WHEN {first} AND {second} THEN 'both' WHEN {first} THEN 'first' "
            f"WHEN {second} THEN 'second' ELSE 'neither' END",
            {
                "both": "both right",
                "first": f"only {one} right",
                "second": f"only {two} right",
                "neither": "both wrong",
                "unlabeled": "unlabeled",
            },
        )

    def scatter(
        self, x: str, y: str, color: str, filters: Sequence[str] = (), most: int = MOST_POINTS
    ) -> Points:
        """Two columns against each other.

        Of more than ``most`` rows those with the smallest hash of their index are taken: a
        reproducible random sample.

        Returns
        -------
        Points
            Its frame has the columns ``index``, ``x``, ``y``, ``group`` and ``path``.
        """
        ask = _Question()
        across, up = (ask(self._find(name)) for name in (x, y))
        where, values = self._condition(ask, filters)
        where += f" AND {across} IS NOT NULL AND {up} IS NOT NULL"
        asked = self._ask(ask, f"SELECT count(*) FROM {ask.rows} WHERE {where}", values).fetchone()
        total = asked[0] if asked else 0
        inner = ask.rows
        group, groups = self._groups(ask, color)
        if color == "label":
            known = self._labels(inner, where, values)
            groups = {**{label: label for label in known}, OTHER: OTHER}
        frame = self._ask(
            ask,
            f'SELECT "index", {across} AS x, {up} AS y, {group} AS "group", pictures.path AS path '
            f'FROM {ask.rows} WHERE "index" IN (SELECT "index" FROM {inner} WHERE {where} '
            f'ORDER BY hash("index") LIMIT {int(most)}) ORDER BY "index"',
            values,
        ).df()
        if color == "label":
            frame["group"] = frame["group"].where(frame["group"].isin(list(groups)), OTHER)
        return Points(frame, total, groups)

    def _labels(self, rows: str, where: str, values: Sequence[Any]) -> tuple[str, ...]:
        found = self.tables.ask(
            f"SELECT pictures.label AS label FROM {rows} WHERE {where} AND pictures.label != '' "
            f"GROUP BY 1 ORDER BY count(*) DESC, label LIMIT {MOST_LABELS}",
            values,
        ).fetchall()
        return tuple(label for (label,) in found)

    def classes(self, filters: Sequence[str] = ()) -> pd.DataFrame:
        """Rows by label, or by first answer without labels: the largest difference first.

        Returns
        -------
        DataFrame
            ``name``, ``pictures``, ``first``, ``second`` (shares of right answers), ``same``,
            ``correlation`` (median); at most `MOST_CLASSES` lines.
        """
        ask = _Question()
        where, values = self._condition(ask, filters)
        first, second = (ask(column) for column in self._right())
        answers = [ask(self._answer("answer", number)) for number in self.compared]
        name = "pictures.label" if self.labeled else f"coalesce({', '.join(answers)})"
        known = f"coalesce({first}, {second}) IS NOT NULL" if self.labeled else f"{name} != ''"
        same, correlation = (
            ask(self._agreement.get(column)) for column in ("same_answer", "correlation")
        )
        alone = '"first" ASC NULLS LAST, ' if len(self.compared) == 1 else ""
        return self._ask(
            ask,
            f"SELECT * FROM (SELECT {name} AS name, count(*) AS pictures, "
            f'avg({first}::INT) AS "first", avg({second}::INT) AS "second", '
            f"avg({same}::INT) AS same, median({correlation}::FLOAT) AS correlation "
            f"FROM {ask.rows} WHERE {where} AND {known} AND pictures.error = '' GROUP BY 1) "
            'ORDER BY abs("first" - "second") DESC NULLS LAST, same ASC NULLS LAST, '
            f"{alone}pictures DESC, name LIMIT {MOST_CLASSES}",
            values,
        ).df()

    def orders(self) -> dict[str, str]:
        """Available orders of the pictures, with their titles."""
        one, two = (self.titles[number] for number in (self.first, self.second))
        apart, maps = len(self.compared) == 2, len(self.shown_maps) == 2
        attends = any(
            self.sweep.manifest["models"][number]["family"] != "cnn" for number in self.compared
        )
        offered = {
            "maps": ("Maps disagree most", maps),
            "surest": ("Surest disagreement", apart),
            "divergence": ("Answers differ most", apart),
            "second_right": (f"{two} right, {one} wrong", apart and self.labeled),
            "first_right": (f"{one} right, {two} wrong", apart and self.labeled),
            "wrong": (f"{one} wrong, the surest first", not apart and self.labeled),
            "artifacts": ("Artifact patches", attends),
            "alike": ("Maps agree most", maps),
            "listed": ("As listed", True),
        }
        return {name: title for name, (title, offers) in offered.items() if offers}

    def order_named(self, order: str) -> str:
        """The current name of an order; older addresses have one CNN and one ViT."""
        if order not in ("cnn_right", "vit_right"):
            return order
        families = [self.sweep.manifest["models"][n]["family"] for n in self.compared]
        wanted, usual = order[:3], ("cnn", "vit").index(order[:3])
        place = families.index(wanted) if wanted in families else usual
        return ("first_right", "second_right")[place]

    def _way(self, ask: _Question, order: str) -> tuple[str, str]:
        """Condition and sort key of an order, as SQL."""

        def of(name: str) -> list[str]:
            return [ask(self._answer(name, number)) for number in self.compared]

        if order in ("maps", "alike"):
            way = "ASC" if order == "maps" else "DESC"
            return "TRUE", f"{ask(self._agreement['correlation'])} {way} NULLS LAST"
        if order == "surest":
            differ = f"NOT {ask(self._agreement['same_answer'])}"
            return differ, f"least({', '.join(of('probability'))}) DESC NULLS LAST"
        if order == "divergence":
            return "TRUE", f"{ask(self._agreement['divergence'])} DESC NULLS LAST"
        if order in ("first_right", "second_right"):
            right, wrong = of("right") if order == "first_right" else reversed(of("right"))
            sure = of("probability")[0 if order == "first_right" else 1]
            return f"{right} AND NOT {wrong}", f"{sure} DESC"
        if order == "wrong":
            return f"NOT {of('right')[0]}", f"{of('probability')[0]} DESC"
        if order == "artifacts":
            most = f"greatest({', '.join(of('artifacts'))})"
            return f"{most} > 0", f"{most} DESC"
        return "TRUE", '"index" ASC'

    def gallery(
        self, order: str, filters: Sequence[str], start: int, count: int
    ) -> tuple[list[Seen], int]:
        """Some pictures in an order, each with all its light rows; and the total number.

        Only the columns for filters and sorting are read for all rows.
        """
        ask = _Question()
        where, values = self._condition(ask, filters)
        only, by = self._way(ask, order)
        rows = f"FROM {ask.rows} WHERE {where} AND pictures.error = '' AND {only}"
        asked = self._ask(ask, f"SELECT count(*) {rows}", values).fetchone()
        found = self._ask(
            ask,
            f'SELECT "index" {rows} ORDER BY {by}, "index" LIMIT {int(count)} OFFSET {int(start)}',
            values,
        ).fetchall()
        return self.rows([index for (index,) in found]), asked[0] if asked else 0

    def rows(self, indices: Sequence[int]) -> list[Seen]:
        """All light rows of some pictures, in the order of ``indices``, as far as they exist."""
        if not indices:
            return []
        listed = ", ".join(str(int(index)) for index in indices)
        held: dict[int, dict[str, dict[Any, dict[str, Any]]]] = {}
        for name, numbers in sweep.NUMBERED.items():
            names = sweep.light_schemas()[name].names
            most = MOST_ROWS * len(indices)
            asked = f'SELECT * FROM {name} WHERE "index" IN ({listed}) LIMIT {most}'
            for values in self.tables.ask(asked).fetchall():
                row = dict(zip(names, values, strict=True))
                key = tuple(row[number] for number in numbers)
                of = held.setdefault(row["index"], {one: {} for one in sweep.NUMBERED})
                of[name][key[0] if len(key) == 1 else key] = row
        every = [held[index] for index in indices if index in held]
        return [
            Seen(of["pictures"][()], *(of[name] for name in sweep.NUMBERED if name != "pictures"))
            for of in every
            if of["pictures"]
        ]

    def failures(self, filters: Sequence[str] = (), most: int = 20) -> list[tuple[str, str]]:
        """Paths and errors of pictures that could not be processed."""
        ask = _Question()
        where, values = self._condition(ask, filters)
        return self._ask(
            ask,
            f"SELECT pictures.path, pictures.error FROM {ask.rows} "
            f"WHERE {where} AND pictures.error != '' ORDER BY \"index\" LIMIT {int(most)}",
            values,
        ).fetchall()

    def download(self, kind: Literal["csv", "parquet"], filters: Sequence[str] = ()) -> bytes:
        """The filtered pictures, one row each; CSV has at most `MOST_CSV` rows.

        With the values of every model and map, and the agreement of the compared ones.
        """
        import pyarrow as pa
        from pyarrow import csv, parquet

        ask = _Question()
        where, values = self._condition(ask, filters)
        every = self._every
        limit = f"LIMIT {MOST_CSV}" if kind == "csv" else ""
        columns = ", ".join(  # CSV has no lists
            ask(one) + ("" if one.kind or kind == "parquet" else "::VARCHAR")
            for one in every.values()
        )
        query = f'SELECT {columns} FROM {ask.rows} WHERE {where} ORDER BY "index" {limit}'
        self.tables.check(list(ask.sources))
        target = io.BytesIO()
        with self.tables.told():
            cursor = self.tables.connection.cursor()  # held until all is read
            found = cursor.query(query, params=values)
            read = getattr(found, "to_arrow_reader", None) or found.fetch_arrow_reader
            batches = read(ROWS_AT_A_TIME)
        schema = pa.schema(
            field.with_name(name) for field, name in zip(batches.schema, every, strict=True)
        )
        texts = [name for name, one in every.items() if one.kind == "text"]
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


def model_title(model_id: str) -> str:
    """Title of a model; its id if it is not in the catalog."""
    try:
        return find_spec(model_id).title
    except ParallaxError:  # it is only in the catalog of another machine
        return model_id


def method_title(method: str) -> str:
    """Title of a method; its name if this version does not have it."""
    try:
        return find_method(method).title
    except MethodError:
        return method


def accounts_for(total: int, shown: int) -> str:
    """Number of shown points and of all, in a sentence."""
    if shown == total:
        return f"All {total:,} pictures."
    return f"{shown:,} of {total:,} pictures, always the same sample."
