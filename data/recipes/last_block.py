"""The student: the last block's path to the class token, and a linear head on it.

For timm's transformers of the embedded one's kind: one prefix token, biases, no norm of queries and
keys. The last block's queries, keys and first norm are not changed, and so neither is the attention
of every layer. A picture then reaches the class token of the last block only through the token
itself and one mean of the normalized tokens for each head, weighted with the attention of the class
token. These few vectors are kept for each picture, so that a fit needs no pass through the network.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def class_attention(backbone: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The class token's attention in the last block, and the tokens attended to.

    Parameters
    ----------
    backbone
        A vision transformer of this kind.
    inputs
        Normalized pictures, (batch, 3, height, width).

    Returns
    -------
    tuple of torch.Tensor
        Attention (batch, heads, tokens), rows sum to 1; the tokens that enter the block and those
        after its first norm, both (batch, tokens, channels).
    """
    block = backbone.blocks[-1]
    ((patches, prefix),) = backbone.forward_intermediates(
        inputs,
        indices=[len(backbone.blocks) - 2],
        output_fmt="NLC",
        return_prefix_tokens=True,
        intermediates_only=True,
        stop_early=True,
    )
    tokens = torch.cat([prefix, patches], dim=1)
    normed = block.norm1(tokens)
    weight, bias = block.attn.qkv.weight.chunk(3), block.attn.qkv.bias.chunk(3)
    heads = (block.attn.num_heads, -1)
    query = F.linear(normed[:, 0], weight[0], bias[0]).unflatten(-1, heads)
    key = F.linear(normed, weight[1], bias[1]).unflatten(-1, heads)
    scores = torch.einsum("bhd,bkhd->bhk", query, key) * block.attn.scale
    return scores.softmax(-1), tokens, normed


@torch.inference_mode()
def block_inputs(backbone: nn.Module, inputs: Tensor) -> Tensor:
    """The vectors on which the last block's class token depends, with fixed attention.

    Parameters
    ----------
    backbone
        A vision transformer of this kind.
    inputs
        Normalized pictures, (batch, 3, height, width).

    Returns
    -------
    torch.Tensor
        (batch, 1 + heads, channels): the class token that enters the block, then for each head the
        mean of the tokens after the block's first norm, weighted with the class token's attention.
    """
    attention, tokens, normed = class_attention(backbone, inputs)
    return torch.cat([tokens[:, :1], attention @ normed], dim=1)


@torch.inference_mode()
def differences(before: nn.Module, after: nn.Module, inputs: Tensor) -> dict[str, float]:
    """Compare the last layer of two transformers.

    Parameters
    ----------
    before, after
        Vision transformers of one architecture.
    inputs
        Normalized pictures, (batch, 3, height, width).

    Returns
    -------
    dict of str to float
        ``attention``: largest absolute difference of the class token's attention in the last
        block; ``class_token`` and ``patches``: mean cosine of these tokens after the last norm.
    """
    maps = [class_attention(model, inputs)[0] for model in (before, after)]
    tokens = [model.forward_features(inputs) for model in (before, after)]
    cosine = F.cosine_similarity(*tokens, dim=-1)
    return {
        "attention": float((maps[0] - maps[1]).abs().max()),
        "class_token": round(float(cosine[:, 0].mean()), 3),
        "patches": round(float(cosine[:, 1:].mean()), 3),
    }


class Student(nn.Module):
    """Class scores from the result of `block_inputs`.

    Parameters
    ----------
    backbone
        A vision transformer of this kind; it is copied from, not changed.
    classes
        Width of the head, which is initialized with zeros.

    Attributes
    ----------
    block
        A copy of the last block. Its queries, keys and first norm are not used in `forward`,
        so a gradient step does not change them.
    norm
        A copy of the norm after it.
    head
        The class head.
    """

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__()
        self._place = len(backbone.blocks) - 1
        self.block = copy.deepcopy(backbone.blocks[-1])
        self.norm = copy.deepcopy(backbone.norm)
        self.head = nn.Linear(self.block.attn.qkv.in_features, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def tokens(self, inputs: Tensor) -> Tensor:
        """The class token after the last norm, (batch, channels)."""
        block = self.block
        weight, bias = (part.chunk(3)[2] for part in (block.attn.qkv.weight, block.attn.qkv.bias))
        weight = weight.unflatten(0, (block.attn.num_heads, -1))
        values = torch.einsum("bhc,hdc->bhd", inputs[:, 1:], weight).flatten(1) + bias
        token = inputs[:, 0] + block.ls1(block.attn.proj(values))
        return self.norm(token + block.ls2(block.mlp(block.norm2(token))))

    def forward(self, inputs: Tensor) -> Tensor:
        """The class scores, (batch, classes)."""
        return self.head(self.tokens(inputs))

    def weights(self) -> dict[str, Tensor]:
        """Everything under the names of the whole network's state dict."""
        return {
            name.replace("block.", f"blocks.{self._place}.", 1): tensor
            for name, tensor in self.state_dict().items()
        }
