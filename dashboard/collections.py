"""Choosing several pictures: by hand, or drawn at random from a folder or Caltech101."""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from core import ImageError, draw, samples
from dashboard import cache
from dashboard.state import Picture, Scene
from dashboard.text import plain

MOST = 8
FOLDER_VARIABLE = "PARALLAX_PICTURES"


def choose(scene: Scene) -> list[Picture]:
    """Up to eight pictures, as the reader wants them."""
    source = st.segmented_control(
        "Pictures",
        ("samples", "upload", "random"),
        default="samples",
        key="several-source",
        required=True,
        format_func=str.capitalize,
    )
    if source == "upload":
        return _uploads()
    if source == "random":
        return _random()
    offered = {sample.id: sample for sample in samples()}
    chosen = st.multiselect(
        "Samples",
        list(offered),
        default=list(offered)[:4],
        max_selections=MOST,
        format_func=lambda i: offered[i].title,
        key="several-samples",
        persist_state="session",
    )
    return [cache.from_sample(offered[i]) for i in chosen if i in offered]


def _uploads() -> list[Picture]:
    files = st.file_uploader(
        f"Up to {MOST} pictures",
        accept_multiple_files=True,
        key="several-upload",
        max_upload_size=20,
    )
    pictures = []
    for file in files[:MOST]:
        try:
            pictures.append(cache.from_bytes(file.getvalue(), file.name))
        except ImageError as error:
            st.warning(plain(str(error)), icon=":material/broken_image:")
    if len(files) > MOST:
        st.caption(f"The first {MOST} of {len(files)} pictures are shown.")
    return pictures


def _random() -> list[Picture]:
    """Pictures drawn with a seed from the folder this installation offers."""
    root = os.environ.get(FOLDER_VARIABLE)
    if not root:
        st.info(
            f"Set the environment variable {FOLDER_VARIABLE} to a folder of pictures, or to the "
            "folder that holds torchvision's caltech101, and start the application again.",
            icon=":material/folder:",
        )
        return []
    left, right = st.columns(2)
    count = left.slider("How many", 1, MOST, 4, key="several-count")
    seed = right.number_input("Seed", 0, 2**31 - 1, 0, key="several-seed")
    pictures = []
    for file in draw(Path(root), count, int(seed)):
        try:
            pictures.append(cache.from_bytes(file.path.read_bytes(), file.title))
        except (ImageError, OSError) as error:
            st.warning(plain(str(error)), icon=":material/broken_image:")
    return pictures
