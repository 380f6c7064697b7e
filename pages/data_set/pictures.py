"""Pictures of a sweep: a page of the gallery, and one picture in detail.

Independent of Streamlit.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import ParallaxError, find_method, find_spec
from dashboard import animations, cache, figures, looks
from dashboard.cache.sweeps import Look
from dashboard.choices import Tell
from dashboard.screen import Screen, Shared
from dashboard.sweeps import Seen, SweepTable
from dashboard.text import plain
from pages.data_set import chosen
from pages.data_set.chosen import Filters
from pages.data_set.options import Options

AT_A_TIME = 12
"""Pictures of one page of the gallery."""


@dataclass(frozen=True, eq=False)
class Card:
    """A picture of the gallery.

    Attributes
    ----------
    index
        Of the picture in its sweep.
    images, lines
        The thumbnail with maps over it, and its description, as HTML.
    """

    index: int
    images: str
    lines: str


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures in the chosen order.

    Attributes
    ----------
    orders : mapping
        Titles of the available orders, by name.
    page_number, pages
        Current page, from 1, and number of pages.
    """

    order: str
    orders: Mapping[str, str]
    page_number: int
    pages: int
    cards: tuple[Card, ...]


@dataclass(frozen=True, eq=False)
class Picked:
    """A picture shown in detail.

    Attributes
    ----------
    title, facts
        As Markdown.
    images
        As of a `Card`.
    answers
        Title and top 5 of each model, as Markdown; no top 5 for models without classes.
    address
        The picture with models, maps and fit of the sweep, as the address of a page; empty if
        it cannot be opened.
    refusal
        Why it cannot be opened; empty otherwise.
    """

    title: str
    images: str
    facts: str
    answers: tuple[tuple[str, str], ...]
    address: Mapping[str, Sequence[str]]
    refusal: str


