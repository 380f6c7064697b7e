"""What an architecture has that cannot be shown, in a reader's words.

Only for refusals: whether a network can be shown is decided by its family and by a pass, not here.
"""

from __future__ import annotations

import re

from torch import nn

_SIGNS: tuple[tuple[str, str], ...] = (
    (r"window", "attention within windows, which no path from patch to class crosses in one step"),
    (r"beit|relpos|relativeposition", "a bias for relative positions inside its attention"),
    (r"xca|crosscovariance", "attention between channels instead of patches"),
    (r"classattn|classattention", "separate layers of class attention at its end"),
    (r"gpsa", "gates that mix attention with a fixed pattern"),
    (r"outlook", "outlook attention, which has no queries and keys"),
    (r"diffattention|diffparallel", "attention as a difference of two softmaxes"),
    (r"parallel", "several attentions side by side in one block"),
    (r"crossattention|crossvit", "attention between two streams of patches"),
    (r"multiscale|mvit|hiera|pooler", "pooling between its layers, so that patches do not stay"),
    (r"levit|subsample|downsample|patchmerging|overlappatch", "pooling between its stages"),
    (r"naflex", "patches of any number, packed without a fixed grid"),
    (r"rope|rotary", "a rotation of queries and keys that is not rebuilt here"),
)
"""Pattern in the names of a network's classes, and what it stands for."""

_ATTRIBUTES: tuple[tuple[str, str], ...] = (
    ("relative_position_bias_table", "a bias for relative positions inside its attention"),
    ("rel_pos", "a bias for relative positions inside its attention"),
    ("window_size", "attention within windows, which no path from patch to class crosses at once"),
)


def peculiarity(module: nn.Module) -> str:
    """What the network has that a plain vision transformer has not; empty if nothing is known."""
    names = " ".join(dict.fromkeys(type(part).__name__.lower() for part in module.modules()))
    for part in module.modules():
        for attribute, words in _ATTRIBUTES:
            if getattr(part, attribute, None) is not None:
                return words
    return next((words for pattern, words in _SIGNS if re.search(pattern, names)), "")
