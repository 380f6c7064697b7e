"""Typed access to what a session has chosen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st
from PIL import Image

from core import Framing, ModelSpec


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture with the digest of the bytes it came from, which keys every cache."""

    name: str
    image: Image.Image
    digest: str
    classes: tuple[str, ...] = ()

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


def chosen_classes(labels: Sequence[str]) -> list[int]:
    """Classes the reader picked, as indices of a model's own labels; unknown names are left out."""
    return indices_of(st.session_state.get("_classes", []), labels)


def choose_classes(names: Sequence[str]) -> None:
    """Remember picked classes for all pages, by name: models may number them differently."""
    st.session_state["_classes"] = list(names)


def indices_of(names: Sequence[str], labels: Sequence[str]) -> list[int]:
    """Indices of class names among a model's labels; unknown names are left out."""
    places = {label: index for index, label in enumerate(labels)}
    return [places[name] for name in names if name in places]
