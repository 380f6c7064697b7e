"""A class head missing in timm: linear, on the class token beside the mean of the patches.

DINOv2 is evaluated with it (Oquab et al. 2023, section 7.1), and transformers uses it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class ClassBesideMean(nn.Linear):
    """A linear layer on the class token and the mean of the patches, side by side.

    Attributes
    ----------
    prefix : int
        Tokens before the patches; the first of them is the class token.
    """

    def __init__(self, width: int, classes: int, prefix: int) -> None:
        super().__init__(2 * width, classes)
        self.prefix = prefix

    def forward(self, tokens: Tensor) -> Tensor:
        """Class scores, (batch, classes), of tokens after the last norm, (batch, tokens, width)."""
        mean = tokens[:, self.prefix :].mean(dim=1)
        return super().forward(torch.cat([tokens[:, 0], mean], dim=-1))


def suit_head(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a transformer of timm the head that fits its weights.

    Where the weights are those of a linear layer twice as wide as a token, and the network has a
    class token, the layer is `ClassBesideMean`; otherwise nothing is changed.

    Parameters
    ----------
    module
        As timm builds it, with a linear head on the class token.
    state
        The weights to load.
    """
    head, weight = getattr(module, "head", None), state.get("head.weight")
    prefix = getattr(module, "num_prefix_tokens", 0)
    if (
        type(head) is nn.Linear
        and weight is not None
        and tuple(weight.shape) == (head.out_features, 2 * head.in_features)
        and prefix
        and getattr(module, "global_pool", None) == "token"
        and isinstance(getattr(module, "fc_norm", None), nn.Identity)
        and not hasattr(module, "head_dist")
    ):
        module.global_pool = ""  # type: ignore[assignment]  # all tokens go on to the head
        module.head = ClassBesideMean(head.in_features, head.out_features, int(prefix))
