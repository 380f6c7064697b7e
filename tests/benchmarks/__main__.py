"""Run the benchmarks: ``python -m tests.benchmarks``.

Prints one table and writes one JSON file. Ratios of times are medians of calls that take turns;
peak memory is measured once, each call in a process of its own. Nothing else should run on the
machine meanwhile.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks import (
    application,
    crowd,
    dreams,
    evidence,
    first_sight,
    memory,
    speed,
    sweeps,
    timing,
)
from tests.benchmarks.timing import Row

RESULTS = Path(__file__).with_name("results.json")
ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = ROOT / "docs" / "measurements.md"
TOLD_APART = {"crowd": ROOT / "docs" / "hosting.md"}
"""Groups that another document shows as well; all are in `EVERYTHING`."""
PACKAGES = ("torch", "torchvision", "timm", "streamlit", "grad-cam", "torchcam", "captum", "Horama")


def groups(rounds: int, threads: int) -> dict[str, Callable[[], list[Row]]]:
    """What is measured, in order."""
    return {
        "maps": lambda: [*speed.maps(rounds), *speed.opening(rounds)],
        "grad-cam": lambda: speed.grad_cams(rounds),
        "relevance": lambda: speed.relevance(rounds),
        "pages": lambda: speed.pages(rounds),
        "batches": lambda: speed.batches(rounds),
        "evidence": lambda: evidence.rows(rounds),
        "maximize": lambda: dreams.rows(rounds),
        "memory": lambda: memory.rows(threads),
        "application": application.rows,
        "first sight": first_sight.rows,
        "crowd": crowd.rows,
        "sweeps": sweeps.rows,
    }


def machine(threads: int, rounds: int) -> dict[str, Any]:
    """What the figures were measured on."""
    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else "CPU",
        "threads": threads,
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "rounds": rounds,
        "packages": {name: version(name) for name in PACKAGES},
    }


def of_group(result: dict[str, Any], group: str) -> str:
    """All rows of a group."""
    return as_markdown({**result, "rows": [r for r in result["rows"] if r["group"] == group]})


def write(result: dict[str, Any]) -> None:
    """Put all tables where they are shown."""
    put(EVERYTHING, "benchmarks", as_markdown(result))
    for group, path in TOLD_APART.items():
        put(path, group, of_group(result, group))


def put(path: Path, mark: str, text: str) -> None:
    """Replace what stands between two marks of a file.

    Raises
    ------
    ValueError
        The file has no such marks.
    """
    before, start, rest = path.read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- /{mark} -->")
    if not end:
        raise ValueError(f"{path.name} has no place for {mark}.")
    path.write_text(f"{before}{start}{text}\n{end}{after}", encoding="utf-8")


def as_markdown(result: dict[str, Any]) -> str:
    """The table of a result."""
    seen = result["machine"]
    lines = [
        f"{seen['device']}, {seen['threads']} threads ({seen['instructions']}), "
        f"{seen['system']}, torch {seen['packages']['torch']}.",
        "",
        "| What | Against | Reach | Measured | Repeats |",
        "|---|---|---|---|---|",
    ]
    notes: list[str] = []
    for row in result["rows"]:
        value, reach, unit = row["value"], row["reach"], row["unit"]
        digits = 0 if unit == "ms" else 2
        shown = f"{value:.{digits}f} {unit}"
        if reach is None:
            wanted = ""
        else:
            wanted = f"{'≤' if row['at_most'] else '≥'} {reach:g} {unit}"
            shown = shown if row["met"] else f"**{shown}, missed**"
        reason = row["reason"] if row["met"] is False else ""
        if note := "; ".join(filter(None, (row["note"], reason))):
            notes += [note] if note not in notes else []
            shown += f" ({notes.index(note) + 1})"
        lines.append(
            f"| {row['what']} | {row['against']} | {wanted} | {shown} | {row['repeats']} |"
        )
    lines += ["", *[f"{i}. {note[:1].upper()}{note[1:]}." for i, note in enumerate(notes, 1)]]
    return "\n".join(lines).rstrip()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=timing.ROUNDS, help="repeats of each call")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of PyTorch")
    parser.add_argument("--json", type=Path, default=RESULTS, help="file to write")
    parser.add_argument(
        "--write", action="store_true", help="put the tables into the documents that show them"
    )
    parser.add_argument("--only", nargs="*", help="groups to measure; the rest keeps its figures")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    known = groups(arguments.rounds, arguments.threads)
    chosen = arguments.only or list(known)
    if unknown := set(chosen) - set(known):
        parser.error(f"unknown groups {', '.join(unknown)}; choose from {', '.join(known)}")
    groups_measured: dict[str, list[Any]] = {}
    if arguments.only and arguments.json.exists():
        stored = json.loads(arguments.json.read_text(encoding="utf-8"))
        if stored["machine"] != machine(arguments.threads, arguments.rounds):
            parser.error(f"{arguments.json} was measured in another way; measure all groups anew")
        for row in stored["rows"]:
            groups_measured.setdefault(row["group"], []).append(row)
    result: dict[str, Any] = {}
    for name, measure in known.items():
        if name in chosen:
            print(f"{name} …", file=sys.stderr, flush=True)
            groups_measured[name] = [
                {"group": name, **dataclasses.asdict(row), "met": row.met} for row in measure()
            ]
        rows = [row for group in known for row in groups_measured.get(group, [])]
        result = {"machine": machine(arguments.threads, arguments.rounds), "rows": rows}
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        arguments.json.write_text(text, encoding="utf-8")
    print(as_markdown(result))
    if arguments.write:
        write(result)


if __name__ == "__main__":
    main()
