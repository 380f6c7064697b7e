"""What every page exports: the same arrays by manifest, by archive and by the lines of Python."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import core
from core import rendering
from core.rendering import Bar
from dashboard import (
    archive,
    export,
    figures,
    manifest,
    measurements,
    python_lines,
    stills,
)
from dashboard.manifest import ManifestError
from dashboard.view import View, slug
from tests.support.application import hold_no_own_pictures, png, shown_by, start, upload

ROOT = Path(__file__).resolve().parents[2]

TWO = ["net-a", "vit-a"]
"""Small models, for what takes many passes."""

SIX = [sample.id for sample in core.samples()[:6]]
"""A set of pictures for which nothing is shipped."""

SCREENS: dict[str, tuple[str, dict[str, str | list[str]]]] = {
    "compare": ("compare", {}),
    "parameters": (
        "compare",
        {"image": "coffee", "vit_map": "rollout", "vit_map__fusion": "max", "size": "336"},
    ),
    "classes": ("gradient_rollout", {"fit": "whole", "classes": ["espresso", "tabby"]}),
    "layers and heads": ("attention", {"query": "r4c7"}),
    "one layer": ("attention", {"tab": "layer", "layer": "3", "mass": "0.3"}),
    "matrix": ("attention", {"tab": "layer", "matrix": "yes", "head": "2"}),
    "joint": ("attention", {"tab": "joint", "discard": "0.5"}),
    "channels": ("attention", {"tab": "channels"}),
    "similarity": ("attention", {"tab": "similarity"}),
    "several": ("attention", {"tab": "several", "several": ["coffee", "camera"]}),
    "taken away": ("evidence", {"fill": "noise", "seed": "3"}),
    "patches": ("evidence", {"change": "patches", "removed": "16x16-" + "00ff" * 16}),
    "shuffled": ("evidence", {"change": "shuffle", "strength": "4", "seed": "2"}),
    "curves": (
        "evidence",
        {"question": "curves", "measured": "yes", "m": TWO, "maps": ["vit-a:rollout"]},
    ),
    "randomized": (
        "evidence",
        {
            "question": "randomization",
            "measured": "yes",
            "m": TWO,
            "look": ["net-a", "vit-a:rollout"],
        },
    ),
    "rather than": (
        "evidence",
        {
            "question": "curves",
            "measured": "yes",
            "m": ["net-a"],
            "look": ["net-a"],
            "rather_than": "tabby",
        },
    ),
    "layers": (
        "representation",
        {"picture_set": SIX, "represents": "layers", "layers_measured": "yes"},
    ),
    "far": ("representation", {"picture_set": SIX, "represents": "distance", "fit": "whole"}),
    "norms": (
        "representation",
        {"picture_set": SIX, "represents": "norms", "layers_measured": "yes"},
    ),
    "near": (
        "representation",
        {"picture_set": SIX, "represents": "neighbors", "layers_measured": "yes"},
    ),
    "four in one": ("evidence", {"question": "pointing", "vit_map": "legrad"}),
}
"""By name, a page and an address."""


USUAL = ("compare", "classes", "layers and heads", "shuffled", "norms", "four in one")
"""One of each page that shows models; the others are slow tests."""

NAMES = [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in SCREENS]


@pytest.fixture(autouse=True)
def _own(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLAX_MODELS", str(small))


class Drawn(dict[str, View]):
    """Screens by name, each drawn when it is first asked for."""

    def __missing__(self, name: str) -> View:
        page, query = SCREENS[name]
        return self.setdefault(name, shown_by(start(page, **query)))


@pytest.fixture(scope="module")
def every() -> Iterator[Drawn]:
    """All screens, with few passes for a curve."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "STEPS", 4)
        patch.setattr(measurements, "SEEDS", range(5))
        yield Drawn()


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_opens_to_the_same_arrays(every: Drawn, name: str) -> None:
    shown = every[name]
    assert shown.arrays
    text = export.described(shown, "A title", "Ada").json_text()
    then = manifest.read(text.encode())
    assert then.screen == shown.screen
    query = {key.replace(".", "__"): list(texts) for key, texts in then.address.items()}
    again = shown_by(start(then.page, **query))
    assert again.arrays.keys() == shown.arrays.keys()
    for key, array in shown.arrays.items():
        assert np.array_equal(array.values, again.arrays[key].values, equal_nan=True), key
    assert manifest.differences(then, export.described(again)) == []


