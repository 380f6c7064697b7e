"""Dependence of a map on learned weights: cascading randomization (Adebayo 2018)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from core import heatmaps, probes, progress
from core.errors import ImageError, ParameterError, ZeroGradient
from core.explain import Explanation, explain
from core.frozen import Frozen
from core.images import Framing
from core.methods.registry import supported
from core.models import Model
from core.numerics import own_state
from core.targets import Target, TargetLike

CLASSIFIER = "classifier"
"""Name of all modules after the last layer: norms, pooling, and those that give the logits."""

NETWORK = "network"
"""Name of the whole network where no layer is known."""

STATISTICS = ("running_mean", "running_var")
"""Buffers that are learned from data."""


@dataclass(frozen=True, eq=False)
class Randomization(Frozen):
    """Maps of a network randomized layer by layer (Adebayo et al. 2018, arXiv 1810.03292).

    Attributes
    ----------
    depths : tuple of str
        Last randomized layer of each step, starting with the classifier.
    relevance : (depths, rows, cols) float32
        The map at each depth; zero where the class no longer depends on the layer that the method
        reads.
    rank_correlation : (depths,) float64
        Spearman's, of each map with the original one, in [-1, 1]; ``nan`` where it is constant.
    absolute_rank_correlation : (depths,) float64
        The same of absolute values; differs for maps with negative values only.
    original : Explanation
        The map of the intact network.
    seed : int
        Of the weights that are drawn.
    ceiling : float or None
        For a method with random draws: rank correlation of two draws on the intact network, in
        [-1, 1], the upper limit for any depth; ``None`` for other methods, whose limit is 1.
    """

    depths: tuple[str, ...]
    relevance: npt.NDArray[np.float32]
    rank_correlation: npt.NDArray[np.float64]
    absolute_rank_correlation: npt.NDArray[np.float64]
    original: Explanation
    seed: int
    ceiling: float | None

    @property
    def target(self) -> int | Target | None:
        """The target, the same at every depth."""
        return self.original.target


@overload
def randomization(
    model: Model,
    image: Image.Image,
    method: str,
    target: TargetLike | None = ...,
    *,
    seed: int = ...,
    method_seed: int | None = ...,
    framing: Framing | None = ...,
    depths: Sequence[str] | None = ...,
    **params: Any,
) -> Randomization: ...


@overload
def randomization(
    model: Model,
    image: Sequence[Image.Image],
    method: str,
    target: TargetLike | Sequence[TargetLike | None] | None = ...,
    *,
    seed: int = ...,
    method_seed: int | None = ...,
    framing: Framing | None = ...,
    depths: Sequence[str] | None = ...,
    **params: Any,
) -> list[Randomization]: ...


def randomization(
    model: Model,
    image: Image.Image | Sequence[Image.Image],
    method: str,
    target: TargetLike | Sequence[TargetLike | None] | None = None,
    *,
    seed: int = 0,
    method_seed: int | None = None,
    framing: Framing | None = None,
    depths: Sequence[str] | None = None,
    **params: Any,
) -> Randomization | list[Randomization]:
    """Explanations of a private copy of a network that is randomized from the classifier down.

    Every weight and bias is redrawn from a normal distribution with the mean and standard
    deviation of the learned tensor, and statistics of normalization layers are permuted among
    channels. So all layers keep their scale. (With an architecture's initial values, activations
    would vanish behind statistics that no longer fit, or layer scales would start near zero.) The
    draw uses the caller's seed, where ``reset_parameters`` would use the global generator.

    A method with random draws (a parameter ``seed``, such as RISE) draws again for each network:
    maps of the same draw would resemble each other whatever the networks learned. The agreement of
    two draws on the intact network is measured as well, as `Randomization.ceiling`.

    Parameters
    ----------
    image
        A picture, or a list of pictures, which share passes; a list comes back.
    method
        A name of `core.methods`.
    target
        The target, as in `core.explain`, for all or one per picture; by default what is
        most probable to the intact network. It stays the same at every depth.
    seed
        Seed of the drawn weights.
    method_seed
        The parameter ``seed`` of a method with random draws, used for its map of the intact
        network.
    framing
        How pictures are fitted; by default as the model was evaluated.
    depths
        Subset of `depths_of` at which maps are computed; by default all of them.
    **params
        Parameters of the method.

    Raises
    ------
    UnknownMethod, UnsupportedMethod, ParameterError, ImageError, ZeroGradient, BusyError, Stopped
    """
    images = [image] if isinstance(image, Image.Image) else list(image)
    if not images:
        raise ImageError("No picture was given; choose at least one.")
    groups = _groups(model)
    wanted = tuple(groups) if depths is None else tuple(name for name in groups if name in depths)
    if not wanted or set(depths or ()) - groups.keys():
        raise ParameterError(f"The depths are {depths!r}, expected some of {', '.join(groups)}.")
    if method_seed is not None:
        params = params | {"seed": method_seed}
    with progress.watching(None):  # reported below, per depth
        originals = explain(model, images, method, target, framing=framing, **params)
        targets = [original.target for original in originals]
        draws, others = _draws(model, originals[0]), None
        if draws is not None:
            others = _maps(model, images, originals, method, targets, framing, params | draws(0))
    module = probes.copied(model.module)
    generator = torch.Generator().manual_seed(seed)
    maps = []
    deepest = 1 + list(groups).index(wanted[-1])
    for depth, name in enumerate(progress.steps(list(groups)[:deepest]), 1):
        _redraw(module, groups[name], generator)
        if name in wanted:
            with progress.watching(None):
                private = model.rebuilt(probes.copied(module), f"randomized down to {name}")
                own = params | (draws(depth) if draws is not None else {})
                maps.append(_maps(private, images, originals, method, targets, framing, own))
            del private
    found = [
        _compared(
            wanted,
            np.stack([depth[i] for depth in maps]),
            original,
            seed,
            None if others is None else others[i],
        )
        for i, original in enumerate(originals)
    ]
    return found[0] if isinstance(image, Image.Image) else found


def _draws(model: Model, original: Explanation) -> Callable[[int], dict[str, int]] | None:
    """Parameters of another draw for each number; ``None`` for methods without random draws."""
    method = supported(original.method, model)
    if not method.draws:
        return None
    [seed] = [one for one in method.parameters_for(model) if one.name == "seed"]
    return lambda number: {"seed": (original.params["seed"] + 1 + number) % (int(seed.high) + 1)}


def depths_of(model: Model) -> tuple[str, ...]:
    """Depths of randomization of a network: the classifier, then its layers, the last first.

    Modules between two layers belong to the later one, the embedding of patches
    to the first block: the last depth is the whole network.
    """
    return tuple(_groups(model))


def _groups(model: Model) -> dict[str, list[str]]:
    """Names of the learned tensors of each depth, from the classifier down."""
    paths = [layer.module for layer in model.layers]
    names = [*(layer.name for layer in model.layers), CLASSIFIER if paths else NETWORK]
    groups: dict[str, list[str]] = {name: [] for name in reversed(names)}
    reached = 0
    for path, part in model.module.named_modules():
        inside = [i for i, own in enumerate(paths) if f"{path}.".startswith(f"{own}.")]
        reached = max([reached, *(i + 1 for i in inside)])
        group = groups[names[inside[-1] if inside else reached]]
        own_tensors = [*part._parameters.items(), *part._buffers.items()]
        group += [
            f"{path}.{name}".removeprefix(".")
            for name, tensor in own_tensors
            if tensor is not None and (isinstance(tensor, nn.Parameter) or name in STATISTICS)
        ]
    return groups


def _redraw(module: nn.Module, names: Sequence[str], generator: torch.Generator) -> None:
    """Replace tensors of a private network by random ones of the same scale."""
    with own_state():
        for name in names:
            path, _, last = name.rpartition(".")
            tensor: Tensor = getattr(module.get_submodule(path), last)
            if last in STATISTICS:  # a drawn variance could be negative
                order = torch.randperm(tensor.numel(), generator=generator, dtype=torch.int64)
                tensor.copy_(tensor.flatten()[order.to(tensor.device)].view_as(tensor))
            else:
                noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float32).to(
                    tensor
                )
                tensor.copy_(tensor.mean() + tensor.std(correction=0) * noise)


def _maps(
    private: Model,
    images: Sequence[Image.Image],
    originals: Sequence[Explanation],
    method: str,
    targets: Sequence[int | Target | None],
    framing: Framing | None,
    params: dict[str, Any],
) -> list[npt.NDArray[np.float32]]:
    """The map of each picture; zeros where the class no longer depends on the layer read."""
    try:
        found = explain(private, images, method, targets, framing=framing, **params)
        return [one.relevance for one in found]
    except ZeroGradient:
        return [np.zeros_like(original.relevance) for original in originals]


def _compared(
    depths: tuple[str, ...],
    maps: npt.NDArray[np.float32],
    original: Explanation,
    seed: int,
    other: npt.NDArray[np.float32] | None,
) -> Randomization:
    pairs = [(one, original.relevance) for one in maps]
    return Randomization(
        depths=depths,
        relevance=maps,
        rank_correlation=np.array([heatmaps.rank_correlation(*pair) for pair in pairs]),
        absolute_rank_correlation=np.array(
            [heatmaps.rank_correlation(np.abs(a), np.abs(b)) for a, b in pairs]
        ),
        original=original,
        seed=seed,
        ceiling=None if other is None else heatmaps.rank_correlation(other, original.relevance),
    )
