"""The check at opening: rebuilt attention of a transformer equals that of the network."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from core import probes
from core.models.builds import leading_builds, shortened
from core.models.taps import HEAD_INPUT, Part, block_tap
from core.models.transformer import VisionTransformer, softmax_attention
from core.numerics import own_state


@own_state()
def verify(model: VisionTransformer) -> None:
    """Compare rebuilt attention and readout with the network, in one small pass.

    In a block of every structure ``softmax(q·kᵀ)·v``, with the bias that the family reads, must
    equal the input of the projection, and the classifier must read the tokens that `readout` names,
    and no others.

    Raises
    ------
    UnsupportedModel
        They differ, so maps of this network would be wrong.
    """
    side = model.preprocessing.size
    size = (2 * model.patch, 3 * model.patch) if model.flexible else (side, side)
    rows, cols = model.grid(size)
    tokens = model.prefix + rows * cols
    parts: tuple[Part, ...] = ("query", "key", "value")
    noise = torch.randn(
        (1, 3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.float32
    )
    modules = [model.module.get_submodule(layer.module) for layer in model.layers]
    count = leading_builds(modules)
    short = copy.copy(model)
    short.module = shortened(model.module, model.layers[0].module.rpartition(".")[0], count)
    names = [block_tap(i, part) for i in range(count) for part in parts]
    contexts = [block_tap(i, "context") for i in range(count)]
    kept = {*model.probes_for([*names, HEAD_INPUT]), *contexts}
    recorder = probes.Recorder(kept, leaf=HEAD_INPUT)
    with own_state(gradients=True):
        with probes.recording(recorder):
            answers = short.score(noise.to(model.device))
        _verify_readout(model, recorder.tensors[HEAD_INPUT], answers)
    with own_state():
        for layer in range(count):
            q, k, v = (model.read(recorder.tensors, block_tap(layer, p)) for p in parts)
            if q.shape[::2] != (1, tokens):
                model.refuse(
                    f"its blocks hold {len(q)} × {q.shape[2]} tokens where {model.prefix} and "
                    f"{rows} × {cols} patches were expected"
                )
            weights = softmax_attention(q, k, model.scale, model.attention_bias(layer))
            rebuilt = model.project(weights @ v, layer)
            context = recorder.tensors[block_tap(layer, "context")]
            if rebuilt.shape != context.shape or not torch.allclose(
                rebuilt, context, rtol=1e-3, atol=1e-3 * float(context.abs().max())
            ):
                model.refuse(
                    f"the attention of block {layer} is not the softmax of its queries and "
                    "keys alone (a bias, a window, a gate or a rotation is involved)"
                )


def _verify_readout(model: VisionTransformer, tokens: Tensor, answers: Tensor) -> None:
    """Compare `readout` with the tokens at which the logits have a gradient."""
    if model.classes and answers.shape != (1, model.classes):
        model.refuse(
            f"it answers with {tuple(answers.shape[1:])} where {model.classes} classes were "
            "expected"
        )
    (gradient,) = torch.autograd.grad(answers.square().sum(), tokens)
    size = gradient[0].abs().amax(dim=-1)
    read = size > 1e-6 * size.max()
    if not read.any():
        return  # a zero head reads nothing
    readout, named = model.readout, torch.zeros_like(read)
    if readout.attended:
        with own_state():
            named = model.pooling_attention(tokens)[0] > 0
    else:
        named[: len(readout.prefix)] = gradient.new_tensor(readout.prefix) > 0
        named[model.prefix :] = readout.patches > 0
    patches = gradient[0, model.prefix :]
    equal = torch.allclose(patches, patches[:1], rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))
    missed = named & ~read & (not readout.attended)  # a pooling may give a token no weight
    if (read & ~named | missed).any() or (readout.patches and not equal):
        model.refuse(f"its classifier does not read {readout.text}")
