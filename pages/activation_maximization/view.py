"""Content of Activation maximization: planned and finished pictures."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from core import seam_energy_of
from dashboard import cache, figures
from dashboard.view import Figure, Maker, View
from pages.activation_maximization.options import Options
from pages.activation_maximization.run import Made, Result, Run, made_of
from pages.activation_maximization.settings import Settings, settings


@dataclass(frozen=True, eq=False)
class Picture:
    """An optimized picture.

    Attributes
    ----------
    image
        The picture at the time of the view, on white if that is chosen.
    faded
        Whether it is on white.
    name
        Title with the objective.
    steps
        Number of steps done.
    energy
        Seam energy of the picture without transparency.
    """

    result: Result
    image: Image.Image
    name: str
    steps: int
    energy: float
    faded: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Maximization(View):
    """Content of Activation maximization.

    Attributes
    ----------
    run
        The current run; its state changes.
    results
        Pictures of the last finished run.
    failures
        Why pictures of that run failed, one sentence each.
    losses
        Curves of the losses; ``None`` without pictures.
    """

    settings: Settings
    run: Run | None
    results: tuple[Picture, ...]
    failures: tuple[str, ...]
    losses: Figure | None


def view(make: Maker, made: Made | None = None) -> Maximization:
    """The view of the screen, with the results.

    Parameters
    ----------
    made
        Results of a session so far; without them, all pictures are computed now.
    """
    scene = make.looked_at
    chosen = settings(make, [cache.model(model_id) for model_id in scene.ids])
    if made is None:
        made = made_of(chosen.tasks)
        for sentence in (*chosen.refusals, *made.problems):
            make.problem(sentence)
    return make.view(
        Maximization,
        settings=chosen,
        run=made.run,
        results=tuple(_picture(make, result) for result in made.results),
        failures=made.problems,
        losses=_losses(make, made),
    )


def _picture(make: Maker, result: Result) -> Picture:
    assert result.image is not None, "only what has grown is a result"
    energy = seam_energy_of(result.image, result.patch)
    white = result.on_white if make.screen.of(Options).transparency == "white" else None
    image = white or result.image
    shown = ".on_white()" if white else ".image"
    make.picture(result.name, image, f"np.asarray({result.code}{shown})")
    return Picture(result, image, result.name, len(result.history), energy, white is not None)


def _losses(make: Maker, made: Made) -> Figure | None:
    if not made.results:
        return None
    losses = {result.title: result.history for result in made.results}
    curves = figures.curves(losses, "loss")
    return make.show(Figure("maximization-loss", curves, "Loss over the steps"))