def run_lines(*folders: Path) -> None:
    """Run the lines in each folder, in one fresh interpreter."""
    runner = (
        "import os, sys, torch; torch.set_num_threads(1)\n"
        "for folder in sys.argv[1:]:\n"
        "    os.chdir(folder); exec(open('arrays.py', encoding='utf-8').read(), {})\n"
    )
    command = [sys.executable, "-c", runner, *map(str, folders)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def same_arrays(shown: View, folder: Path) -> None:
    """The lines that were run in a folder made all arrays of a screen, to the last bit."""
    found = np.load(folder / "arrays.npz")
    assert set(found.files) == set(shown.arrays)
    for key, array in shown.arrays.items():
        assert np.array_equal(found[key], array.values, equal_nan=True), f"{folder.name}: {key}"


@pytest.mark.slow
def test_the_lines_of_python_make_the_same_arrays(every: Drawn, tmp_path: Path) -> None:
    """All screens' lines run in one fresh interpreter that knows nothing but `core`."""
    scripts = {name: python_lines.script(every[name]) for name in SCREENS}
    for name, text in scripts.items():
        assert "dashboard" not in text
        assert "streamlit" not in text
        folder = tmp_path / name
        folder.mkdir()
        (folder / "arrays.py").write_text(text, encoding="utf-8")
    run_lines(*(tmp_path / name for name in scripts))
    for name in SCREENS:
        same_arrays(every[name], tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_every_page_has_a_still_a_report_and_its_arrays(every: Drawn, name: str) -> None:
    shown = every[name]
    for kept in shown.figures.values():
        assert stills.tiles(kept.figure), kept.alt
    still = export.still(shown)
    assert still.width >= 600
    assert np.asarray(still).std() > 20
    assert max(export.thumbnail(shown).size) <= max(export.THUMBNAIL)
    arrays = archive.read_npz(archive.write_npz(export.arrays_of(shown)))
    assert arrays.keys() == shown.arrays.keys()
    report = export.report(shown, python_lines.script(shown))
    assert report.count('class="figure"') == len(shown.figures)
    library = report.index("</script>")
    assert "<script src" not in report[library:]
    assert "<link" not in report


def test_a_still_shows_the_very_overlay(every: Drawn) -> None:
    shown = every["compare"]
    [kept] = shown.figures.values()
    picture, cam, rollout = stills.tiles(kept.figure)
    assert (picture.title, cam.title) == ("Picture", "EfficientNet-Lite0")
    assert cam.subtitle.startswith("CAM Egyptian cat · ")
    assert cam.bar is not None
    assert cam.bar.low == 0
    found = next(e for e in shown.explanations if e.method == "gradient_rollout")
    assert rollout.bar is not None
    scale = [
        (float(place), tuple(float(n) for n in color[5:-1].split(",")))
        for place, color in figures.fading("Inferno")
    ]
    bar = Bar(scale, rollout.bar.low, rollout.bar.high, "")
    large = found.view.resize(rollout.image.size, Image.Resampling.BICUBIC)
    wanted = rendering.overlay(large, found.relevance, bar, opacity=shown.screen.shared.opacity)
    gap = np.abs(np.asarray(wanted, dtype=int) - np.asarray(rollout.image, dtype=int))
    assert gap.mean() < 6, "but for JPEG in the figure"


def test_notes_name_method_parameters_and_caveats(
    every: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    write = rendering.write

    def noted(draw: object, place: object, text: str, *more: object, **options: object) -> None:
        drawn.append(text)
        write(draw, place, text, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(rendering, "write", noted)
    export.still(every["parameters"], "My title")
    text = " ".join(drawn)
    caveat = core.find_method("rollout").caveat
    for said in ("My title", "Attention rollout", "Fusion max, discard 0", "336 px", "espresso"):
        assert said in text
    assert caveat.split(".")[0] in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("taken away", {"taken-away", "what-if-efficientnet-lite0", "what-if-dinov2-small"}),
        ("shuffled", {"changed-picture", "shuffle-dinov2-small", "what-if-dinov2-small"}),
        ("curves", {"curves-rollout-vit-a", "curves-random-net-a"}),
        (
            "randomized",
            {"randomized-rollout-vit-a", "rank-correlation-cam-net-a"},
        ),
        ("four in one", {"four-in-one-dinov2-small", "quarter-4-cam-efficientnet-lite0"}),
    ],
)
def test_what_is_measured_is_among_the_arrays(every: Drawn, name: str, wanted: set[str]) -> None:
    assert wanted <= every[name].arrays.keys()


# -- what differs ---------------------------------------------------------------------------------


def test_what_differs_is_said(every: Drawn) -> None:
    now = export.described(every["compare"])
    model_id, model = next(iter(now.models.items()))
    name, array = next(iter(now.arrays.items()))
    other = "0" * 64
    retrained = model.model_copy(update={"weights_sha256": other})
    weights = now.model_copy(update={"models": now.models | {model_id: retrained}})
    assert manifest.differences(weights, now) == [f"{model.title} had different weights."]
    picture = now.model_copy(
        update={"pictures": (now.pictures[0].model_copy(update={"sha256": other}),)}
    )
    assert "was different" in " ".join(manifest.differences(picture, now))
    older = now.model_copy(
        update={
            "arrays": now.arrays | {name: array.model_copy(update={"sha256": other})},
            "versions": now.versions | {"torch": "1.0"},
        }
    )
    said = " ".join(manifest.differences(older, now))
    assert f"1 of {len(now.arrays)} arrays differ in at least one bit" in said
    assert "torch 1.0, here" in said
    only_versions = now.model_copy(update={"versions": {"torch": "1.0"}})
    assert manifest.differences(only_versions, now) == []
    more = now.model_copy(update={"arrays": now.arrays | {"more": array}})
    assert "not been computed here yet" in " ".join(manifest.differences(more, now))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b"\xff\xfe",
        b'{"parallax": 1}',
        b"[" * 200_000,
        b'{"parallax": 1, "created": "now", "page": "compare", "address": {}}',
        b'{"parallax": 1, "created": "2026-01-01T00:00:00Z", "page": "nowhere", "address": {}}',
        b'{"parallax": 1, "created": "2026-01-01T00:00:00Z", "page": "compare", "address": [1]}',
        b'{"parallax": 1, "created": "2026-01-01T00:00:00Z", "page": "compare", '
        b'"address": {"colors": []}}',
        b"x" * (3 * 2**20),
    ],
    ids=range(11),
)
def test_a_hostile_manifest_is_one_sentence(data: bytes) -> None:
    with pytest.raises(ManifestError) as caught:
        manifest.read(data)
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 320
    assert "\n" not in str(caught.value)


