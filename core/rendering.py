"""Still pictures: a map in colors over a picture, and a sheet of several with titles and scales.

Made with Pillow alone, so that a picture for slides needs no browser.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from core import heatmaps

Color = tuple[int, int, int]
Scale = Sequence[tuple[float, tuple[float, ...]]]
"""Colors at positions from 0 to 1, ascending: red, green and blue up to 255, and where a color
does not cover all of what is below it, its opacity in [0, 1]."""

PAPER: Color = (255, 255, 255)
INK: Color = (31, 36, 48)
PALE: Color = (96, 102, 116)

FONTS = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "NotoSans-Regular.ttf", "Arial.ttf")
BOLD = ("DejaVuSans-Bold.ttf", "LiberationSans-Bold.ttf", "NotoSans-Bold.ttf", "Arialbd.ttf")
"""System fonts that are tried before Pillow's own."""

_PLAIN = str.maketrans({"–": "-", "−": "-", "×": "x", "·": "-", "…": "...", "“": '"', "”": '"'})
"""Characters missing in Pillow's own font."""


@dataclass(frozen=True, eq=False)
class Bar:
    """A color bar: the scale, the values at its ends and their unit."""

    scale: Scale
    low: float
    high: float
    unit: str


@dataclass(frozen=True, eq=False)
class Tile:
    """One picture of a sheet with its text and color bar."""

    title: str
    subtitle: str
    image: Image.Image
    bar: Bar | None = None


def colorize(values: npt.ArrayLike, scale: Scale) -> npt.NDArray[np.uint8]:
    """Values in [0, 1] as colors.

    Parameters
    ----------
    values : (rows, cols)
        Clipped to [0, 1].

    Returns
    -------
    (rows, cols, 3) uint8
    """
    channels = [_channel(values, scale, [color[i] for _, color in scale]) for i in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def coverage(values: npt.ArrayLike, scale: Scale) -> npt.NDArray[np.float64]:
    """Opacity of the colors of values in [0, 1]: in [0, 1].

    Parameters
    ----------
    values : (rows, cols)
        Clipped to [0, 1].

    Returns
    -------
    (rows, cols) float64
        1 everywhere for a scale without opacities.
    """
    return _channel(values, scale, [color[3] if len(color) > 3 else 1.0 for _, color in scale])


def _channel(
    values: npt.ArrayLike, scale: Scale, levels: Sequence[float]
) -> npt.NDArray[np.float64]:
    given = np.clip(np.asarray(values, dtype=np.float64), 0.0, 1.0)
    return np.interp(given, [place for place, _ in scale], levels)


def overlay(
    picture: Image.Image,
    relevance: npt.ArrayLike,
    bar: Bar,
    *,
    opacity: float = 0.6,
    smooth: bool = True,
) -> Image.Image:
    """A map in colors over the picture that it explains.

    Parameters
    ----------
    relevance : (rows, cols)
        Raw values; the picture is unchanged where a value is ``nan``.
    opacity
        Opacity of the colors, in [0, 1], multiplied by that of the scale.
    smooth
        Interpolate between places instead of showing each as a block.

    Returns
    -------
    PIL.Image.Image
        RGB, as large as the picture.
    """
    colored = layer(relevance, bar, picture.size, opacity=opacity, smooth=smooth)
    return Image.composite(colored.convert("RGB"), picture.convert("RGB"), colored.getchannel("A"))


def layer(
    relevance: npt.ArrayLike,
    bar: Bar,
    size: tuple[int, int],
    *,
    opacity: float = 0.6,
    smooth: bool = True,
) -> Image.Image:
    """The colors of `overlay` alone.

    Parameters
    ----------
    relevance, bar, opacity, smooth
        As in `overlay`.
    size
        Width and height in pixels.

    Returns
    -------
    PIL.Image.Image
        RGBA; transparent where a value is ``nan``.
    """
    values = np.asarray(relevance, dtype=np.float32)
    shape = (size[1], size[0])
    holes = np.isnan(values)
    known = np.where(holes, bar.low, values)
    normal = heatmaps.normalize(known, bar.low, bar.high)
    if smooth and not holes.any():
        normal, holes = heatmaps.resize(normal, shape), np.zeros(shape, dtype=np.bool_)
    strength = np.where(holes, 0, 255 * opacity * coverage(normal, bar.scale)).round()
    colored, mask = (
        Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)
        for blocks in (colorize(normal, bar.scale), strength.astype(np.uint8))
    )
    colored.putalpha(mask)
    return colored


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font for the screen, of the system or Pillow's own."""
    for name in BOLD if bold else FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    color: Color = INK,
    bold: bool = False,
    anchor: str = "la",
) -> None:
    """Write one line of text."""
    used = font(size, bold)
    draw.text(place, _writable(text, used), fill=color, font=used, anchor=anchor)


