"""What every page looks at: one picture, one pair of models, one way to fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st
from PIL import Image

from core import Framing, ModelSpec

_SCENE = "_scene"


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


@dataclass(frozen=True)
class SceneKey:
    """What a cached result of a picture depends on, beside the model: the key of every cache."""

    digest: str
    cnn: str
    vit: str
    framing: Framing


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture, one pair of models, one way to fit."""

    picture: Picture
    cnn: ModelSpec
    vit: ModelSpec
    framing: Framing

    def key(self, picture: Picture | None = None) -> SceneKey:
        """What results of a picture (the scene's own by default) are cached under."""
        shown = picture or self.picture
        return SceneKey(shown.digest, self.cnn.id, self.vit.id, self.framing)


def enter(scene: Scene) -> None:
    """Called once a run by the frame."""
    st.session_state[_SCENE] = scene


def current() -> Scene:
    """The scene that the frame has set in this run."""
    found: Scene = st.session_state[_SCENE]
    return found
