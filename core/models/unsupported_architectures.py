"""Reasons why an architecture's attention cannot be shown, for messages.

Only for messages: whether a network is supported is decided by its family and a pass, not here.
"""

from __future__ import annotations

import re

from torch import nn

_BIAS = "has a bias for relative positions inside its attention"

_NETWORKS: tuple[tuple[str, str], ...] = (
    ("cait", "mixes attention between heads, and ends with class-attention layers"),
    ("(clip|metaclip2|siglip).*", "is one half of an image-text model"),
    ("coat", "has factorized attention, without query-key products"),
    ("convit", "has gates that mix its attention with positional attention"),
    ("crossvit", "has two streams of patches with cross-attention"),
    ("cvt.*", "has convolutions inside its attention, and stages of different resolutions"),
    ("(deepseek|gemma4|qwen3)vit.*", "is the vision encoder of a language model"),
    ("dinat.*", "has attention among neighbors only"),
    ("dinov3.*", "rotates queries and keys by position in a way that is not reproduced here"),
    ("efficientformer.*", f"{_BIAS}, and pooling in its earlier stages"),
    ("hiera.*", "has attention within windows, and pooling between its stages"),
    ("imagegpt.*", "has causal attention over single pixels"),
    ("levit.*", f"{_BIAS}, and pooling between its stages"),
    ("mambaout|mlpmixer", "has no attention"),
    ("multiscalevit", "has pooling inside its attention and between its stages"),
    ("naflexvit", "takes patch sequences of any length, without a fixed grid"),
    ("perceiver.*", "has latent tokens that attend to the picture, and no patches"),
    ("poolingvisiontransformer", "has pooling between its stages"),
    ("(pyramidvisiontransformer|pvt|segformer|twins).*", "has keys that represent several patches"),
    ("sequencer2d", "has recurrent layers and no attention"),
    (".*swin.*", "has attention within windows"),
    ("timmwrapper.*", "is a timm network wrapped by transformers"),
    ("tnt", "has a small transformer inside every patch"),
    ("visiontransformerrelpos", _BIAS),
    ("visiontransformersam", "has attention within windows"),
    ("volo", "has outlook attention, without queries and keys"),
    ("xcit", "has attention between channels, not between patches"),
)
"""Pattern of a network's class name, and the reason for all networks of that class."""

_PARTS: tuple[tuple[str, str], ...] = (
    ("diff(attention|parallelscalingblock)", "has attention that is a difference of two softmaxes"),
    ("parallelscalingblock", "has blocks with one projection for attention and MLP"),
    ("parallelthingsblock", "has several parallel attention layers in a block"),
)
"""The same for the class of a module, if the network's own name is not listed."""


def unsupported_feature(module: nn.Module) -> str:
    """The difference of a network from a plain vision transformer; empty if unknown."""
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
