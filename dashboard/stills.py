"""Plotly figures as still pictures, without a browser. Independent of Streamlit.

Supports the content of `figures`: pictures, heat maps, lines, outlines and titles. Each panel of a
figure becomes a tile of a `core.rendering.sheet`.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from PIL import Image, ImageDraw
from plotly.colors import hex_to_rgb

from core import rendering
from dashboard.figures import numbers

WIDE = 720
"""Least width of a panel in pixels."""

_LINES = ((180, 83, 9), (15, 118, 110), (109, 91, 208), (190, 24, 93), (77, 124, 15))


def tiles(figure: go.Figure) -> list[rendering.Tile]:
    """The panels of a figure, from left to right; none if its content is not supported."""
    found = []
    for panel in _panels(figure):
        if drawn := panel.draw():
            found.append(rendering.Tile(panel.title, panel.subtitle, drawn, panel.bar))
    return found


def text_of(markup: str) -> str:
    """The words of a title in Plotly's markup."""
    return unescape(re.sub(r"<[^>]*>", "", markup.replace("<br>", " "))).strip()


@dataclass(frozen=True, eq=False)
class _Panel:
    """One pair of axes of a figure."""

    figure: go.Figure
    suffix: str

    @property
    def _title(self) -> list[str]:
        left = (self.figure.layout[f"xaxis{self.suffix}"].domain or (0, 1))[0]
        for note in self.figure.layout.annotations or ():
            if note.xref == "paper" and abs((note.x or 0) - left) < 1e-6:
                return [text_of(part) for part in str(note.text).split("<br>", 1)]
        return [""]

    @property
    def title(self) -> str:
        return self._title[0]

    @property
    def subtitle(self) -> str:
        return " ".join(self._title[1:])

    def _traces(self, kind: str) -> Iterator[Any]:
        for trace in self.figure.data:
            mine = (trace.xaxis or "x") == f"x{self.suffix}"
            if mine and trace.type == kind and trace.visible is not False and trace.opacity != 0:
                yield trace

    @property
    def bar(self) -> rendering.Bar | None:
        for trace in self._traces("heatmap"):
            if trace.showscale is not False:
                unit = text_of(str(trace.colorbar.title.text or ""))
                return rendering.Bar(numbers(trace.colorscale), trace.zmin, trace.zmax, unit)
        return None

    def _ends(self, axis: str, count: int) -> tuple[float, float]:
        wanted = self.figure.layout[f"{axis}axis{self.suffix}"]
        if wanted.range is not None:
            return wanted.range[0], wanted.range[1]
        ends = (-0.5, count - 0.5)  # of an axis of categories
        return ends[::-1] if axis == "y" else ends

    def draw(self) -> Image.Image | None:
        """The panel in its own coordinates; ``None`` if it is empty."""
        maps = list(self._traces("heatmap"))
        images = [i for i in self.figure.layout.images or () if i.xref == f"x{self.suffix}"]
        if not maps and not images:
            return _lines(list(self._traces("scatter")), self.figure)
        values = [_values(trace) for trace in maps]
        rows, cols = values[0].shape if values else (1, 1)
        across, down = self._ends("x", cols), self._ends("y", rows)
        width, height = abs(across[1] - across[0]), abs(down[1] - down[0])
        zoom = max(1.0, WIDE / width)
        if not images:  # blocks of equal size
            zoom = float(round(zoom))
        canvas = _Canvas(across, down, zoom, (round(width * zoom), round(height * zoom)))
        for image in images:
            canvas.place(_opened(image.source), (image.x, image.y), (image.sizex, image.sizey))
        for trace, grid in zip(maps, values, strict=True):
            canvas.cover(trace, grid)
        for shape in self.figure.layout.shapes or ():
            if (shape.xref or "x") == f"x{self.suffix}" and shape.type == "rect":
                canvas.outline(shape)
        ticks = self.figure.layout[f"xaxis{self.suffix}"], self.figure.layout[f"yaxis{self.suffix}"]
        notes = [n for n in self.figure.layout.annotations or () if n.xref != "paper"]
        made = canvas.labeled(*ticks, notes)
        if images or self.figure.layout[f"yaxis{self.suffix}"].scaleanchor:
            return made
        # Cells of a table, which a page stretches to the available width.
        return made.resize((made.width, made.width), Image.Resampling.NEAREST)


