"""Sources of the pictures of a sweep, and how originals are read later.

- A folder, at any depth; each folder directly below it is a label, as for `core.picture_files`,
  which also finds Caltech101 where torchvision puts it.
- A Parquet file with a column of paths (``path``, ``file``, ``file_name`` or ``image_path``;
  relative ones are taken from the file's folder) or of bytes (``bytes``, ``image``, or the
  ``image`` of Hugging Face data sets), and optionally a column ``label`` or ``class``.
- An address supported by fsspec (``s3://``, ``gs://``, ``https://`` …), of a folder or a Parquet
  file, if the library for it is installed.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

from core.errors import ImageError, SweepError
from core.images import MAX_FILE
from core.pictures import ENDINGS, picture_files, readable_label

PATH_COLUMNS = ("path", "file", "file_name", "image_path")
BYTES_COLUMNS = ("bytes", "image")
LABEL_COLUMNS = ("label", "class")

Kind = Literal["folder", "address", "paths", "bytes"]


@dataclass(frozen=True)
class Source:
    """The source of the pictures.

    Attributes
    ----------
    kind
        A ``"folder"`` of this machine, an ``"address"`` of a folder elsewhere, or a Parquet file
        that holds their ``"paths"`` or ``"bytes"``.
    root
        The folder or the file; absolute, except in the manifest of a sweep that can be moved.
    column
        Column of the Parquet file.
    """

    kind: Kind
    root: str
    column: str = ""


@dataclass(frozen=True)
class Item:
    """One picture of a source: its index in the list, its path, its label or ``""``."""

    index: int
    path: str
    label: str = ""


def list_pictures(given: str) -> tuple[Source, list[Item]]:
    """All pictures of a folder, a Parquet file or an address, in a fixed order.

    Raises
    ------
    SweepError, ImageError
        The source does not exist or contains no picture.
    """
    elsewhere = "://" in given
    if given.endswith(".parquet"):
        return _list_table(given if elsewhere else str(Path(given).resolve()))
    if elsewhere:
        return _list_address(given.rstrip("/"))
    root = Path(given).resolve()
    files = picture_files(root)
    items = [
        Item(index, file.path.relative_to(root).as_posix(), file.label)
        for index, file in enumerate(files)
    ]
    return Source("folder", str(root)), items


def read(source: Source, items: Sequence[Item]) -> Iterator[bytes | ImageError]:
    """The files of some pictures, in order; an error in place of one that cannot be read.

    ``items`` of Parquet bytes must be in the order of their index. Of a file larger than
    `core.images.MAX_FILE`, only one byte more than that is read.
    """
    if source.kind == "bytes":
        yield from _read_table(source, items)
        return
    for item in items:
        try:
            with _open(_place(source, item)) as file:
                data = file.read(MAX_FILE + 1)
        except Exception as error:  # file systems of fsspec differ in error types
            yield ImageError(f"{item.path} cannot be opened ({_said(error)}).")
        else:
            yield data


def read_inside(source: Source, item: Item) -> bytes:
    """The file of one picture, for users who can see the sweep.

    The source stated in a sweep may be untrusted. So nothing outside the source's own folder is
    read, wherever links lead, and nothing but regular files. For a Parquet file of paths that is
    the folder of the file: pictures elsewhere, which a sweep may process, are not shown again.

    Raises
    ------
    SweepError
        It is outside the folder, or no longer available.
    """
    try:
        if source.kind == "bytes":
            if "://" not in source.root and not Path(source.root).is_file():
                raise ImageError(f"{Path(source.root).name} cannot be opened (no such file).")
            [found] = read(source, [item])
            if isinstance(found, ImageError):
                raise found
            return found
        return _read_below(_folder_of(source), item.path)
    except SweepError:
        raise
    except Exception as error:  # file systems of fsspec differ in error types
        told = str(error) if isinstance(error, ImageError) else f"{item.path} cannot be opened."
        raise SweepError(f"{told} The pictures of this sweep may have been moved.") from error


def _folder_of(source: Source) -> str:
    """The folder of the pictures of a source, if there is one."""
    return posixpath.dirname(source.root) if source.kind == "paths" else source.root


def _read_below(root: str, path: str) -> bytes:
    """A file of bounded size below a folder of this machine or of fsspec."""
    outside = SweepError(f"{path} lies outside the picture folder of this sweep.")
    if "://" not in root:
        folder = Path(root).resolve()
        place = (folder / path).resolve()
        if folder == folder.parent or not place.is_relative_to(folder):
            raise outside
        if not place.is_file():
            raise ImageError(f"{path} cannot be opened (no such file).")
        with place.open("rb") as file:
            return file.read(MAX_FILE + 1)
    import fsspec

    # The path is joined to the resolved address, and never interpreted as an address itself.
    system, base = fsspec.url_to_fs(root)
    if isinstance(system, fsspec.get_filesystem_class("file")):
        return _read_below(base, path)
    if "://" in path or path.startswith("/") or ".." in re.split(r"[/\\]", path):
        raise outside
    with system.open(f"{base.rstrip('/')}/{path}", "rb") as file:
        return cast(bytes, file.read(MAX_FILE + 1))


def _place(source: Source, item: Item) -> str:
    if source.kind != "paths":
        return f"{source.root}/{item.path}"
    if "://" in item.path or Path(item.path).is_absolute():
        return item.path
    return f"{_folder_of(source)}/{item.path}"


def _open(place: str) -> IO[bytes]:
    if "://" not in place:
        return Path(place).open("rb")
    import fsspec

    return cast(IO[bytes], fsspec.open(place, "rb").open())


def _said(error: Exception) -> str:
    told = error.strerror if isinstance(error, OSError) else None
    return told or str(error).split("\n")[0] or type(error).__name__


def _list_address(root: str) -> tuple[Source, list[Item]]:
    import fsspec

    try:
        system, base = fsspec.url_to_fs(root)
        found = sorted(system.find(base))
    except Exception as error:  # a missing library as well as a missing folder
        raise SweepError(f"{root} cannot be listed ({_said(error)}).") from error
    base = base.rstrip("/")
    paths = [path.removeprefix(base).strip("/") for path in found]
    kept = [path for path in paths if posixpath.splitext(path)[1].lower() in ENDINGS]
    if not kept:
        raise SweepError(f"{root} contains no picture; choose a folder of pictures.")
    items = [
        Item(index, path, readable_label(path.split("/")[0]) if "/" in path else "")
        for index, path in enumerate(kept)
    ]
    return Source("address", root), items


# -- Parquet --------------------------------------------------------------------------------------


def _list_table(root: str) -> tuple[Source, list[Item]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with _open(root) as file:
            schema = parquet.read_schema(file)
            names = schema.names
            held = next((name for name in BYTES_COLUMNS if name in names), "")
            path = next((name for name in PATH_COLUMNS if name in names), "")
            label = next((name for name in LABEL_COLUMNS if name in names), "")
            if held and pa.types.is_string(schema.field(held).type):  # an image by its path
                held, path = "", held
            table = parquet.read_table(file, columns=[name for name in (path, label) if name])
            count = parquet.ParquetFile(file).metadata.num_rows
    except Exception as error:
        raise SweepError(
            f"{Path(root).name} cannot be read as Parquet ({_said(error)})."
        ) from error
    if not (held or path):
        wanted = ", ".join((*PATH_COLUMNS, *BYTES_COLUMNS))
        raise SweepError(
            f"{Path(root).name} has the columns {', '.join(names)}, expected one of {wanted}."
        )
    paths = _texts(table, path) if path else [f"row {index}" for index in range(count)]
    labels = _texts(table, label) if label else [""] * count
    items = [Item(index, *pair) for index, pair in enumerate(zip(paths, labels, strict=True))]
    return Source("bytes" if held else "paths", root, held or path), items


def _texts(table: Any, column: str) -> list[str]:
    return ["" if value is None else str(value) for value in table[column].to_pylist()]


def _read_table(source: Source, items: Sequence[Item]) -> Iterator[bytes | ImageError]:
    missing = 0
    try:
        for data in _rows(source, [item.index for item in items]):
            missing += 1
            yield data
    except Exception as error:
        for item in items[missing:]:
            yield ImageError(f"{item.path} cannot be read ({_said(error)}).")


def _rows(source: Source, wanted: Sequence[int]) -> Iterator[bytes | ImageError]:
    """Values of some rows, given in order; only the row groups that hold them are read."""
    from pyarrow import parquet

    with _open(source.root) as file:
        opened = parquet.ParquetFile(file)
        start, due = 0, iter(wanted)
        row = next(due, None)
        for group in range(opened.num_row_groups):
            count = opened.metadata.row_group(group).num_rows
            if row is None or row >= start + count:
                start += count
                continue
            for batch in opened.iter_batches(64, [group], columns=[source.column]):
                while row is not None and row < start + len(batch):
                    yield _bytes(batch.column(0)[row - start].as_py(), row)
                    row = next(due, None)
                start += len(batch)


def _bytes(value: object, row: int) -> bytes | ImageError:
    if isinstance(value, dict):  # as Hugging Face's datasets write pictures
        value = value.get("bytes")
    return value if isinstance(value, bytes) else ImageError(f"Row {row} contains no picture.")


def chunks(items: Iterable[Item], size: int) -> list[tuple[Item, ...]]:
    """The list in parts of one size; the last may be shorter."""
    every = tuple(items)
    return [every[start : start + size] for start in range(0, len(every), size)]