def gallery(table: SweepTable, filters: Filters, now: Screen, tell: Tell) -> Gallery:
    """The pictures of the current page."""
    asked, orders = now.of(Options), table.orders()
    order = chosen.order(table, orders, asked, tell)
    number = asked.leaf

    def part(number: int) -> tuple[list[Seen], int]:
        start = AT_A_TIME * (number - 1)
        found: tuple[list[Seen], int] = cache.answered(
            table, "gallery", order, filters, start, AT_A_TIME
        )
        return found

    found, total = part(number)
    pages = max(1, -(-total // AT_A_TIME))
    if number > pages:
        tell(f"leaf is {number}, expected 1 to {pages}; shown instead: {pages}.")
        number = pages
        found, total = part(number)
    seen = cache.pictured(table, tuple(one.picture["index"] for one in found))
    cards = tuple(
        Card(one.picture["index"], _images(table, one, look, now), _lines(table, one))
        for one, look in zip(found, seen, strict=True)
    )
    return Gallery(order, orders, number, pages, cards)


def _images(table: SweepTable, seen: Seen, look: Look, now: Screen) -> str:
    """The thumbnail and the compared maps over it, as HTML."""
    if look.view is None:
        return "<p>The thumbnail of this picture is damaged.</p>"
    shown = [("Picture", look.view)]
    for number in table.shown_maps:
        if number not in look.maps:
            continue
        drawn = animations.blend(
            look.view,
            look.maps[number],
            opacity=now.shared.opacity,
            colors=now.shared.colors,
            percentile=now.shared.clip,
        )
        shown.append((table.map_title(number), drawn))
    path = seen.picture["path"]
    cells = "".join(
        f'<figure><img src="{figures.data_uri(image, 80)}" alt="{html.escape(name)} of '
        f'{html.escape(path)}"><figcaption>{html.escape(name)}</figcaption></figure>'
        for name, image in shown
    )
    return f'<div class="sweep-row">{cells}</div>'


def _lines(table: SweepTable, seen: Seen) -> str:
    """The answers of the compared models, and facts about the picture, as HTML."""
    lines = []
    for number in table.compared:
        found = seen.answers.get(number)
        if found is None or found["answer"] is None:
            continue
        mark = {True: " ✓", False: " ✗", None: ""}[found["right"]]
        answer = f"{found['answer']}, {found['probability']:.0%}{mark}"
        lines.append(f"<b>{html.escape(table.titles[number])}</b> {html.escape(answer)}")
    facts = []
    agreement = seen.agreements.get(_two(table.shown_maps), {})
    if agreement.get("correlation") is not None:
        facts.append(f"rank correlation {agreement['correlation']:.2f}")
    attend = sum(chosen.attends(table, number) for number in table.compared)
    several = len(table.compared) > 1 and attend > 1
    for number in table.compared:
        if count := seen.answers.get(number, {}).get("artifacts"):
            of = f" of {table.titles[number]}" if several else ""
            facts.append(f"{count} artifact patch{'es' if count > 1 else ''}{of}")
    if seen.picture["label"]:
        facts.append(seen.picture["label"])
    lines.append(html.escape(" · ".join(facts) or seen.picture["path"]))
    return '<div class="sweep-text">' + "".join(f"<div>{line}</div>" for line in lines) + "</div>"


def _two(numbers: Sequence[int]) -> tuple[int, int]:
    """The key of two models or maps in tables."""
    return (min(numbers, default=-1), max(numbers, default=-1))


# -- one picture ----------------------------------------------------------------------------------


def picked(table: SweepTable, now: Screen, tell: Tell) -> Picked | None:
    """The picture that the screen shows in detail; ``None`` if there is none."""
    index = now.of(Options).picked
    if index is None:
        return None
    found = cache.answered(table, "rows", (index,))
    if not found or found[0].picture["error"]:
        tell(f"picked is {index}, for which this sweep has no figures; it is ignored.")
        return None
    [seen] = found
    [look] = cache.pictured(table, (index,))
    picture = seen.picture
    label = f" · {plain(picture['label'])}" if picture["label"] else ""
    address, refusal = _opened(table, seen, now)
    return Picked(
        title=f"**{plain(picture['path'])}**{label}",
        images=_images(table, seen, look, now),
        facts=_facts(table, seen),
        answers=tuple(
            (f"**{plain(title)}** · top 5", _top(table, seen, number))
            for number, title in enumerate(table.titles)
        ),
        address=address,
        refusal=refusal,
    )


def _facts(table: SweepTable, seen: Seen) -> str:
    """Further numbers of a picture, for the compared models."""
    facts: list[tuple[str, float | None]] = []
    if len(table.compared) == 2:
        apart = seen.divergences.get(_two(table.compared), {})
        facts.append((table.title("divergence"), apart.get("divergence")))
    if len(table.shown_maps) == 2:
        agreement = seen.agreements.get(_two(table.shown_maps), {})
        facts += [(table.title(name), agreement.get(name)) for name in ("correlation", "overlap")]
    ids = table.sweep.models
    for number in table.compared:
        found = seen.answers.get(number, {})
        name = f"artifacts:{ids[number]}"
        facts.append((table.title(name), found.get("artifacts")))
    for number, of in enumerate(table.sweep.maps):
        if of.model in table.compared:
            found = seen.maps.get(number, {})
            for name in ("prefix_mass", "deletion", "insertion"):
                named = table.title(f"{name}:{ids[of.model]}:{of.method}")
                facts.append((named, found.get(name)))
    said = [f"{plain(name)} **{value:.3g}**" for name, value in facts if value is not None]
    said.append(f"{seen.picture['width']} × {seen.picture['height']} pixels")
    return f":small[{' · '.join(said)}]"


def _top(table: SweepTable, seen: Seen, number: int) -> str:
    """The first answers of a model; empty without classes."""
    found = seen.answers.get(number, {})
    if not found.get("top"):
        return ""
    labels = dict(enumerate(table.sweep.manifest["classes"][number]))
    lines = [
        f"{probability:.0%} {plain(labels.get(place, f'class {place}'))}"
        for place, probability in zip(found["top"], found["top_probabilities"], strict=True)
    ]
    if found["label_rank"] is not None and found["label_rank"] >= len(lines):
        lines.append(f":small[The label is number {found['label_rank'] + 1:,}.]")
    return "  \n".join(lines)


def _opened(table: SweepTable, seen: Seen, now: Screen) -> tuple[dict[str, list[str]], str]:
    """The address of the original on the other pages, or why there is none."""
    row = seen.picture
    try:
        data = cache.original(table.sweep.folder, row["index"], row["digest"])
        name = Path(row["path"]).name
        picture = cache.from_bytes(data, name)
        cache.own_pictures().put(name, data)
        return _screen(table, seen, picture.id, now).address(), ""
    except ParallaxError as error:  # including an unknown model or fit
        return {}, str(error)


def _screen(table: SweepTable, seen: Seen, picture_id: str, now: Screen) -> Screen:
    """The screen with the picture as in the sweep, and the compared models and maps."""
    plan, sizes = table.sweep.plan, Shared.model_fields["size"].annotation
    size = str(plan.framing.size) if plan.framing.size else "own"
    changes: dict[str, Any] = {"image": picture_id}
    changes |= {"fit": plan.framing.fit, "size": size if size in str(sizes) else "own"}
    changes["m"] = tuple(find_spec(plan.models[number]).id for number in table.compared)
    targets = [seen.maps.get(number, {}).get("target") for number in table.shown_maps]
    if known := next(filter(None, targets), ""):
        changes["classes"] = (known,)
    columns = []
    for number in table.shown_maps:
        of = table.sweep.maps[number]
        used = table.sweep.manifest["maps"][number]["parameters"]
        named = tuple((name, str(used[name])) for name in sorted(find_method(of.method).earlier))
        columns.append(looks.Look(plan.models[of.model], of.method, named))
    changes["look"] = looks.texts(columns[: looks.MOST])
    return now.to(**changes)