class _Canvas:
    """A picture in the coordinates of a panel."""

    def __init__(
        self,
        across: tuple[float, float],
        down: tuple[float, float],
        zoom: float,
        size: tuple[int, int],
    ) -> None:
        self.left, self.top, self.zoom = across[0], down[1], zoom
        self.image = Image.new("RGB", (max(1, size[0]), max(1, size[1])), rendering.PAPER)

    def at(self, x: float, y: float) -> tuple[int, int]:
        """Pixels of a place."""
        return round((x - self.left) * self.zoom), round((y - self.top) * self.zoom)

    def place(self, image: Image.Image, corner: Sequence[float], size: Sequence[float]) -> None:
        """Put a picture into a rectangle."""
        first = self.at(*corner)
        last = self.at(corner[0] + size[0], corner[1] + size[1])
        shape = max(1, last[0] - first[0]), max(1, last[1] - first[1])
        self.image.paste(image.resize(shape, Image.Resampling.BICUBIC), first)

    def cover(self, trace: Any, grid: npt.NDArray[np.float32]) -> None:
        """Draw a heat map over the current content."""
        rows, cols = grid.shape
        xs, ys = _centers(trace.x, cols), _centers(trace.y, rows)
        first = self.at(xs[0] - (xs[1] - xs[0]) / 2, ys[0] - (ys[1] - ys[0]) / 2)
        last = self.at(xs[-1] + (xs[1] - xs[0]) / 2, ys[-1] + (ys[1] - ys[0]) / 2)
        box = (*first, max(last[0], first[0] + 1), max(last[1], first[1] + 1))
        bar = rendering.Bar(numbers(trace.colorscale), trace.zmin, trace.zmax, "")
        covered = rendering.overlay(
            self.image.crop(box),
            grid,
            bar,
            opacity=1.0 if trace.opacity is None else trace.opacity,
            smooth=bool(trace.zsmooth),
        )
        self.image.paste(covered, box[:2])

    def outline(self, shape: Any) -> None:
        """Draw the outline of a rectangle."""
        color = hex_to_rgb(shape.line.color) if str(shape.line.color).startswith("#") else (0, 0, 0)
        box = (*self.at(shape.x0, shape.y0), *self.at(shape.x1, shape.y1))
        ImageDraw.Draw(self.image).rectangle(box, outline=color, width=4)

    def labeled(self, across: Any, down: Any, notes: Sequence[Any]) -> Image.Image:
        """The picture with names of rows and columns and titles of maps."""
        size = 15
        used = rendering.font(size)
        rows = _ticks(down)
        columns = _ticks(across)
        left = max((int(used.getlength(text)) + 12 for _, text in rows), default=0)
        top = (22 * max((text.count("\n") + 1 for _, text in columns), default=0)) or 0
        above = 22 if notes and any(note.y is not None and note.y <= 0 for note in notes) else 0
        if not (left or top or notes):
            return self.image
        whole = Image.new(
            "RGB", (self.image.width + left, self.image.height + top + above), rendering.PAPER
        )
        whole.paste(self.image, (left, top + above))
        draw = ImageDraw.Draw(whole)
        for y, text in rows:
            place = (left - 8, top + above + self.at(0, y)[1])
            rendering.write(draw, place, text, size, rendering.PALE, anchor="rm")
        for x, text in columns:
            for number, part in enumerate(text.split("\n")):
                place = (left + self.at(x, 0)[0], 22 * number)
                rendering.write(draw, place, part, size, rendering.PALE, anchor="ma")
        for note in notes:
            x, y = self.at(note.x, note.y)
            place = (left + x, top + above + y - 3)
            rendering.write(draw, place, text_of(str(note.text)), size, anchor="mb")
        return whole


