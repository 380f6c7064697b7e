"""Conversion of addresses of earlier versions to the current keys.

Up to version 0.4 a screen had one CNN and one ViT (``cnn=``, ``vit=``), and a method for each kind
(``cnn_map=``, ``vit_map.fusion=`` …); ``twin=`` was called ``effect=``. Links, manifests, saved
screens and archives of these versions contain such addresses and keep their meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.looks import Look, Parameters

KINDS = ("cnn", "vit")
MODELS = {"cnn": "efficientnet-lite0", "vit": "dinov2-small"}
"""Meaning of an address without a model."""

_KEYS = {
    *KINDS,
    "class_map",
    *(f"{kind}_{what}" for kind in KINDS for what in ("map", "maps", "tap", "channel")),
}
_WITH_PARAMETERS = {"class_map", *(f"{kind}_{what}" for kind in KINDS for what in ("map", "maps"))}

Address = Mapping[str, Sequence[str]]


def address(given: Address) -> dict[str, Sequence[str]]:
    """An address of any version in the current keys.

    Earlier keys beside ``m`` or another current key with the same meaning are left as they are: no
    version ever wrote such addresses.
    """
    old = {key: texts for key, texts in given.items() if _is_old(key) and texts}
    found = {key: texts for key, texts in given.items() if key not in old}
    models = {kind: old.get(kind, [MODELS[kind]])[-1] for kind in KINDS}
    if set(old) & set(KINDS) and "m" in given:
        return dict(given)
    made: dict[str, list[str]] = {}
    if set(old) & set(KINDS):
        made["m"] = [models[kind] for kind in KINDS]
    looks = {kind: _look(old, f"{kind}_map", models[kind]) for kind in KINDS}
    if any(looks.values()):
        made["look"] = [(looks[kind] or Look(models[kind])).text for kind in KINDS]
    rows = [looks["cnn"], _look(old, "class_map", models["vit"])]
    made["row"] = [row.text for row in rows if row]
    made["maps"] = [look.text for kind in KINDS for look in _listed(old, kind, models[kind])]
    features = [_feature(old, kind, models[kind]) for kind in KINDS]
    made["feature"] = [feature.text for feature in features if feature]
    made |= _evidence(found, models)
    if "effect" in found and "twin" not in found:
        made["twin"] = list(found.pop("effect"))
    return found | {key: texts for key, texts in made.items() if texts}


def fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a screen of any version, as keyword arguments, in the current form."""
    old: dict[str, list[str]] = {}
    kept: dict[str, Any] = {}
    for name, value in given.items():
        method = name.removesuffix("_parameters")
        if method != name and method in _WITH_PARAMETERS:
            old |= {f"{method}.{key}": [text] for key, text in value}
        elif name not in _KEYS:
            kept[name] = value
        elif value is not None:
            old[name] = list(map(str, value)) if isinstance(value, tuple | list) else [str(value)]
    if "effect" in kept:
        kept.setdefault("twin", kept.pop("effect"))
    return kept | {name: tuple(texts) for name, texts in address(old).items()}


def _is_old(key: str) -> bool:
    method, dot, _ = key.partition(".")
    return key in _KEYS or (bool(dot) and method in _WITH_PARAMETERS)


def _parameters(old: Address, field: str) -> Parameters:
    found = {k.partition(".")[2]: v[-1] for k, v in old.items() if k.startswith(f"{field}.")}
    return tuple(sorted(found.items()))


def _look(old: Address, field: str, model: str) -> Look | None:
    """The look of a model in a field of one method; ``None`` if the field is missing."""
    parameters = _parameters(old, field)
    if field not in old and not parameters:
        return None
    return Look(model, old.get(field, [""])[-1], parameters)


def _listed(old: Address, kind: str, model: str) -> list[Look]:
    """The methods of a field that lists several, with parameters such as ``rise.definition``."""
    parameters = _parameters(old, f"{kind}_maps")
    return [
        Look(
            model,
            method,
            tuple((k.partition(".")[2], v) for k, v in parameters if k.startswith(f"{method}.")),
        )
        for method in dict.fromkeys(old.get(f"{kind}_maps", []))
    ]


def _feature(old: Address, kind: str, model: str) -> Look | None:
    """The layer and channel of a model's features."""
    tap, channel = old.get(f"{kind}_tap"), old.get(f"{kind}_channel")
    if not tap and not channel:
        return None
    return Look(model, tap[-1] if tap else "", (("channel", channel[-1]),) if channel else ())


def _evidence(given: Address, models: Mapping[str, str]) -> dict[str, list[str]]:
    """The model whose map is removed, and the map whose step is shown."""
    made: dict[str, list[str]] = {}
    change = _last(given, "change")
    if change in KINDS:
        made["change"], made["top_of"] = ["map"], [str(KINDS.index(change))]
    kind, dot, title = _last(given, "of").partition(".")
    if dot and kind in KINDS:
        made["of"] = [f"{models[kind]}.{title}"]
    return made


def _last(given: Address, key: str) -> str:
    texts = given.get(key) or [""]
    return texts[-1]
