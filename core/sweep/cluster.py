"""The engine for Ray clusters, with Ray Data (``ray[data]``, see requirements.txt here).

Chunks are sent as rows of a data set; tables are returned and written by the process that started
the sweep, so that workers need no shared folder. Every worker must find the pictures of a folder at
the same path. Ray replaces a lost worker and processes its chunk again.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from core.errors import SweepError
from core.paths import ROOT
from core.sweep.plan import Plan
from core.sweep.work import Chunk, Tables, Work

if TYPE_CHECKING:
    import pyarrow as pa


class _Worker:
    """The models of a plan, opened once in a process of Ray."""

    def __init__(self, plan: Plan, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._work = Work.open(plan)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        chunk: Chunk = pickle.loads(batch["chunk"][0])
        return {
            "number": [chunk.number],
            "tables": [
                pickle.dumps({name: _packed(one) for name, one in self._work(chunk).items()})
            ],
        }


def run(plan: Plan, chunks: Iterable[Chunk], address: str | None) -> Iterator[tuple[int, Tables]]:
    """Process chunks on free workers: number and tables of each, as they finish.

    Parameters
    ----------
    address
        Of a cluster; by default one is started on this machine and ended afterwards.

    Raises
    ------
    SweepError
        Ray is not installed, cannot be reached, or failed.
    """
    try:
        import ray
    except ImportError as error:
        raise SweepError(
            "The engine ray needs Ray Data; install it with pip install -r "
            "core/sweep/requirements.txt, or choose the engine here."
        ) from error
    begun = not ray.is_initialized()
    if begun:
        _begin(address)
    try:
        rows = _data_set(plan, list(chunks)).iter_batches(batch_size=1, batch_format="numpy")
        for row in rows:
            packed: dict[str, bytes] = pickle.loads(row["tables"][0])
            yield int(row["number"][0]), {name: _unpacked(one) for name, one in packed.items()}
    except ray.exceptions.RayError as error:
        told = str(error).strip().splitlines()[-1]
        raise SweepError(f"Ray failed: {told} The same command continues from here.") from error
    finally:
        if begun:
            ray.shutdown()


def _begin(address: str | None) -> None:
    """Join a cluster, with this project's code, or start one here."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # as fast as in this process
    environment: dict[str, Any] = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    if address:
        environment = {"working_dir": str(ROOT), "excludes": [".git", "tests"]}
    try:
        ray.init(
            address=address or "local",
            runtime_env=environment,
            include_dashboard=False if not address else None,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except Exception as error:  # failures to reach a cluster differ in type
        raise SweepError(
            f"Ray cannot be reached at {address or 'this machine'}: {error}."
        ) from error


def _data_set(plan: Plan, chunks: list[Chunk]) -> Any:
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    cards = int(ray.cluster_resources().get("GPU", 0))
    threads = 1  # one network per core is faster than one network on all cores
    workers = cards or max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
    rows = [{"chunk": pickle.dumps(chunk)} for chunk in chunks]
    return ray.data.from_items(rows).map_batches(
        _Worker,
        fn_constructor_args=(plan, threads),
        batch_size=1,
        compute=ActorPoolStrategy(size=min(workers, max(1, len(chunks)))),
        num_cpus=threads,
        num_gpus=1 if cards else 0,
    )


def _packed(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def _unpacked(packed: bytes) -> pa.Table:
    import pyarrow as pa

    with pa.ipc.open_stream(packed) as reader:
        return reader.read_all()
