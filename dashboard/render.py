"""Export of a link or a manifest: ``python -m dashboard.render LINK --out FOLDER``.

The same files as those of the buttons of **Save & export**, without a server or a browser.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import core
from core import ParallaxError
from dashboard import cache, export, manifest, settings
from dashboard.opening import OPENING
from dashboard.registry import pages
from dashboard.scene import Picture, Scene, framing_of
from dashboard.screen import Screen, link_of
from dashboard.uploads import OWN
from dashboard.view import Maker, View

WITHOUT = ("review",)
"""Pages with data stored on a server, which cannot be rendered elsewhere."""

LONGEST = 2**20
"""Most bytes of a file of links."""


class RenderError(ParallaxError):
    """The link cannot be rendered."""


@dataclass(frozen=True)
class Wanted:
    """A screen to render.

    Attributes
    ----------
    link
        Its link in a browser; empty if unknown.
    problems
        Invalid parts of its address, one sentence each.
    """

    screen: Screen
    link: str = ""
    problems: tuple[str, ...] = ()


def read(given: str) -> list[Wanted]:
    """The screens of a link, of a manifest, or of a file with one link per line.

    Raises
    ------
    RenderError
        It is none of these.
    ManifestError
        The file is JSON, but not a manifest.
    """
    path = Path(given)
    if "?" in given or "//" in given or not path.is_file():
        return [_of_link(given)]
    if path.suffix == ".json":
        about = manifest.read(path.read_bytes()[: manifest.LARGEST + 1])
        screen, problems = about.read_screen()
        return [Wanted(screen, about.link, tuple(problems))]
    lines = path.read_bytes()[:LONGEST].decode("utf-8", "replace").splitlines()
    links = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not links:
        raise RenderError(f"{path.name} has no links; write one link per line.")
    return [_of_link(link) for link in links]


def _of_link(text: str) -> Wanted:
    parts = urlsplit(text)
    name = parts.path.rstrip("/").rpartition("/")[2] or "compare"
    if name not in pages():
        known = ", ".join(f"/{page}" for page in pages() if page not in WITHOUT)
        raise RenderError(
            f"{text[:200]!r} is not a link to a page; expected one whose path ends with {known}, "
            "with the choices after a question mark, or the path of a manifest or of a file of "
            "links."
        )
    given = parse_qs(parts.query, keep_blank_values=True)
    screen, problems = Screen.from_address(name, given, OPENING)
    base = text.partition("?")[0] if parts.netloc else ""
    return Wanted(screen, link_of(base, screen), tuple(problems))


def view(wanted: Wanted, picture: bytes | None = None, name: str = "") -> View:
    """The view of a screen.

    Parameters
    ----------
    picture, name
        A file to use as the screen's picture, which is held by a server, and its name.

    Raises
    ------
    ParallaxError
        The page, its picture or a model is not available.
    """
    screen = wanted.screen
    if screen.page in WITHOUT:
        raise RenderError(
            f"The page {pages()[screen.page].title} shows data stored on a server; give a link to "
            "another page, or a manifest."
        )
    make = Maker(screen, pages()[screen.page].title, wanted.link)
    for sentence in wanted.problems:
        make.problem(sentence)
    opened = [cache.model(model_id) for model_id in screen.shared.m]
    scene = Scene(
        _picture(screen, picture, name),
        tuple(model.spec for model in opened),
        framing_of(screen.shared),
    )
    make.look_at(screen, scene, *opened)
    of_page: Callable[[Maker], View] = pages()[screen.page].part("view").view
    with cache.reading_once():
        return of_page(make)


def _picture(screen: Screen, file: bytes | None, name: str) -> Picture:
    if file is not None:
        held = cache.from_bytes(file, name)
        cache.own_pictures().put(name, file)
        return held
    for sample in core.samples():
        if sample.id == screen.shared.image:
            return cache.from_sample(sample)
    own = cache.own_picture(screen.shared.image) if screen.shared.image.startswith(OWN) else None
    if own is not None:  # it was saved, in the store of the settings
        return own
    raise RenderError(
        f"The picture {screen.shared.image[:60]!r} is held only by the server of the link; give "
        "its file with --picture."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m dashboard.render", description=__doc__)
    parser.add_argument("given", metavar="LINK", help="a link, a manifest, or a file of links")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument(
        "--picture", type=Path, help="file of a picture that was uploaded to a server"
    )
    for ending, kind in export.FILES.items():
        flag = "python" if ending == "py" else ending
        parser.add_argument(f"--{flag}", dest=ending, action="store_true", help=kind.help)
    chosen = parser.parse_args(arguments)
    endings = [ending for ending in export.FILES if getattr(chosen, ending)] or ["png"]
    try:
        settings.apply()
        screens = read(chosen.given)
        picture = chosen.picture.read_bytes() if chosen.picture else None
        chosen.out.mkdir(parents=True, exist_ok=True)
        for number, wanted in enumerate(screens, 1):
            made = view(wanted, picture, chosen.picture.name if chosen.picture else "")
            for sentence in made.problems:
                print(sentence, file=sys.stderr)
            first = f"{number:03d}-" if len(screens) > 1 else ""
            for ending in endings:
                file = chosen.out / f"{first}{export.file_name(made.title, made.screen)}.{ending}"
                file.write_bytes(export.FILES[ending].make(made, cache.own_pictures(), ""))
                print(file)
    except (ParallaxError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    import pages as _pages  # noqa: F401 - registers all pages

    sys.exit(main())
