"""Exports of a page: a picture for slides, arrays, a manifest, a report, lines of Python.

Every file is made from a `View` on request. Independent of Streamlit.
"""

from __future__ import annotations

import html
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy.typing as npt
import plotly.graph_objects as go
from PIL import Image

import core
from core import ParallaxError, rendering, samples
from dashboard import archive, cache, manifest, python_lines, rows, stills
from dashboard.figures import data_uri, jpeg, png
from dashboard.manifest import Manifest, ModelOf, PictureOf
from dashboard.scene import Picture
from dashboard.screen import Screen
from dashboard.store import Draft, File, Note
from dashboard.uploads import OwnPictures
from dashboard.view import INK, View, slug

ABREAST = 3
"""Panels side by side in a still picture, of figures with one panel."""

LARGEST = 2000
"""Longest side in pixels of a screen's saved still picture."""

THUMBNAIL = (480, 200)
"""Largest width and height in pixels of a saved screen's thumbnail."""


# -- a still picture ------------------------------------------------------------------------------


def still(view: View, title: str = "") -> Image.Image:
    """The page as one picture: every figure with titles and scales, methods, caveats, the link."""
    about = [view.title if title else "", *_setting(view)]
    return rendering.sheet(
        title or view.title,
        " · ".join(filter(None, about)),
        _rows(view),
        _notes(view),
        _footer(view.link),
    )


def _rows(view: View) -> list[list[rendering.Tile]]:
    """Rows of tiles: those of a figure, with single ones beside them."""
    lines = [[rendering.Tile(name, "", image) for name, image in view.made.items()]]
    for kept in view.figures.values():
        found = stills.tiles(kept.figure)
        if len(found) == 1 and not found[0].title:
            found = [replace(found[0], subtitle=kept.alt)]
        if 1 in (len(found), len(lines[-1])) and len(lines[-1]) + len(found) <= ABREAST:
            lines[-1] += found
        else:
            lines.append(found)
    return lines


def thumbnail(view: View) -> Image.Image:
    """The first panels of a page side by side, small."""
    tiles = [tile for row in _rows(view)[:3] for tile in row]
    seen = [tile.image.crop((0, 0, tile.image.width, min(tile.image.size))) for tile in tiles[:3]]
    if not seen and view.scene is not None:
        seen = [view.scene.picture.image]
    if not seen:
        return Image.new("RGB", (THUMBNAIL[1], THUMBNAIL[1]), (230, 230, 230))
    height = THUMBNAIL[1]
    scaled = [p.resize((max(1, round(height * p.width / p.height)), height)) for p in seen]
    wide = sum(p.width for p in scaled) + 4 * (len(scaled) - 1)
    joined = Image.new("RGB", (wide, height), (255, 255, 255))
    left = 0
    for panel in scaled:
        joined.paste(panel, (left, 0))
        left += panel.width + 4
    joined.thumbnail(THUMBNAIL)
    return joined


def _setting(view: View) -> list[str]:
    """Picture, models and fit in a few words each."""
    scene = view.scene
    if scene is None:
        return []
    framing = scene.framing
    size = "the models' own size" if framing.size is None else f"{framing.size} px"
    *most, last = [spec.title for spec in scene.models]
    models = " and ".join(filter(None, [", ".join(most), last]))
    return [scene.picture.name, models, f"fit {framing.fit}, {size}"]


def _notes(view: View) -> list[str]:
    """What a reader must know about each map: method with parameters, and its caveats."""
    said = []
    for found in view.explanations:
        title = cache.spec(found.model_id).title
        caveat = core.find_method(found.method).caveat
        label = found.label or "no class"
        parts = [f"{title}, {found.title}, {label}.", rows.definition(found), *found.notes, caveat]
        said.append(" ".join(filter(None, parts)))
    look = view.screen.shared
    scale = "one scale for all maps" if look.scale == "shared" else "each map on its own scale"
    clip = f", the top {100 - look.clip:g} % clipped" if look.clip < 100 else ""
    colors = [f"Colors {look.colors}, {scale}{clip}."] if view.figures else []
    return [*dict.fromkeys(said), *colors]


def _footer(link: str) -> list[str]:
    versions = core.versions()
    known = [f"{name} {versions[name]}" for name in ("torch", "timm") if name in versions]
    return list(filter(None, [link, f"Made with Parallax ({', '.join(known)})."]))


