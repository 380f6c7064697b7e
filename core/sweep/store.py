"""A sweep on disk: parts that are whole or not there, a manifest, and the rows in one file.

::

    manifest.json        what was asked, of which models, with which versions; written last of all
                         that a sweep begins with, so a folder without one has not begun
    pictures.parquet     the list of pictures as it was at the beginning
    parts/00000.parquet  all columns of the first pictures (`CHUNK` by default), and so on
    rows.parquet         the light columns of all parts and projections of the embeddings

Every file is written beside its place and renamed into it: a process that is killed at any moment
leaves whole files and leftovers that nobody reads.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ParallaxError, SweepError
from core.explain import versions
from core.methods.registry import changed_methods
from core.models import Model
from core.sweep import pictures
from core.sweep.pictures import Item, Source, list_pictures
from core.sweep.plan import Asked, Plan
from core.sweep.projection import write_rows
from core.sweep.schema import VERSION
from core.sweep.work import Chunk

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 64
"""Pictures of one part by default."""

ROW_GROUP = 65_536
"""Rows of ``rows.parquet`` that are read together."""

_MANIFEST, _PICTURES, _PARTS, _ROWS = "manifest.json", "pictures.parquet", "parts", "rows.parquet"
_SAME = ("version", "chunk", "plan", "models", "maps")
"""Keys of the manifest that a sweep must agree in to be gone on with."""


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A place to write to that becomes ``path`` once it is written."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@dataclass(frozen=True, eq=False)
class Sweep:
    """A sweep on disk, finished or not.

    Attributes
    ----------
    folder : Path
    manifest : mapping
        What was asked, of which models, with which versions.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def plan(self) -> Plan:
        """What was asked."""
        return Plan.from_dict(self.manifest["plan"])

    @property
    def maps(self) -> tuple[str, ...]:
        """Keys of the maps, such as ``cnn_cam``."""
        return tuple(self.manifest["maps"])

    @property
    def total(self) -> int:
        """Pictures that were listed."""
        return int(self.manifest["pictures"]["count"])

    @property
    def parts(self) -> int:
        """Parts that a finished sweep has."""
        return -(-self.total // int(self.manifest["chunk"]))

    @property
    def written(self) -> list[int]:
        """Numbers of the parts that are there."""
        return sorted(int(path.stem) for path in (self.folder / _PARTS).glob("[0-9]*.parquet"))

    @property
    def done(self) -> int:
        """Pictures that have their row."""
        size = int(self.manifest["chunk"])
        return sum(min(size, self.total - number * size) for number in self.written)

    @property
    def finished(self) -> bool:
        """Whether every picture has its row."""
        return len(self.written) == self.parts

    @property
    def rows(self) -> Path:
        """File of the light columns; it may be missing or behind: see `collect`."""
        return self.folder / _ROWS

    @property
    def source(self) -> Source:
        """Where the pictures lie."""
        return Source(**self.manifest["pictures"]["source"])

    @cached_property
    def items(self) -> list[Item]:
        """The list of pictures."""
        table = _read_table(self.folder / _PICTURES)
        columns = (table[name].to_pylist() for name in ("index", "path", "label"))
        return [Item(*values) for values in zip(*columns, strict=True)]

    def chunks(self) -> Iterator[Chunk]:
        """The parts that are missing, in order, as work."""
        written = set(self.written)
        for number, items in enumerate(pictures.chunks(self.items, int(self.manifest["chunk"]))):
            if number not in written:
                yield Chunk(number, self.source, items)

    def part(self, number: int) -> Path:
        """File of a part."""
        return self.folder / _PARTS / f"{number:05d}.parquet"

    def write(self, number: int, table: pa.Table) -> None:
        """Put a part into its place."""
        from pyarrow import parquet

        with _replacing(self.part(number)) as path:
            parquet.write_table(table, path, compression="zstd")

    # -- reading back -------------------------------------------------------------------------

    def read(self, indices: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Some columns of some pictures, heavy ones too, in the order of ``indices``.

        Raises
        ------
        SweepError
            A picture that has no row, or a part that cannot be read.
        """
        size = int(self.manifest["chunk"])
        tables = {
            number: _read_table(self.part(number), columns=list(columns))
            for number in {index // size for index in indices}
        }
        return [tables[i // size].slice(i % size, 1).to_pylist()[0] for i in indices]

    def original(self, index: int) -> bytes:
        """The file of a picture, out of the source of this sweep and of nowhere else.

        Raises
        ------
        SweepError
            It is gone, or lies outside.
        """
        one = _read_table(self.folder / _PICTURES, filters=[("index", "==", index)])
        if not len(one):
            raise SweepError(f"The sweep {self.folder.name} has no picture {index}.")
        [row] = one.select(["index", "path", "label"]).to_pylist()
        return pictures.read_inside(self.source, Item(**row))

    def collect(self) -> Path:
        """Bring ``rows.parquet`` up to the parts that are there; returns its path.

        Raises
        ------
        SweepError
            There is no part yet, or one cannot be read.
        """
        written = self.written
        if not written:
            raise SweepError(f"The sweep {self.folder.name} has no rows yet; let it run first.")
        if _parts_in(self.rows) != len(written):
            parts = [self.part(number) for number in written]
            try:
                with _replacing(self.rows) as path:
                    write_rows(parts, path, ROW_GROUP)
            except (OSError, ValueError) as error:
                raise SweepError(
                    f"The rows of the sweep {self.folder.name} cannot be gathered ({error}); make "
                    "sure that the folder can be written and its parts are whole."
                ) from error
        return self.rows


def _read_table(path: Path, **options: Any) -> pa.Table:
    """A Parquet file of a sweep, or `SweepError`."""
    from pyarrow import parquet

    try:
        return parquet.read_table(path, **options)
    except (OSError, ValueError) as error:
        raise SweepError(
            f"{path.name} of a sweep is missing or damaged; remove it and start the sweep again."
        ) from error


def _parts_in(rows: Path) -> int:
    """How many parts a file of rows was made from; 0 without one."""
    from pyarrow import parquet

    if not rows.is_file():
        return 0
    return int((parquet.read_schema(rows).metadata or {}).get(b"parts", 0))


def open_sweep(folder: Path) -> Sweep:
    """A sweep that has begun.

    Raises
    ------
    SweepError
        The folder holds none, or one of another version.
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        version = manifest["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SweepError(
            f"{folder.name} holds no sweep; choose a folder that one wrote."
        ) from error
    if version != VERSION:
        raise SweepError(
            f"The sweep {folder.name} has the layout {version}, expected {VERSION}; make it anew."
        )
    try:
        return Sweep(folder, _completed(manifest))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SweepError(
            f"The manifest of the sweep {folder.name} does not say what was asked; make it anew."
        ) from error


def _completed(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with what an earlier version did not write, as it was meant then."""
    plan, maps = dict(manifest["plan"]), dict(manifest["maps"])
    parameters = dict(plan.get("parameters", {}))
    for key, asked in maps.items():
        method = changed_methods().get(asked["method"])
        for name, value in (method.earlier if method else {}).items():
            if name not in asked["parameters"]:
                parameters[f"{asked['method']}.{name}"] = value
                maps[key] = {**asked, "parameters": {**maps[key]["parameters"], name: value}}
    return {**manifest, "plan": {**plan, "parameters": parameters}, "maps": maps}


def as_begun(plan: Plan, folder: Path) -> Plan:
    """A plan with the parameters of the sweep in a folder, if it leaves them open.

    Raises
    ------
    SweepError
        The folder holds a sweep of another layout.
    """
    if plan.parameters or not (folder / _MANIFEST).is_file():
        return plan
    begun = open_sweep(folder).plan
    same = begun == dataclasses.replace(plan, parameters=begun.parameters)
    return begun if same else plan


def find_sweeps(folder: Path) -> list[Sweep]:
    """All sweeps directly in a folder, by name; what cannot be opened is left out."""
    found = []
    for manifest in sorted(folder.glob(f"*/{_MANIFEST}")):
        try:
            found.append(open_sweep(manifest.parent))
        except ParallaxError:
            continue
    return found


def begin(
    plan: Plan,
    folder: Path,
    maps: Sequence[Asked],
    pair: tuple[Model, Model],
    chunk: int,
    command: str,
) -> Sweep:
    """Begin a sweep in a folder, or go on with the one that is there.

    The list of pictures is that of the first beginning: what is added to a folder later takes no
    part.

    Raises
    ------
    SweepError
        The folder holds a sweep of something else, or other files.
    """
    asked = {
        "version": VERSION,
        "chunk": chunk,
        "plan": plan.as_dict(),
        "models": {
            model.spec.family: {"id": model.spec.id, "weights_sha256": model.weights_digest}
            for model in pair
        },
        "maps": {
            one.key: {"method": one.method, "parameters": dict(one.parameters)} for one in maps
        },
    }
    asked = json.loads(json.dumps(asked))  # as it comes back from the file
    run = {
        "command": command,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": dict(versions()),
    }
    if (folder / _MANIFEST).is_file():
        sweep = open_sweep(folder)
        for key in _SAME:
            if sweep.manifest[key] != asked[key]:
                raise SweepError(_difference(folder, key, sweep.manifest[key], asked[key]))
        manifest = {**sweep.manifest, "runs": [*sweep.manifest["runs"], run]}
    else:
        _make_empty(folder)
        source, items = list_pictures(plan.pictures)
        _write_items(folder / _PICTURES, items)
        listed = {"count": len(items), "source": dataclasses.asdict(source)}
        classes = {model.spec.family: list(model.labels) for model in pair}
        manifest = {**asked, "pictures": listed, "classes": classes, "runs": [run]}
    with _replacing(folder / _MANIFEST) as path:
        path.write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    return Sweep(folder, manifest)


def _make_empty(folder: Path) -> None:
    """Make the folder, or see that nothing but the beginning of a sweep is in it."""
    (folder / _PARTS).mkdir(parents=True, exist_ok=True)
    foreign = [
        path.name
        for path in folder.iterdir()
        if path.name not in (_PARTS, _PICTURES) and not path.name.startswith(".")
    ]
    if foreign or any((folder / _PARTS).glob("[0-9]*")):
        what = foreign[0] if foreign else f"{_PARTS} without a manifest"
        raise SweepError(f"The folder {folder.name} holds {what}; choose an empty one.")


def _difference(folder: Path, key: str, there: Any, asked: Any) -> str:
    """What two sweeps differ in, in a sentence."""
    if isinstance(there, dict) and isinstance(asked, dict):
        for name in dict.fromkeys([*there, *asked]):
            if there.get(name) != asked.get(name):
                return _difference(folder, f"{key}.{name}", there.get(name), asked.get(name))
    return (
        f"The folder {folder.name} holds a sweep with {key} = {there!r}, not {asked!r}; choose "
        "another folder, or ask for the same."
    )


def _write_items(path: Path, items: Sequence[Item]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        "index": [item.index for item in items],
        "path": [item.path for item in items],
        "label": [item.label for item in items],
    }
    with _replacing(path) as beside:
        parquet.write_table(pa.table(columns), beside, compression="zstd")
