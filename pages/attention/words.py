"""Texts on tokens, layers and shares of attention."""

from __future__ import annotations

from core import Readout, VisionTransformer

Patch = tuple[int, int] | None
"""Row and column of a patch; ``None`` for what the classifier reads."""

_TOKENS = {
    "cls_token": "class token",
    "class_token": "class token",
    "class_embedding": "class token",
    "dist_token": "distillation token",
    "distillation_token": "distillation token",
    "reg_token": "register",
    "register_tokens": "register",
}
"""Names of parameters with tokens before the patches, in the libraries, in order."""


def prefix_names(model: VisionTransformer) -> list[str]:
    """One name for each token before the patches, such as ``class token`` or ``register 2``.

    From the names of their parameters; if the numbers do not match, tokens are only numbered.
    """
    counts: dict[str, int] = {}
    held = {name.rpartition(".")[2]: p for name, p in model.module.named_parameters()}
    for parameter, name in _TOKENS.items():
        if parameter in held:
            tokens = held[parameter].numel() // held[parameter].shape[-1]
            counts[name] = counts.get(name, 0) + tokens
    if sum(counts.values()) != model.prefix:
        return [f"token {i} before the patches" for i in range(model.prefix)]
    return [
        name if count == 1 else f"{name} {i + 1}"
        for name, count in counts.items()
        for i in range(count)
    ]


def prefix_text(model: VisionTransformer) -> str:
    """The tokens before the patches in a few words: ``class token and 4 registers``."""
    kinds = [name.rstrip("0123456789 ") for name in prefix_names(model)]
    if any(kind.startswith("token ") for kind in kinds):
        return f"{model.prefix} tokens before the patches"
    parts = [
        kind if kinds.count(kind) == 1 else f"{kinds.count(kind)} {kind}s"
        for kind in dict.fromkeys(kinds)
    ]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def readout_text(readout: Readout) -> str:
    """The input of the classifier, in a few words."""
    return readout.text.partition(",")[0]


def reader(readout: Readout, patch: Patch) -> str:
    """The query, in words."""
    if patch is None:
        return readout_text(readout)
    return f"the patch in row {patch[0]}, column {patch[1]}"


def layer_names(count: int, word: str = "layer") -> list[str]:
    """``layer 0``, ``layer 1`` …"""
    return [f"{word} {i}" for i in range(count)]


def head_text(layer: int, head: int | None) -> str:
    """A head of a layer, or the mean of them."""
    return f"layer {layer}, " + ("mean of the heads" if head is None else f"head {head}")


def percent(share: float) -> str:
    """A share for a sentence: ``36 %``."""
    return f"{100 * share:.0f} %"


def outside(model: VisionTransformer, share: float, when: str = "on average over heads") -> str:
    """A sentence on the share of attention to tokens without a place in the picture.

    Empty if there are none.
    """
    if not model.prefix:
        return ""
    return f"Not in the maps: {percent(share)} goes to the {prefix_text(model)} ({when})."


def sentence(text: str) -> str:
    """A text as a sentence."""
    return f"{text[:1].upper()}{text[1:]}."
