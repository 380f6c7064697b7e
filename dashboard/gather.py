"""What pages that draw while they compute have shown so far: the `Maker` of this run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from PIL import Image

from core import Explanation, Prediction
from dashboard import show
from dashboard.scene import Picture
from dashboard.view import Maker, options, relevance, slug

__all__ = ["options", "relevance", "slug"]


def current() -> Maker:
    """The maker of this run."""
    found = show.current()
    assert found is not None
    return found.maker


def attended(model_id: str) -> None:
    current().attended(model_id)


def also(picture: Picture) -> None:
    current().also(picture)


def array(
    name: str, values: npt.ArrayLike, code: str, explanation: Explanation | None = None
) -> str:
    return current().array(name, values, code, explanation)


def explanation(made: Explanation, params: Mapping[str, Any]) -> None:
    current().explanation(made, params)


def answer(model_id: str, prediction: Prediction) -> None:
    current().answer(model_id, prediction)


def picture(title: str, made: Image.Image, code: str) -> None:
    current().picture(title, made, code)
