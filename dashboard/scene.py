"""The scene of a page: one picture, one to four models, one fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from core import Framing, ModelSpec
from dashboard.looks import MOST
from dashboard.screen import Shared


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture with the digest of the bytes it came from, which keys every cache.

    Attributes
    ----------
    id
        Id in the address: a sample's id, or `dashboard.uploads.own_id` of its digest.
    load
        Returns the decoded picture, which is large: no session holds it between runs.
    classes
        Names of its known classes, the most important first.
    outside
        Whether it is known to show no class of ImageNet.
    note
        The purpose of the sample; empty for an uploaded picture.
    """

    id: str
    name: str
    load: Callable[[], Image.Image]
    digest: str
    classes: tuple[str, ...] = ()
    outside: bool = False
    note: str = ""

    @property
    def image(self) -> Image.Image:
        """The picture itself; shared, so do not modify it."""
        return self.load()


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture, one to four models, one fit.

    Attributes
    ----------
    models
        In the order of the list; the first one with patches decides the size of the view
        of all models, if none is chosen: see `core.shared_view`.
    """

    picture: Picture
    models: tuple[ModelSpec, ...]
    framing: Framing

    def __post_init__(self) -> None:
        assert 1 <= len(self.models) <= MOST, f"{len(self.models)} models, expected 1 to {MOST}"

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the models."""
        return tuple(spec.id for spec in self.models)


def framing_of(shared: Shared) -> Framing:
    """How a screen fits its picture."""
    return Framing(shared.fit, None if shared.size == "own" else int(shared.size))
