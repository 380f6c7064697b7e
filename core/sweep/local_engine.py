"""The engine that runs in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from core.sweep.work import Chunk, Tables, Work


def run(work: Work, chunks: Iterable[Chunk]) -> Iterator[tuple[int, Tables]]:
    """Process chunks one after another: number and tables of each."""
    for chunk in chunks:
        yield chunk.number, work(chunk)