def lines_of(text: str, size: int, width: float, most: int = 0, bold: bool = False) -> list[str]:
    """Break a text into lines of at most ``width`` pixels.

    Parameters
    ----------
    most
        Most lines, the last with an ellipsis if more are needed; 0 for all.
    """
    used = font(size, bold)
    lines, line = [], ""
    for word in " ".join(text.split()).split(" "):
        longer = f"{line} {word}".strip()
        if used.getlength(_writable(longer, used)) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        line = word
        while len(line) > 1 and used.getlength(_writable(line, used)) > width:
            fitting = bisect_right(
                range(1, len(line)), width, key=lambda n: used.getlength(_writable(line[:n], used))
            )
            fitting = max(1, fitting)
            lines.append(line[:fitting])
            line = line[fitting:]
    lines.append(line)
    if most and len(lines) > most:
        last = lines[most - 1]
        while last and used.getlength(_writable(f"{last}…", used)) > width:
            last = last[:-1]
        lines = [*lines[: most - 1], f"{last.rstrip()}…"]
    return lines


def _writable(text: str, used: Any) -> str:
    """Text with only the characters of a font."""
    if isinstance(used, ImageFont.FreeTypeFont) and used.getname()[0] != "Aileron":
        return text
    return text.translate(_PLAIN).encode("latin-1", "replace").decode("latin-1")


# -- a sheet --------------------------------------------------------------------------------------

MARGIN, GAP, PARAGRAPH = 56, 20, 6
TITLE, SUBTITLE, HEADING, SMALL = 38, 22, 22, 18
LARGEST, ALONE = 600, 1000
"""Largest width of a tile in pixels, among others and alone."""

MOST_PIXELS = 40_000_000
"""Largest size of a sheet; larger ones are scaled down."""


