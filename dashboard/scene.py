"""What every page looks at: one picture, one to four models, one way to fit."""

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
        What the address calls it: a sample's id, or `dashboard.uploads.own_id` of its digest.
    load
        Gives the decoded picture, which is large: no session holds it between two runs.
    classes
        Names of what it is known to show, the most telling first.
    outside
        Whether it is known to show nothing that is a class of ImageNet.
    note
        What there is to look for in it; empty for a picture of one's own.
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
        """The picture itself; shared by all, so not to be changed."""
        return self.load()


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture, one to four models, one way to fit.

    Attributes
    ----------
    models
        In the order in which they are listed; the first one with patches decides the size of what
        all of them see, where none is chosen: see `core.shared_view`.
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
