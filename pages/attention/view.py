"""Content of Attention, made from the screen and the scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import core
from core import VisionTransformer
from dashboard import cache
from dashboard.display import Display
from dashboard.scene import Scene
from dashboard.view import Maker, View
from pages.attention.channels import Channels, channels
from pages.attention.grid import EveryMap, every_map
from pages.attention.joint import JointMaps, joint_maps
from pages.attention.layer import OneLayer, one_layer
from pages.attention.options import Options
from pages.attention.several import Several, several
from pages.attention.similarity import Similarity, similarity

OF_FEATURES = ("channels", "similarity")
"""Tabs for any model."""

Tab = EveryMap | OneLayer | JointMaps | Channels | Similarity | Several
"""Content of a tab."""


WITHIN = "window_attention"
"""Method of Compare that shows attention which cannot be followed from layer to layer."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionView(View):
    """Content of Attention.

    Attributes
    ----------
    transformers
        The models that have attention, by id.
    asked
        The one whose attention is shown, by default the first; ``None`` if no model
        has attention.
    tab
        Content of the open tab; ``None`` if it needs attention and no model has any.
    """

    transformers: Mapping[str, VisionTransformer]
    asked: VisionTransformer | None
    tab: Tab | None
    limits: tuple[str, ...]


def view(make: Maker) -> AttentionView:
    """Run one model, or two for their features, and make the open tab."""
    chosen = make.screen.of(Options)
    offered = transformers(make.looked_at)
    asked = offered.get(chosen.transformer or "", next(iter(offered.values()), None))
    display = Display.of(make.screen, overlay=False)
    tab: Tab | None = None
    if chosen.tab == "channels":
        tab = channels(make, display)
    elif chosen.tab == "similarity":
        tab = similarity(make, display)
    elif asked is not None:
        if chosen.transformer is not None and chosen.transformer not in offered:
            make.problem(
                f"transformer is {chosen.transformer!r}, which is not among the vision "
                f"transformers shown (m); shown instead: {asked.spec.id}."
            )
        make.attended(asked.spec.id)
        tab = _of_attention(make, asked, chosen.tab, display)
    models = [cache.model(model_id) for model_id in make.looked_at.ids]
    limits = [model.limits for model in models if model.limits]
    if any(method.name == WITHIN for model in models for method in core.methods(model)):
        title = core.find_method(WITHIN).title
        limits.append(f"Compare shows attention within windows: choose its method “{title}”.")
    return make.view(
        AttentionView, transformers=offered, asked=asked, tab=tab, limits=tuple(limits)
    )


def _of_attention(make: Maker, model: VisionTransformer, tab: str, display: Display) -> Tab:
    if tab == "layer":
        return one_layer(make, model, display)
    if tab == "joint":
        return joint_maps(make, model, display)
    if tab == "several":
        return several(make, model, display)
    return every_map(make, model, display)


def transformers(scene: Scene) -> dict[str, VisionTransformer]:
    """The models of a scene that have attention, by id."""
    opened = map(cache.model, scene.ids)
    return {model.spec.id: model for model in opened if isinstance(model, VisionTransformer)}
