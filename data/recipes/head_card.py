"""The card of the distilled classes: the measurements that the application shows.

The full measurements are on the card under ``details``; all other entries follow from
them, so that a card is always written as a whole.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from core.paths import WEIGHTS

CARD = WEIGHTS / "dinov2-small.card.json"
TEACHER = "EfficientNet-Lite0"
KINDS = {"natural": "crops of held-out photographs", "cutouts": "held-out cut-outs"}
TRUE = {
    "caltech101": "photographs of Caltech-101 held out from the fit",
    "imagenet-samples": "labeled photographs of classes left out of the fit",
}
FITTED = (
    "Fitted were a head and, in the last block, what turns attention into outputs (values, "
    "projection, MLP): every layer's attention is the backbone's own, the last layer's values and "
    "outputs are not."
)
BACKBONE = (
    "The package that the backbone comes from does not say whether it stayed frozen while a "
    "decoder was trained on it."
)


def card_of(details: dict[str, Any]) -> dict[str, Any]:
    """The whole card, as `core.models.cards` reads it.

    Parameters
    ----------
    details
        Result of `fit_head.measured`, and additions of other recipes.
    """
    files, least = details["source_files_of_class"], details["least_files"]
    sure = f"where that one is sure (above {details['confident']:.0%})"
    measurements = [
        {
            "what": what,
            "on": title,
            "value": details["true"][collection]["student"][key],
            "error": details["true"][collection]["student"][f"{key}_error"],
            "count": details["true"][collection]["student"]["n"],
        }
        for key, what in (
            ("top1", "Right first answer"),
            ("top5", "Right answer among its first five"),
        )
        for collection, title in TRUE.items()
    ]
    measurements += [
        {
            "what": what,
            "on": title,
            "value": details[kind][key],
            "error": details[kind][f"{key}_error"],
            "count": details[kind]["n"],
        }
        for key, what in (
            ("top1", f"Same first answer as {TEACHER}, {sure}"),
            ("top5", f"First answer of {TEACHER}, {sure}, among its first five"),
        )
        for kind, title in KINDS.items()
    ]
    measurements += [
        {
            "what": f"Shown in {what} to learn from",
            "on": "classes",
            "value": round(details[key] / len(files), 3),
            "count": len(files),
        }
        for key, what in (
            ("classes_taught", "at least one photograph"),
            ("classes_taught_well", f"{least} photographs or more"),
        )
    ]
    return {
        "class_origin": f"Its classes were fitted to one labeled photograph of each, and to the "
        f"answers of {TEACHER} on others.",
        "caveats": [FITTED, BACKBONE],
        "measurements": measurements,
        "doubtful": [index for index, count in enumerate(files) if count < least],
        "doubtful_reason": f"The model was shown this class in fewer than {least} photographs: "
        "distrust its map.",
        "details": details,
    }


def read_details(path: Path = CARD) -> dict[str, Any]:
    """The measurements in full."""
    details: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["details"]
    return details


def write_card(details: dict[str, Any], path: Path = CARD) -> None:
    """Write the card that follows from the measurements, with lists of numbers on one line."""
    text = json.dumps(card_of(details), indent=2, ensure_ascii=False)
    text = re.sub(r"\[[\d,\s]+\]", lambda found: json.dumps(json.loads(found[0])), text)
    path.write_text(f"{text}\n", encoding="utf-8")
