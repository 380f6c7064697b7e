"""A sweep on disk: atomically written parts, a manifest, and the rows in one file per table.

::

    manifest.json         plan, models and versions; written as the last file
                          of the start, so a sweep without one has not started
    pictures.parquet      the list of pictures at the start
    parts/TABLE/00000.parquet  all columns of the first pictures (`CHUNK` by default), and so on;
                          a file for each table of `core.sweep.schema`, ``pictures`` last
    rows/TABLE.parquet    the light columns of all parts, with projections of the embeddings

A sweep of a pair, of 0.4 or 0.5, has wide rows in ``parts/00000.parquet`` and ``rows.parquet``
instead (`core.sweep.pair_layout`). It can be read but not continued.

Every file is written under a temporary name, synced and renamed: a process that is killed, or a
power loss, leaves complete files and unused leftovers. Only one run writes to a folder at a time,
holding the lock on ``.lock`` there. `Sweep.collect` needs no lock.
"""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.errors import SweepError
from core.explain import versions
from core.methods.registry import changed_methods
from core.models import Model
from core.sweep import pair_layout, pictures
from core.sweep.manifest import read_manifest
from core.sweep.pair_layout import Projection
from core.sweep.pictures import Item, Source, list_pictures
from core.sweep.plan import Asked, Plan
from core.sweep.projection import ROW_GROUP, write_rows
from core.sweep.schema import NUMBERED, VERSION, light_schemas, schemas
from core.sweep.work import Chunk, Tables

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 64
"""Default number of pictures per part."""

_MANIFEST, _PICTURES, _PARTS = "manifest.json", "pictures.parquet", "parts"
_ROWS, _WIDE_ROWS = "rows", "rows.parquet"
_SAME = ("version", "chunk", "plan", "models", "maps")
"""Keys of the manifest that must be equal to continue a sweep."""


Row = dict[str, Any]
_LOCK = ".lock"
_collecting = threading.Lock()
"""Rows are collected once for all threads of a process."""


@contextmanager
def _replacing(path: Path, sweep: Path) -> Iterator[Path]:
    """As `core.files.replacing`; errors of the disk become `SweepError`."""
    with _told(sweep):
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as part:
            yield part


