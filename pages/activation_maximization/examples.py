"""Pictures made beforehand, which the page shows before anything was started."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import streamlit as st
from PIL import Image

import core
from dashboard import render, session
from dashboard.registry import ROOT
from dashboard.text import plain

SHEET, FACTS = ROOT / "data" / "maximizations.jpg", ROOT / "data" / "maximizations.json"
"""Written by `make_examples`."""

ABREAST = 2


@dataclass(frozen=True, eq=False)
class Example:
    """Pictures of one link, side by side.

    Attributes
    ----------
    titles, objectives, energies
        Of each picture.
    wanted
        By model, the probability of the class in each picture; empty for channels.
    """

    link: str
    titles: tuple[str, ...]
    objectives: tuple[str, ...]
    energies: tuple[float, ...]
    wanted: dict[str, tuple[float, ...]]
    strip: Image.Image


@cache
def examples() -> tuple[Example, ...]:
    """All pictures that are shipped."""
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    side = facts["side"]
    sheet = core.read_image(SHEET)
    return tuple(
        Example(
            row["link"],
            tuple(row["titles"]),
            tuple(row["objectives"]),
            tuple(row["energies"]),
            _wanted(row["opinions"]),
            sheet.crop((0, y * side, len(row["titles"]) * side, (y + 1) * side)),
        )
        for y, row in enumerate(facts["rows"])
    )


def _wanted(opinions: list[dict[str, Any]]) -> dict[str, tuple[float, ...]]:
    """By model, the probability of the class in each picture, where there is one."""
    found = {name: tuple(one[name]["wanted"] for one in opinions) for name in opinions[0]}
    return {name: values for name, values in found.items() if None not in values}


def draw() -> None:
    """The pictures, each with a button that chooses its settings."""
    found = examples()
    st.markdown("**Made beforehand with the embedded models**")
    st.caption(f"From left to right: {'; '.join(map(plain, found[0].titles))}.")
    places = st.columns(ABREAST, gap="medium")
    for number, example in enumerate(found):
        with places[number % ABREAST]:
            _one(number, example)


def _one(number: int, example: Example) -> None:
    what = " · ".join(dict.fromkeys(example.objectives))
    energies = ", ".join(f"{round(energy, 2) + 0.0:+.2f}" for energy in example.energies)
    lines = [f"**{plain(what)}**"]
    for name, values in example.wanted.items():
        lines.append(f"{plain(name)} gives it {', '.join(f'{value:.2f}' for value in values)}")
    lines.append(f"Seam energies {energies}")
    st.image(example.strip, width="stretch", alt=f"{what}: {', '.join(example.titles)}")
    with st.container(horizontal=True, vertical_alignment="top", gap="small"):
        st.caption("  \n".join(lines), width="content")
        st.button(
            "Choose",
            key=f"example-{number}",
            help="Chooses the settings that these pictures were made with.",
            on_click=session.guarded(lambda: _choose(example.link)),
        )


def _choose(link: str) -> None:
    [wanted] = render.read(link)
    session.become(wanted.screen)
