"""What an architecture has that cannot be shown, in a reader's words.

Only for refusals: whether a network can be shown is decided by its family and by a pass, not here.
"""

from __future__ import annotations

import re

from torch import nn

_BIAS = "has a bias for relative positions inside its attention"

_NETWORKS: tuple[tuple[str, str], ...] = (
    ("cait", "has heads that mix their attention, and layers of class attention at its end"),
    ("(clip|metaclip2|siglip).*", "is one half of a model of pictures and texts"),
    ("coat", "has attention in two factors, where no query meets a key"),
    ("convit", "has gates that mix its attention with one of positions alone"),
    ("crossvit", "has two streams of patches that look at each other"),
    ("cvt.*", "has convolutions inside its attention, and stages of several sizes"),
    ("(deepseek|gemma4|qwen3)vit.*", "is the vision encoder of a language model"),
    ("dinat.*", "has attention among neighbors only"),
    ("dinov3.*", "rotates queries and keys by place in a way that is not rebuilt here"),
    ("efficientformer.*", f"{_BIAS}, and pooling in its earlier stages"),
    ("hiera.*", "has attention within windows, and pooling between its stages"),
    ("imagegpt.*", "has attention over single pixels that only looks back"),
    ("levit.*", f"{_BIAS}, and pooling between its stages"),
    ("mambaout|mlpmixer", "has no attention"),
    ("multiscalevit", "has pooling inside its attention and between its stages"),
    ("naflexvit", "takes sequences of patches of any number, which have no fixed grid"),
    ("perceiver.*", "has latent tokens that look at the picture, and no patches"),
    ("poolingvisiontransformer", "has pooling between its stages"),
    ("(pyramidvisiontransformer|pvt|segformer|twins).*", "has keys that stand for several patches"),
    ("sequencer2d", "has recurrent layers and no attention"),
    (".*swin.*", "has attention within windows"),
    ("timmwrapper.*", "is a network of timm, wrapped by transformers"),
    ("tnt", "has a small transformer inside every patch"),
    ("visiontransformerrelpos", _BIAS),
    ("visiontransformersam", "has attention within windows"),
    ("volo", "has outlook attention, which knows no queries and keys"),
    ("xcit", "has attention between channels, not between patches"),
)
"""Pattern of a network's class name, and what is true of all networks of that class."""

_PARTS: tuple[tuple[str, str], ...] = (
    ("diff(attention|parallelscalingblock)", "has attention that is a difference of two softmaxes"),
    ("parallelscalingblock", "has blocks that project attention and MLP as one"),
    ("parallelthingsblock", "has several attentions side by side in a block"),
)
"""The same for the class of a part, where the network's own name says nothing."""


def unsupported_feature(module: nn.Module) -> str:
    """What the network has that a plain vision transformer has not; empty if nothing is known."""
    own = type(module).__name__.lower()
    parts = {type(part).__name__.lower() for part in module.modules()}
    for pattern, words in _NETWORKS:
        if re.fullmatch(pattern, own):
            return words
    for pattern, words in _PARTS:
        if any(re.fullmatch(pattern, part) for part in parts):
            return words
    tables = (getattr(part, "relative_position_bias_table", None) for part in module.modules())
    return _BIAS if any(table is not None for table in tables) else ""
