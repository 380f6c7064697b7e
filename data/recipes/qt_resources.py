"""Read the files of a Qt resource archive (``.rcc``) by name.

The format is the one that Qt's ``rcc`` writes: a header with the places of three tables, a tree of
20 or 22 bytes an entry, the data, each part after its length, and the names in UTF-16.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

FOLDER, PACKED = 2, 5
"""Flags of an entry: it is a folder; its data are compressed (zlib 1, zstd 4)."""


def resource_files(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Path and content of each uncompressed file.

    Parameters
    ----------
    archive
        The whole ``.rcc`` file.

    Raises
    ------
    ValueError
        It is not a resource archive.
    """
    if archive[:4] != b"qres":
        raise ValueError("no Qt resource archive: its first four bytes are not 'qres'")
    version, tree, data, names = struct.unpack_from(">4I", archive, 4)
    length = 14 if version < 2 else 22

    def name(at: int) -> str:
        (count,) = struct.unpack_from(">H", archive, names + at)
        start = names + at + 6  # after the length and a hash
        return archive[start : start + 2 * count].decode("utf-16-be")

    def walk(index: int, above: str) -> Iterator[tuple[str, bytes]]:
        at = tree + index * length
        named, flags = struct.unpack_from(">IH", archive, at)
        path = f"{above}/{name(named)}" if index else ""
        if flags & FOLDER:
            count, first = struct.unpack_from(">II", archive, at + 6)
            for child in range(first, first + count):
                yield from walk(child, path)
        elif not flags & PACKED:
            (place,) = struct.unpack_from(">I", archive, at + 10)
            (size,) = struct.unpack_from(">I", archive, data + place)
            start = data + place + 4
            yield path.lstrip("/"), archive[start : start + size]

    yield from walk(0, "")
