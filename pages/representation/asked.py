"""The models and the set of pictures, common to all questions. Independent of Streamlit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from PIL import Image

import core
from core import ImageError, Model, ParallaxError
from dashboard import cache, python_lines, waiting
from dashboard.cache import results
from dashboard.scene import Picture, Scene
from dashboard.several_pictures import named_pictures, offered_pictures
from dashboard.view import Maker
from pages.representation import shipped
from pages.representation.options import Options

Value = TypeVar("Value")

GIVEN = core.Framing("given")

MOST = 64
"""Most pictures of a set."""

FEWEST = 6
"""Fewest pictures: one more than the neighbors of each."""

NEIGHBORS = 5


@dataclass(frozen=True, eq=False)
class Asked:
    """What is compared.

    Attributes
    ----------
    scene
        With a fit that gives all pictures the same shape.
    models
        One or two of the scene.
    pictures
        The set.
    measured
        Whether a measurement that is not known yet was asked for.
    cropped
        Whether the pictures are cropped although the fit “whole” is chosen.
    known
        The results that were found, by key.
    """

    scene: Scene
    models: tuple[Model, ...]
    pictures: tuple[Picture, ...]
    measured: bool
    cropped: bool
    known: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pixels of all views."""
        seen = [cache.seen(self.scene, picture) for picture in self.pictures]
        return hashlib.sha256("".join(seen).encode()).hexdigest()

    def views(self) -> list[Image.Image]:
        """The views, the same for all models."""
        return [cache.view(self.scene, picture) for picture in self.pictures]

    def code(self, count: int | None = None) -> str:
        """The expression for the first views, or all."""
        every = ", ".join(f"models[{model_id!r}]" for model_id in self.scene.ids)
        framing = f"core.Framing({self.scene.framing.fit!r}, {self.scene.framing.size!r})"
        sources = ", ".join(map(python_lines.source, self.pictures[:count]))
        return f"[core.shared_view([{every}], one, {framing}) for one in [{sources}]]"

    def found(
        self,
        models: Sequence[Model],
        what: tuple[Any, ...],
        title: str,
        make: Callable[[list[Image.Image]], Value],
    ) -> Value | str | None:
        """A result of some models over the set: known, shipped, or computed if that was asked for.

        Parameters
        ----------
        what
            Which result, as a key.
        title
            Of the progress.
        make
            Computes it of the views.

        Returns
        -------
        value, str or None
            A sentence where there can be none; ``None`` where it has not been asked for.
        """
        weights = tuple((model.spec.id, model.weights_digest) for model in models)
        key = ("representation", *what, weights, self.digest)
        try:
            value: Value | None = self._known(key, title, make)
        except (core.Stopped, core.BusyError):
            raise
        except ParallaxError as error:
            return str(error)
        if value is not None:
            self.known[key] = value
        return value

    def _known(
        self, key: tuple[Any, ...], title: str, make: Callable[[list[Image.Image]], Value]
    ) -> Any:
        held = results().peek(key)
        if held is None and (held := shipped.find(key)) is None and not self.measured:
            return None

        def compute() -> Any:
            if held is not None:
                return held
            with waiting.watched(title):
                return make(self.views())

        return results().get(key, compute)


def asked(make: Maker) -> Asked:
    """The models and the pictures of a screen."""
    options, scene = make.screen.of(Options), make.looked_at
    cropped = scene.framing.fit == "whole"
    if cropped:
        scene = replace(scene, framing=replace(scene.framing, fit="crop"))
    unknown = [model_id for model_id in options.represented if model_id not in scene.ids]
    for model_id in unknown:
        make.problem(
            f"represented is {model_id!r}, which is not among the models shown (m); it is left out."
        )
    chosen = [model_id for model_id in options.represented if model_id in scene.ids]
    ids = tuple(dict.fromkeys(chosen)) or scene.ids[:2]
    pictures = _pictures(make)
    for picture in pictures:
        make.also(picture)
    models = tuple(cache.model(model_id) for model_id in ids)
    return Asked(scene, models, pictures, options.layers_measured, cropped)


def _pictures(make: Maker) -> tuple[Picture, ...]:
    """The pictures that the address names and that are held, by default all samples."""
    wanted = make.screen.of(Options).picture_set
    readable = []
    for picture in named_pictures("picture_set", wanted, make.problem).values():
        try:
            cache.thumbnail_of(picture)
        except ImageError as error:
            make.problem(str(error))
        else:
            readable.append(picture)
    if readable and len(readable) < FEWEST:
        make.problem(
            f"The set has {len(readable)} pictures, and at least {FEWEST} are needed; shown "
            "instead: all samples."
        )
    if len(readable) >= FEWEST:
        return tuple(readable)
    return tuple(offered_pictures().values())


def focus(make: Maker, of: Asked) -> int:
    """The place of the picture looked at closely: chosen, that of the side bar, or the first."""
    ids = [picture.id for picture in of.pictures]
    wanted = make.screen.of(Options).near_picture
    if wanted is not None and wanted not in ids:
        make.problem(f"near_picture is {wanted!r}, which is not in the set of pictures.")
    for picture_id in (wanted, of.scene.picture.id):
        if picture_id in ids:
            return ids.index(picture_id)
    return 0


def short(tap: str) -> str:
    """A layer in one or two words: ``block 3``, ``stage 1``, ``embedding``, ``head``."""
    if tap == "block.0.input":
        return "embedding"
    if tap == "head.input":
        return "head"
    return tap.removesuffix(".output").replace(".", " ")


def percent(share: float, digits: int = 0) -> str:
    """A share as text."""
    return f"{100 * share:.{digits}f} %"