# -- arrays ---------------------------------------------------------------------------------------


def arrays_of(view: View) -> dict[str, npt.NDArray[Any]]:
    """All raw arrays of a page by name."""
    return {name: array.values for name, array in view.arrays.items()}


# -- a report -------------------------------------------------------------------------------------

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src data:">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1f2430; background: #fff;
  max-width: 1120px; margin: 2rem auto; padding: 0 1.25rem; }}
h1 {{ font-size: 1.6rem; margin: 0; }} h2 {{ font-size: 1.1rem; margin: 2rem 0 .5rem; }}
.pale {{ color: #60667a; }} .figure {{ container-type: inline-size; margin: 1.25rem 0; }}
table {{ border-collapse: collapse; font-size: .9rem; }} td, th {{ padding: .15rem .8rem .15rem 0;
  text-align: left; vertical-align: top; }} pre {{ overflow: auto; font-size: .8rem;
  background: #f4f2ee; padding: 1rem; border-radius: .5rem; }}
img {{ max-width: 100%; }} p.break {{ overflow-wrap: anywhere; }}
</style>{library}</head><body>
<h1>{title}</h1><p class="pale">{line}</p>
{body}
</body></html>
"""


def report(view: View, code: str, title: str = "", notes: str = "") -> str:
    """The page as one HTML file that needs no network: figures stay interactive.

    Parameters
    ----------
    code
        Lines of Python, shown at the end.
    notes
        Notes of users.
    """
    from plotly.offline import get_plotlyjs

    about = [view.title if title else "", *_setting(view)]
    parts = [f"<p>{html.escape(text)}</p>" for text in notes.splitlines() if text.strip()]
    for name, image in view.made.items():
        parts.append(
            f"<h2>{html.escape(name)}</h2><img src={_quoted(data_uri(image, 92))} "
            f"alt={_quoted(name)}>"
        )
    for number, kept in enumerate(view.figures.values(), 1):
        height = kept.height or f"{kept.figure.layout.height or 450}px"
        chart = _alone(kept.figure).to_html(
            full_html=False,
            include_plotlyjs=False,
            default_height="100%",
            div_id=f"figure-{number}",  # equal bytes for equal views
            config={"displaylogo": False, "responsive": True},
        )
        parts.append(
            f'<div class="figure"><div role="img" aria-label={_quoted(kept.alt)} '
            f'style="height: {html.escape(height)}">{chart}</div></div>'
        )
    parts += _answers(view)
    parts += ["<h2>How to read the maps</h2>"] if _notes(view) else []
    parts += [f"<p>{html.escape(note)}</p>" for note in _notes(view)]
    parts += ["<h2>As Python</h2>", f"<pre>{html.escape(code)}</pre>"]
    parts += [f'<p class="pale break">{html.escape(text)}</p>' for text in _footer(view.link)]
    return _PAGE.format(
        title=html.escape(title or view.title),
        line=html.escape(" · ".join(filter(None, about))),
        library=f"<script>{get_plotlyjs()}</script>",
        body="\n".join(parts),
    )


def _alone(figure: go.Figure) -> go.Figure:
    """A copy with the fonts of a page."""
    alone = go.Figure(figure)
    return alone.update_layout(font={"family": "system-ui, sans-serif", "color": INK})


def _quoted(text: str) -> str:
    return f'"{html.escape(text, quote=True)}"'


def _answers(view: View) -> list[str]:
    if not view.answers:
        return []
    rows = [
        f"<tr><th>{html.escape(cache.spec(model_id).title)}</th><td>"
        + html.escape(", ".join(f"{name} {share:.1%}" for name, share in answers))
        + "</td></tr>"
        for model_id, answers in view.answers.items()
    ]
    return ["<h2>What the models answer</h2>", f"<table>{''.join(rows)}</table>"]


# -- a manifest -----------------------------------------------------------------------------------


def described(view: View, title: str = "", author: str = "") -> Manifest:
    """The manifest of a view."""
    return Manifest(
        parallax=manifest.VERSION,
        title=title[: manifest.TITLE],
        author=author[: manifest.AUTHOR],
        created=datetime.now(UTC),
        page=view.screen.page,
        address={key: tuple(texts) for key, texts in view.screen.address().items()},
        pictures=tuple(
            PictureOf(id=picture.id, name=picture.name[:200], sha256=picture.digest)
            for picture in list(view.pictures.values())[:16]
        ),
        models={
            model_id: ModelOf(title=cache.spec(model_id).title[:200], weights_sha256=digest)
            for model_id, digest in view.weights.items()
        },
        answers=view.answers,
        labels=tuple(label[:200] for label in view.labels[:32]),
        arrays={
            name: manifest.describe(
                array.values, None if array.explanation is None else array.explanation.manifest()
            )
            for name, array in view.arrays.items()
        },
        versions=dict(core.versions()),
        link=view.link[:4000],
    )


# -- to be stored and sent
# ---------------------------------------------------------------------------


def usual_title(view: View) -> str:
    """Default title of a view: those of the page and the picture."""
    pictures = [picture.name for picture in view.pictures.values()]
    return " · ".join([view.title, *pictures[:1]])[: manifest.TITLE]


def draft(view: View, own: OwnPictures, title: str, name: str = "", note: str = "") -> Draft:
    """A view, ready to be saved or exported.

    Parameters
    ----------
    own
        The uploaded files.
    """
    about = described(view, title, name)
    picture = still(view, title)
    picture.thumbnail((LARGEST, LARGEST))
    now = datetime.now(UTC)
    return Draft(
        title=title,
        author=name,
        page=view.screen.page,
        manifest=about.json_text(),
        pictures=[_file(picture, own) for picture in view.pictures.values()],
        thumbnail=jpeg(thumbnail(view)),
        still=jpeg(picture, quality=90),
        arrays=archive.write_npz(arrays_of(view)),
        facts=archive.facts(about),
        notes=[Note(uuid.uuid4().hex, name, note, now)] if note else [],
        id=uuid.uuid4().hex,
        created=now,
    )


def _file(picture: Picture, own: OwnPictures) -> File:
    """The original file of a picture."""
    for sample in samples():
        if sample.id == picture.id:
            return File(sample.path.name, sample.path.read_bytes())
    held = own.get(picture.id)
    if held is None:
        raise ParallaxError(
            f"The picture {picture.name} is no longer held here; upload it again, then save."
        )
    return File(*held)


def everything(view: View, own: OwnPictures, name: str = "") -> bytes:
    """All exports of a page in one ZIP file, pictures included; parameters as in `draft`."""
    lines = python_lines.script(view)
    extra = {"arrays.py": lines.encode(), "report.html": report(view, lines).encode()}
    return archive.write([draft(view, own, usual_title(view), name)], extra)


@dataclass(frozen=True)
class Kind:
    """A kind of file that a view is exported as.

    Attributes
    ----------
    make
        Function that makes the file from a view, the uploaded files, and the author's name.
    """

    title: str
    mime: str
    help: str
    make: Callable[[View, OwnPictures, str], bytes]


FILES: dict[str, Kind] = {
    "png": Kind(
        "Picture for slides",
        "image/png",
        "PNG: the maps with class, method, parameters, scale and caveats.",
        lambda view, own, name: png(still(view)),
    ),
    "html": Kind(
        "Report to send",
        "text/html",
        "HTML: this page in one file that needs no network; its figures stay interactive.",
        lambda view, own, name: report(view, python_lines.script(view)).encode(),
    ),
    "npz": Kind(
        "Numbers",
        "application/octet-stream",
        "NPZ: the raw arrays, for NumPy.",
        lambda view, own, name: archive.write_npz(arrays_of(view)),
    ),
    "py": Kind(
        "Script",
        "text/x-python",
        "Python: the lines of core that make the same arrays.",
        lambda view, own, name: python_lines.script(
            view, file_name(view.title, view.screen) + ".py"
        ).encode(),
    ),
    "json": Kind(
        "Reopen later",
        "application/json",
        "JSON: a manifest; the Review page opens it again and says what differs.",
        lambda view, own, name: described(view).json_text().encode(),
    ),
    "zip": Kind(
        "Everything",
        "application/zip",
        "ZIP: all of it with the pictures; the Review page of any Parallax imports it.",
        everything,
    ),
}
"""By the extension of the file."""


def file_name(title: str, screen: Screen) -> str:
    """Name of a page's files, without the extension."""
    return f"parallax-{slug(f'{title} {screen.shared.image}')}"