def _panels(figure: go.Figure) -> list[_Panel]:
    suffixes = {(trace.xaxis or "x")[1:] for trace in figure.data}
    return [_Panel(figure, suffix) for suffix in sorted(suffixes, key=lambda s: int(s or 1))]


def _values(trace: Any) -> npt.NDArray[np.float32]:
    rows = [[np.nan if value is None else value for value in row] for row in trace.z]
    return np.asarray(rows, dtype=np.float32)


def _centers(given: Any, count: int) -> list[float]:
    """Positions of the centers of blocks, at least two; categories are numbered."""
    numbers = [] if given is None else list(given)
    if len(numbers) != count or not all(isinstance(n, int | float) for n in numbers):
        numbers = list(range(count))
    return numbers if len(numbers) > 1 else [numbers[0], numbers[0] + 1]


def _opened(source: str) -> Image.Image:
    """A picture made by this application, from its data URI."""
    return Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB")


def _ticks(axis: Any) -> list[tuple[float, str]]:
    if axis.visible is False or axis.showticklabels is False or axis.tickvals is None:
        return []
    if any(isinstance(value, str) for value in axis.tickvals):
        return []
    texts = [text_of(str(t).replace("<br>", "\n")) for t in axis.ticktext]
    return [(v, t) for v, t in zip(axis.tickvals, texts, strict=False) if t]


def _lines(traces: Sequence[Any], figure: go.Figure) -> Image.Image | None:
    """Lines in a frame, with their range and names."""
    drawn = [t for t in traces if "lines" in (t.mode or "") and t.y is not None and len(t.y) > 1]
    if not drawn:
        return None
    width, height, left, top = 1100, 420, 90, 34
    places = [_places(trace.x) for trace in drawn]
    xs = [x for found in places for x in found]
    ys = [float(v) for trace in drawn for v in trace.y]
    spans = max(max(xs) - min(xs), 1e-12), max(max(ys) - min(ys), 1e-12)
    image = Image.new("RGB", (width, height), rendering.PAPER)
    draw = ImageDraw.Draw(image)
    box = (left, top, width - 20, height - 40)
    draw.rectangle(box, outline=(200, 200, 200))
    for value, y in ((max(ys), box[1]), (min(ys), box[3])):
        rendering.write(draw, (left - 8, y), f"{value:.3g}", 15, rendering.PALE, anchor="rm")
    first, last = f"{min(xs):.3g}", f"{max(xs):.3g}"
    if isinstance(drawn[0].x[0], str):  # categories, which are numbered
        first, last = drawn[0].x[0], drawn[0].x[-1]
    for text, x in ((first, box[0]), (last, box[2])):
        rendering.write(draw, (x, box[3] + 6), text, 15, rendering.PALE, anchor="ma")
    place = float(left)
    colors = _LINES * (len(drawn) // len(_LINES) + 1)
    for trace, found, color in zip(drawn, places, colors, strict=False):
        points = [
            (
                box[0] + (x - min(xs)) / spans[0] * (box[2] - box[0]),
                box[3] - (float(y) - min(ys)) / spans[1] * (box[3] - box[1]),
            )
            for x, y in zip(found, trace.y, strict=True)
        ]
        draw.line(points, fill=color, width=3)
        name = text_of(str(trace.name or ""))
        rendering.write(draw, (place, 6), name, 15, color)
        place += rendering.font(15).getlength(name) + 24
    return image


def _places(given: Sequence[Any]) -> list[float]:
    """Positions of the points of a line; categories are numbered."""
    return [number if isinstance(x, str) else float(x) for number, x in enumerate(given)]
