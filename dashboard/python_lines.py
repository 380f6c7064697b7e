"""Lines of Python that compute the arrays of a view with `core` alone."""

from __future__ import annotations

from core import samples
from dashboard import cache
from dashboard.scene import Picture, Scene
from dashboard.view import View


def source(picture: Picture) -> str:
    """The expression that reads a picture."""
    for sample in samples():
        if sample.id == picture.id:
            return f"core.read_image({{s.id: s for s in core.samples()}}[{sample.id!r}].path)"
    return f"core.read_image(Path('pictures', {picture.digest!r}))"


def view(picture: Picture, scene: Scene) -> str:
    """The expression for the view of a picture, the same for all models; uses ``models``."""
    every = ", ".join(f"models[{model_id!r}]" for model_id in scene.ids)
    framing = f"core.Framing({scene.framing.fit!r}, {scene.framing.size!r})"
    return f"core.shared_view([{every}], {source(picture)}, {framing})"


def script(of: View, file: str = "arrays.py") -> str:
    """The whole script: pictures, models, one line for each array, and a file of arrays.

    The first line is the command that runs it, by the name of its file.

    Expressions of `View.arrays` may use ``core``, ``np``, ``Image``, ``heatmaps``, ``models`` (by
    id), ``view``, ``given`` (the framing of fitted pictures), ``attention`` (of
    `View.transformer`) and ``arrays``, as far as they are already stored.
    """
    scene = of.scene
    lines = [f"# python {file}"]
    lines += [f'"""{_line(of.title)}: the arrays of a screen, made again with core alone.']
    lines += [
        "",
        "For `core`, run `pip install -e FOLDER` once, with the folder of Parallax.",
    ]
    own = [p for p in of.pictures.values() if not any(s.id == p.id for s in samples())]
    if own:
        lines += [
            "",
            "Pictures that do not come with the application are read from pictures/, as an",
            "exported ZIP has them, each named by the SHA-256 of its file, without an extension:",
        ]
        lines += [f"    {p.digest}" for p in own]
    lines += ['"""', "", "from pathlib import Path  # noqa: F401", "", "import numpy as np"]
    lines += ["from PIL import Image  # noqa: F401", "", "import core"]
    lines += ["from core import heatmaps, representations  # noqa: F401", ""]
    if scene is not None:
        lines += [
            *_models(scene),
            f"view = {view(scene.picture, scene)}",
            'given = core.Framing("given")',
        ]
        if any("attention." in array.code for array in of.arrays.values()):
            lines += [f"attention = core.attention(models[{of.transformer!r}], view, given)"]
    lines += ["", "arrays = {}"]
    lines += [f"arrays[{name!r}] = {array.code}" for name, array in of.arrays.items()]
    lines += ["", 'np.savez_compressed("arrays.npz", **arrays)']
    return "\n".join(lines) + "\n"


def _models(scene: Scene) -> list[str]:
    """Lines that open the models, those that were opened from a page by their files."""
    own = {model_id: cache.own_model(model_id) for model_id in scene.ids}
    listed = tuple(model_id for model_id, held in own.items() if held is None)
    lines = [f"models = {{name: core.open_model(name) for name in {listed!r}}}"]
    for model_id, held in own.items():
        if held is not None:
            lines.append(f"models[{model_id!r}] = {held.code}")
    return lines


def _line(text: str) -> str:
    """A text that cannot end a docstring."""
    return " ".join(text.replace("\\", " ").replace('"', "'").split())
