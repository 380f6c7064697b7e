"""Typed access to what a session has chosen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st
from PIL import Image

from core.images import Framing
from core.models.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture with the digest of the bytes it came from, which keys every cache."""

    name: str
    image: Image.Image
    digest: str
    classes: tuple[int, ...] = ()

    @staticmethod
    def digest_of(data: bytes) -> str:
        """SHA-256 of a file's bytes, as hexadecimal text."""
        return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, eq=False)
class Scene:
    """What every page looks at: one picture, one pair of models, one way to fit."""

    picture: Picture
    cnn: ModelSpec
    vit: ModelSpec
    framing: Framing


def from_address(key: str, options: Sequence[str]) -> None:
    """Seed a widget's state from the address, if what stands there is one of the options."""
    asked = st.query_params.get(key)
    if key not in st.session_state and asked in options:
        st.session_state[key] = asked


def to_address(key: str, value: str, default: str) -> None:
    """Write a choice into the address, so that the page can be shared; a default is left out."""
    if value and value != default:
        st.query_params[key] = value
    elif key in st.query_params:
        del st.query_params[key]


def set_scene(scene: Scene) -> None:
    """Called once a run by the frame."""
    st.session_state["_scene"] = scene


def scene() -> Scene:
    """The scene the frame has set in this run."""
    found: Scene = st.session_state["_scene"]
    return found


def chosen_classes(options: int) -> list[int]:
    """Classes the reader picked, as far as they exist among ``options`` classes."""
    return [c for c in st.session_state.get("_classes", []) if 0 <= c < options]


def choose_classes(classes: list[int]) -> None:
    """Remember picked classes for all pages."""
    st.session_state["_classes"] = list(classes)
