"""The rollout product after every layer, one of them large."""

from __future__ import annotations

from dataclasses import dataclass

from core import VisionTransformer
from dashboard import figures
from dashboard.choices import one_of, within
from dashboard.display import Display
from dashboard.view import Figure, Maker
from pages.attention.layer import chosen_layer
from pages.attention.parts import (
    THREE_QUARTERS,
    Mosaic,
    attention_of,
    chosen_patch,
    fitted,
    mosaic,
)
from pages.attention.words import layer_names, outside, percent, readout_text

FUSIONS = ("mean", "max", "min")
MOST_DISCARDED = 0.99


@dataclass(frozen=True, eq=False)
class JointMaps:
    """Content of the tab.

    Attributes
    ----------
    layers
        Number of layers.
    fusion
        Default fusion.
    reader
        Input of the classifier, in words.
    large
        The picture and one of the maps.
    outside
        Attention outside that map; empty if there is none.
    """

    layers: int
    fusion: str
    reader: str
    large: Figure
    outside: str
    maps: Mosaic


def default_fusion(model: VisionTransformer) -> str:
    """The fusion of heads that suits this model's rollout, from its catalog entry."""
    return str(model.spec.defaults.get("rollout", {}).get("fusion", "mean"))


def joint_maps(make: Maker, model: VisionTransformer, display: Display) -> JointMaps:
    """Attention of all layers up to each."""
    attention, opacity = attention_of(make, model), make.screen.shared.opacity
    chosen_patch(make, attention.grid)
    layer, first = chosen_layer(make, attention), default_fusion(model)
    fusion = one_of(make.screen, "fusion", FUSIONS, first, make.problem)
    cut = float(within(make.screen, "discard", 0.0, MOST_DISCARDED, make.problem))
    joints = attention.joints(fusion, cut)
    make.array("joint attention", joints, f"attention.joints({fusion!r}, {cut!r})")
    low, high = display.limits(joints[layer], list(joints))
    figure = figures.linked(
        attention.view,
        [
            figures.Panel("Picture", "as the ViT sees it"),
            figures.Panel(
                f"Layers 0 to {layer}" if layer else "Layer 0",
                f"{fusion} of the heads, {percent(cut)} discarded",
                joints[layer],
                low,
                high,
                display.unit("joint attention"),
            ),
        ],
        opacity=opacity,
        colors=display.colors,
        smooth=False,
    )
    alt = f"The picture and the joint attention of layers 0 to {layer}"
    return JointMaps(
        layers=attention.layers,
        fusion=first,
        reader=readout_text(attention.readout),
        large=fitted(make, "large-joint", figure, alt, attention.view, 2, THREE_QUARTERS),
        outside=outside(model, 1.0 - float(joints[layer].sum()), f"after layer {layer}"),
        maps=mosaic(
            make,
            "small-joints",
            joints,
            [f"after {name}" for name in layer_names(attention.layers)],
            display,
            f"Joint attention after each of {attention.layers} layers, over the picture",
            marked=layer,
            columns=6,
            under=attention.view,
            opacity=opacity,
        ),
    )