@contextmanager
def _told(sweep: Path) -> Iterator[None]:
    """Turn errors in writing files of a sweep into a sentence."""
    try:
        yield
    except OSError as error:
        raise SweepError(
            f"The sweep {sweep.name} cannot be written ({error.strerror or error}); what was made "
            "is kept, and the same sweep continues from there once this is fixed."
        ) from error


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Lock the folder of a sweep for writing; creates it if necessary.

    Raises
    ------
    SweepError
        Another run writes there, in this process or in another, or the folder cannot be created.
    """
    from filelock import FileLock, Timeout

    with _told(folder):
        if not (folder / _MANIFEST).is_file():
            _refuse_foreign(folder)  # before anything is written there
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise SweepError(
                f"The sweep {folder.name} is being written by another run; wait until that one has "
                "ended, or choose another folder."
            ) from error
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class MapOf:
    """A map of a sweep: number of the model, and name of the method."""

    model: int
    method: str


@dataclass(frozen=True)
class Stored:
    """Location of the light rows of a long table.

    Attributes
    ----------
    path
        A Parquet file.
    projections
        Columns of the file for columns of the table; several projections are stacked.
    """

    path: Path
    projections: Sequence[Projection]


@dataclass(frozen=True, eq=False)
class Sweep:
    """A sweep on disk, finished or not.

    Attributes
    ----------
    folder : Path
    manifest : mapping
        Plan, models and versions; converted to the current layout.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def plan(self) -> Plan:
        """The plan."""
        return Plan.from_dict(self.manifest["plan"])

    @property
    def is_of_a_pair(self) -> bool:
        """Whether it has the layout of 0.4 and 0.5."""
        return bool(self.manifest["version"] == pair_layout.VERSION)

    @property
    def models(self) -> tuple[str, ...]:
        """Ids of the models; their numbers are the indices here."""
        return tuple(one["id"] for one in self.manifest["models"])

    @property
    def maps(self) -> tuple[MapOf, ...]:
        """The maps; their numbers are the indices here."""
        return tuple(MapOf(one["model"], one["method"]) for one in self.manifest["maps"])

    @property
    def total(self) -> int:
        """Number of listed pictures."""
        return int(self.manifest["pictures"]["count"])

    @property
    def parts(self) -> int:
        """Number of parts of the finished sweep."""
        return -(-self.total // int(self.manifest["chunk"]))

    @property
    def written(self) -> list[int]:
        """Numbers of the written parts, in order; other files are ignored."""
        names = {path.name for path in self.part(0).parent.glob("[0-9]*.parquet")}
        numbers = sorted(
            int(name[:-8]) for name in names if re.fullmatch(r"\d{5,9}\.parquet", name)
        )
        return [n for n in numbers if n < self.parts and self.part(n).name in names]

    @property
    def done(self) -> int:
        """Number of pictures with a row."""
        size = int(self.manifest["chunk"])
        return sum(min(size, self.total - number * size) for number in self.written)

    @property
    def finished(self) -> bool:
        """Whether every picture has a row."""
        return len(self.written) == self.parts

    @property
    def rows(self) -> Path:
        """Folder of the light columns; it may be missing or out of date: see `collect`."""
        return self.folder / _ROWS

    @property
    def tables(self) -> dict[str, Stored]:
        """Location of the light rows of each table, after `collect`."""
        if self._has_wide_rows():
            every = self._projections
            return {name: Stored(self.folder / _WIDE_ROWS, every[name]) for name in NUMBERED}
        return {
            name: Stored(self.rows / f"{name}.parquet", [{one: one for one in schema.names}])
            for name, schema in light_schemas().items()
        }

    @cached_property
    def _projections(self) -> dict[str, list[Projection]]:
        plan = self.manifest["plan"]
        return pair_layout.projections(self.manifest["columns"], plan["evidence"])

    def _has_wide_rows(self) -> bool:
        """Whether rows written by an earlier version include all parts."""
        if not self.is_of_a_pair:
            return False
        return _parts_in(self.folder / _WIDE_ROWS) == len(self.written) > 0

    @property
    def source(self) -> Source:
        """The source of the pictures; a relative root is resolved from the folder of the sweep.

        So a sweep can be moved together with its pictures.
        """
        stated = Source(**self.manifest["pictures"]["source"])
        if stated.kind == "address" or "://" in stated.root:
            return stated
        return dataclasses.replace(stated, root=str((self.folder / stated.root).resolve()))

    @cached_property
    def items(self) -> list[Item]:
        """The list of pictures."""
        table = _read_table(self.folder / _PICTURES)
        columns = (table[name].to_pylist() for name in ("index", "path", "label"))
        return [Item(*values) for values in zip(*columns, strict=True)]

    def chunks(self) -> Iterator[Chunk]:
        """The missing parts, in order, as chunks."""
        written = set(self.written)
        for number, items in enumerate(pictures.chunks(self.items, int(self.manifest["chunk"]))):
            if number not in written:
                yield Chunk(number, self.source, items)

    def part(self, number: int, table: str = "pictures") -> Path:
        """File of a table of a part; a sweep of a pair has one for all tables."""
        place = self.folder / _PARTS
        return (place if self.is_of_a_pair else place / table) / f"{number:05d}.parquet"

    def write(self, number: int, tables: Tables) -> None:
        """Write a part; it counts as written once the table of its pictures exists."""
        from pyarrow import parquet

        for name in [*(name for name in tables if name != "pictures"), "pictures"]:
            with _replacing(self.part(number, name), self.folder) as path:
                parquet.write_table(tables[name], path, compression="zstd")

    # -- reading back -------------------------------------------------------------------------

    def table(self, number: int, name: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of a table of a part, including heavy ones, in the order of its pictures.

        Raises
        ------
        SweepError
            It is missing or invalid.
        """
        place = self.part(number, name)
        if not self.is_of_a_pair:
            found = _read_table(place, columns=list(columns))
            wanted = [(one, schemas()[name].field(one).type) for one in columns]
            if [(one.name, one.type) for one in found.schema] != wanted:
                raise _damaged(place)
            return found
        every = self._projections[name]
        wide = _read_table(place, columns=pair_layout.needed(every, columns))
        try:
            return pair_layout.stacked(wide, name, every, columns)
        except (ValueError, LookupError, TypeError, NotImplementedError) as error:
            raise _damaged(place) from error

    def read(self, name: str, indices: Sequence[int], columns: Sequence[str]) -> list[Row]:
        """Some columns of a table for some pictures, including heavy ones.

        Returns
        -------
        list of dict
            In the order of ``indices``; for one picture in the order of the models or maps; no rows
            for a picture that could not be processed.

        Raises
        ------
        SweepError
            A picture has no row, or a part cannot be read.
        """
        size = int(self.manifest["chunk"])
        by = ("index", *NUMBERED[name])
        held: dict[int, list[Row]] = {index: [] for index in indices}
        for number in {index // size for index in indices}:
            some = [index for index in held if index // size == number]
            for row in _rows_of(
                self.table(number, name, list(dict.fromkeys([*by, *columns]))), some
            ):
                held[row["index"]].append(row)
        if name == "pictures" and not all(held.values()):
            raise SweepError(
                f"A part of the sweep {self.folder.name} has fewer rows than expected; remove it "
                "and start the sweep again."
            )
        for rows in held.values():
            rows.sort(key=lambda row: [row[column] for column in by])
        return [{one: row[one] for one in columns} for index in indices for row in held[index]]

    def original(self, index: int) -> bytes:
        """The file of a picture, read only from the source of this sweep.

        Raises
        ------
        SweepError
            It is no longer available, or outside the source.
        """
        columns = ["index", "path", "label"]
        listed = self.folder / _PICTURES
        one = _read_table(listed, columns=columns, filters=[("index", "==", index)])
        if not len(one) or one.column_names != columns:
            raise SweepError(f"The sweep {self.folder.name} has no picture {index}.")
        row = one.to_pylist()[0]
        return pictures.read_inside(self.source, Item(**row))

    def collect(self) -> int:
        """Update the light rows to the written parts; returns the time of writing.

        Rows that an earlier version wrote stay as they are.

        Returns
        -------
        int
            Nanoseconds; changes when they are written again.

        Raises
        ------
        SweepError
            There is no part yet, or one cannot be read.
        """
        with _collecting:
            written = self.written
            if not written:
                raise SweepError(f"The sweep {self.folder.name} has no rows yet; run it first.")
            if any(_parts_in(one.path) != len(written) for one in self.tables.values()):
                counts = len(self.models), len(self.maps)
                try:
                    write_rows(self.table, written, *counts, self.rows, ROW_GROUP)
                except (OSError, ValueError, LookupError, TypeError, NotImplementedError) as error:
                    told = str(getattr(error, "strerror", None) or error).partition("\n")[0]
                    raise SweepError(
                        f"The rows of the sweep {self.folder.name} cannot be collected ({told}); "
                        "make sure that the folder can be written, that there is room on the disk, "
                        "and that its parts are whole."
                    ) from error
            return self.tables["pictures"].path.stat().st_mtime_ns

    def problem(self) -> str:
        """Why the sweep cannot be shown, in a sentence; empty if it can.

        The content of rows and parts is not checked.
        """
        rows = self.rows, *([self.folder / _WIDE_ROWS] if self.is_of_a_pair else [])
        if any(place.exists() for place in rows) and not self.written:
            return f"The sweep {self.folder.name} has lost its parts; copy the whole folder again."
        return ""


def _rows_of(table: pa.Table, indices: Sequence[int]) -> list[Row]:
    """The rows of some pictures."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: list[Row] = table.filter(
        pc.is_in(table["index"], value_set=pa.array(indices, pa.int64()))
    ).to_pylist()
    return found


def _damaged(path: Path) -> SweepError:
    return SweepError(
        f"{path.name} of a sweep is missing or damaged; remove it and start the sweep again."
    )


def _read_table(path: Path, **options: Any) -> pa.Table:
    """A Parquet file of a sweep, or `SweepError`."""
    from pyarrow import parquet

    try:
        return parquet.read_table(path, **options)
    except (OSError, ValueError, LookupError, TypeError, NotImplementedError) as error:
        raise _damaged(path) from error


def _parts_in(rows: Path) -> int:
    """How many parts a file of rows was made from; 0 without one, or if it is damaged."""
    from pyarrow import parquet

    if not rows.is_file():
        return 0
    try:
        return int((parquet.read_schema(rows).metadata or {}).get(b"parts", 0))
    except (OSError, ValueError):
        return 0


def open_sweep(folder: Path) -> Sweep:
    """A sweep that has been started.

    Raises
    ------
    SweepError
        The folder contains no sweep, one of another version, or one with an invalid manifest.
    """
    return Sweep(folder, _completed(read_manifest(folder / _MANIFEST)))


def _completed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest completed with the values that an earlier version implied."""
    plan, maps = dict(manifest["plan"]), list(manifest["maps"])
    parameters = dict(plan.get("parameters", {}))
    for number, asked in enumerate(maps):
        method = changed_methods().get(asked["method"])
        for name, value in (method.earlier if method else {}).items():
            if name not in asked["parameters"]:
                parameters[f"{asked['method']}.{name}"] = value
                maps[number] = {**asked, "parameters": {**maps[number]["parameters"], name: value}}
    return {**manifest, "plan": {**plan, "parameters": parameters}, "maps": maps}


def as_begun(plan: Plan, folder: Path) -> Plan:
    """A plan with the parameters of the sweep in a folder, where it states none.

    Raises
    ------
    SweepError
        The folder holds a sweep of another layout.
    """
    if not (folder / _MANIFEST).is_file():
        return plan
    there = open_sweep(folder)
    if there.is_of_a_pair:
        raise SweepError(
            f"The sweep {folder.name} was begun by an earlier version with another layout "
            "of rows: it can be opened but not continued; choose another folder."
        )
    if plan.parameters:
        return plan
    begun = there.plan
    same = begun == dataclasses.replace(plan, parameters=begun.parameters)
    return begun if same else plan


def find_sweeps(folder: Path) -> list[Sweep]:
    """All sweeps directly in a folder, by name; invalid ones are left out."""
    return list_sweeps(folder)[0]


def list_sweeps(folder: Path) -> tuple[list[Sweep], dict[str, str]]:
    """All sweeps directly in a folder, and the invalid ones.

    Returns
    -------
    sweeps : list of Sweep
        By name.
    broken : dict of str to str
        Names of the folders without a valid sweep, and a sentence for each.
    """
    found, broken = [], {}
    for manifest in sorted(folder.glob(f"*/{_MANIFEST}")):
        try:
            sweep = open_sweep(manifest.parent)
            if problem := sweep.problem():
                raise SweepError(problem)
        except SweepError as error:
            broken[manifest.parent.name] = str(error)
        else:
            found.append(sweep)
    return found, broken


def begin(
    plan: Plan,
    folder: Path,
    maps: Sequence[Asked],
    models: Sequence[Model],
    chunk: int,
    command: str,
) -> Sweep:
    """Start a sweep in a folder, or continue the one there; called within `writing`.

    The list of pictures is that of the first start: pictures added to a folder later are
    ignored.

    Raises
    ------
    SweepError
        The folder contains a sweep with another plan, or other files.
    """
    asked = {
        "version": VERSION,
        "chunk": chunk,
        "plan": plan.as_dict(),
        "models": [
            {
                "id": model.spec.id,
                "weights_sha256": model.weights_digest,
                "family": model.spec.family,
            }
            for model in models
        ],
        "maps": [
            {"model": one.model, "method": one.method, "parameters": dict(one.parameters)}
            for one in maps
        ],
    }
    asked = json.loads(json.dumps(asked))  # in the form read from the file
    run = {
        "command": command,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": dict(versions()),
    }
    for place in (folder, folder / _ROWS, *(folder / _PARTS / name for name in NUMBERED)):
        files.remove_leftovers(place)
    if (folder / _MANIFEST).is_file():
        sweep = open_sweep(folder)
        for key in _SAME:
            if sweep.manifest[key] != asked[key]:
                raise SweepError(_difference(folder, key, sweep.manifest[key], asked[key]))
        manifest = {**sweep.manifest, "runs": [*sweep.manifest["runs"], run]}
    else:
        _refuse_foreign(folder)
        with _told(folder):
            (folder / _PARTS).mkdir(exist_ok=True)
        source, items = list_pictures(plan.pictures)
        _write_items(folder / _PICTURES, items)
        listed = {"count": len(items), "source": dataclasses.asdict(source)}
        classes = [list(model.labels) for model in models]
        manifest = {**asked, "pictures": listed, "classes": classes, "runs": [run]}
    with _replacing(folder / _MANIFEST, folder) as path:
        path.write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    return Sweep(folder, manifest)


def _refuse_foreign(folder: Path) -> None:
    """Raise `SweepError` if a folder contains anything but a started sweep."""
    if not folder.is_dir():
        return
    foreign = [
        path.name
        for path in folder.iterdir()
        if path.name not in (_PARTS, _PICTURES) and not path.name.startswith(".")
    ]
    if foreign or any((folder / _PARTS).rglob("[0-9]*")):
        what = foreign[0] if foreign else f"{_PARTS} without a manifest"
        raise SweepError(f"The folder {folder.name} holds {what}; choose an empty one.")


def _difference(folder: Path, key: str, there: Any, asked: Any) -> str:
    """The difference of two sweeps, in a sentence."""
    if isinstance(there, list) and isinstance(asked, list) and len(there) == len(asked):
        there, asked = dict(enumerate(there)), dict(enumerate(asked))
    if isinstance(there, dict) and isinstance(asked, dict):
        for name in dict.fromkeys([*there, *asked]):
            if there.get(name) != asked.get(name):
                return _difference(folder, f"{key}.{name}", there.get(name), asked.get(name))
    return (
        f"The folder {folder.name} holds a sweep with {key} = {there!r}, not {asked!r}; choose "
        "another folder, or request the same."
    )


def _write_items(path: Path, items: Sequence[Item]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        "index": [item.index for item in items],
        "path": [item.path for item in items],
        "label": [item.label for item in items],
    }
    with _replacing(path, path.parent) as beside:
        parquet.write_table(pa.table(columns), beside, compression="zstd")