def sheet(
    title: str,
    line: str,
    rows: Sequence[Sequence[Tile]],
    notes: Sequence[str] = (),
    footer: Sequence[str] = (),
    width: int = 1920,
) -> Image.Image:
    """Rows of tiles under a title, with notes below: a picture for slides.

    Parameters
    ----------
    line
        Below the title.
    rows
        Tiles side by side, of equal width.
    notes, footer
        Paragraphs below the tiles; the footer is paler.
    width
        Pixels.

    Returns
    -------
    PIL.Image.Image
        RGB on white, as high as necessary.
    """
    room = width - 2 * MARGIN
    alone = sum(len(row) for row in rows) == 1
    placed = [_Row(row, room, ALONE if alone else LARGEST) for row in rows if row]
    texts = [
        *((part, TITLE, INK, True) for part in lines_of(title, TITLE, room, 2, bold=True)),
        *(
            (part, SUBTITLE, PALE, False)
            for part in (lines_of(line, SUBTITLE, room) if line else [])
        ),
    ]
    ends = [
        [(part, size, color) for part in lines_of(note, size, room)]
        for given, size, color in ((notes, SMALL, INK), (footer, SMALL - 2, PALE))
        for note in given
    ]
    height = 2 * MARGIN + sum(round(1.35 * size) for _, size, *_ in texts) + 12
    height += sum(row.height + GAP for row in placed) + sum(
        PARAGRAPH + sum(round(1.5 * size) for _, size, _ in paragraph) for paragraph in ends
    )
    if width * height > MOST_PIXELS and width > 600:
        return sheet(title, line, rows, notes, footer, max(600, width // 2))
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    top = MARGIN
    for text, size, color, bold in texts:
        write(draw, (MARGIN, top), text, size, color, bold)
        top += round(1.35 * size)
    top += 12
    for row in placed:
        row.draw(canvas, draw, top)
        top += row.height + GAP
    for paragraph in ends:
        top += PARAGRAPH
        for text, size, color in paragraph:
            write(draw, (MARGIN, top), text, size, color)
            top += round(1.5 * size)
    return canvas


class _Row:
    """Tiles side by side, and their common height."""

    def __init__(self, tiles: Sequence[Tile], room: int, largest: int) -> None:
        self.tiles = tiles
        wide = max(tile.image.width / tile.image.height for tile in tiles) > 1.9
        limit = room if wide else largest
        self.width = min(limit, (room - GAP * (len(tiles) - 1)) // len(tiles))
        self.heading = HEADING if self.width > 240 else 14
        self.small = SMALL if self.width > 240 else 12
        self.titles = [
            lines_of(t.title, self.heading, self.width, 2, bold=True) if t.title else []
            for t in tiles
        ]
        self.subtitles = [
            lines_of(t.subtitle, self.small, self.width, 3) if t.subtitle else [] for t in tiles
        ]
        self.units = [
            lines_of(t.bar.unit, self.small - 2, self.width, 2) if t.bar and t.bar.unit else []
            for t in tiles
        ]
        self.above = max(
            round(1.3 * self.heading) * len(a) + round(1.35 * self.small) * len(b)
            for a, b in zip(self.titles, self.subtitles, strict=True)
        )
        self.above += 8 if self.above else 0
        self.tall = [round(self.width * t.image.height / t.image.width) for t in tiles]
        below = [
            (16 + round(2.6 * self.small) + round(1.3 * self.small) * len(unit)) if tile.bar else 0
            for tile, unit in zip(tiles, self.units, strict=True)
        ]
        self.height = self.above + max(a + b for a, b in zip(self.tall, below, strict=True))

    def draw(self, canvas: Image.Image, draw: ImageDraw.ImageDraw, top: int) -> None:
        for place, tile in enumerate(self.tiles):
            left, line = MARGIN + place * (self.width + GAP), top
            for text in self.titles[place]:
                write(draw, (left, line), text, self.heading, bold=True)
                line += round(1.3 * self.heading)
            for text in self.subtitles[place]:
                write(draw, (left, line), text, self.small, PALE)
                line += round(1.35 * self.small)
            size = (self.width, max(1, self.tall[place]))
            image = tile.image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
            canvas.paste(image, (left, top + self.above))
            if tile.bar is not None:
                below = top + self.above + self.tall[place] + 10
                self._bar(canvas, draw, tile.bar, left, below, self.units[place])

    def _bar(
        self,
        canvas: Image.Image,
        draw: ImageDraw.ImageDraw,
        bar: Bar,
        left: int,
        top: int,
        unit: Sequence[str],
    ) -> None:
        ramp = np.linspace(0, 1, self.width)[None].repeat(14, axis=0)
        paper = Image.new("RGB", (self.width, 14), PAPER)
        strip = overlay(paper, ramp, Bar(bar.scale, 0.0, 1.0, ""), opacity=1.0, smooth=False)
        canvas.paste(strip, (left, top))
        middle = (bar.low + bar.high) / 2
        for share, value, anchor in ((0, bar.low, "la"), (0.5, middle, "ma"), (1, bar.high, "ra")):
            place = (left + share * self.width, top + 18)
            write(draw, place, f"{value:.3g}", self.small - 2, PALE, anchor=anchor)
        top += 18 + round(1.3 * self.small)
        for text in unit:
            write(draw, (left, top), text, self.small - 2, PALE)
            top += round(1.3 * self.small)
