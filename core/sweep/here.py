"""The engine that works in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from core.sweep.work import Chunk, Work

if TYPE_CHECKING:
    import pyarrow as pa


def run(work: Work, chunks: Iterable[Chunk]) -> Iterator[tuple[int, pa.Table]]:
    """Look at chunks one after another: number and table of each."""
    for chunk in chunks:
        yield chunk.number, work(chunk)