def test_hostile_choices_of_a_manifest_are_left_out_with_a_sentence() -> None:
    text = (
        '{"parallax": 1, "created": "2026-01-01T00:00:00Z", "page": "compare", "address": '
        '{"opacity": ["7"], "nothing": ["x"], "image": ["coffee"], "colors": ["x"]}}'
    )
    screen, problems = manifest.read(text).read_screen()
    assert screen.shared.image == "coffee"
    assert len(problems) == 3


# -- a picture of one's own, elsewhere ------------------------------------------------------------


def test_an_archive_opens_elsewhere_to_the_same_arrays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another store, and nobody who holds the picture: it comes out of the archive."""
    from dashboard import cache

    app = start()
    rng = np.random.default_rng(3).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    name = "<b>mine</b> ![x](http://evil.example/y).png"
    shown = shown_by(upload(app, name, png(Image.fromarray(rng))))
    made = archive.write([export.draft(shown, cache.own_pictures(), "Elsewhere", "Ada", "A note")])

    monkeypatch.setenv("PARALLAX_STORE", f"sqlite:///{tmp_path / 'elsewhere.sqlite'}")
    hold_no_own_pictures(monkeypatch)
    [screen_id] = [cache.store().save(draft) for draft in archive.read(made)]
    saved = cache.store().get(screen_id)
    assert saved is not None
    then = manifest.read(saved.manifest)
    query = {key.replace(".", "__"): list(texts) for key, texts in then.address.items()}
    again = shown_by(start(then.page, **query))
    assert next(iter(again.pictures.values())).name == name
    assert manifest.differences(then, export.described(again)) == []
    stored = archive.read_npz(cache.store().arrays(screen_id))
    for key, array in again.arrays.items():
        assert np.array_equal(array.values, stored[key])
    report = export.report(again, python_lines.script(again), "<script>alert(1)</script>")
    assert "<script>alert(1)" not in report
    assert (
        "<b>mine"
        not in report[report.index("</script>") :]
        .replace("\\u003c", "<")
        .split("Plotly.newPlot")[0]
    )


@pytest.mark.slow
def test_the_lines_run_inside_an_unpacked_archive(tmp_path: Path) -> None:
    """A picture of one's own is read from where the archive has it."""
    from dashboard import cache

    app = start(vit_map="rollout")
    rng = np.random.default_rng(4).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    shown = shown_by(upload(app, "mine.png", png(Image.fromarray(rng))))
    made = export.everything(shown, cache.own_pictures(), "Ada")
    assert len(archive.read(made)) == 1, "and can still be imported"
    with zipfile.ZipFile(io.BytesIO(made)) as opened:
        opened.extractall(tmp_path)
    run_lines(tmp_path)
    same_arrays(shown, tmp_path)


def test_the_names_of_arrays_are_fit_for_files() -> None:
    for text in ("../../x", "a/b\\c", "", "漢字", "x" * 500, 'a"; rm'):
        found = slug(text)
        assert found
        assert len(found) <= 80
        assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_an_npz_is_what_numpy_reads() -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([[True]])}
    data = archive.write_npz(arrays)
    found = np.load(io.BytesIO(data), allow_pickle=False)
    assert all(np.array_equal(found[name], values) for name, values in arrays.items())
    assert archive.write_npz(arrays) == data, "equal arrays, equal bytes"
