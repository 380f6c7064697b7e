"""Drawing for pages that draw while they compute: figures are kept as they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from core import Explanation, MethodError
from dashboard import cache, figures, gather, panels, rows
from dashboard.choices import Choice, index_of
from dashboard.display import Display
from dashboard.scene import Scene
from dashboard.view import Figure

replaced = rows.without_spikes
settings = rows.definition


def chart(figure: Any, key: str, alt: str, **options: Any) -> Any:
    return panels.chart(gather.current().show(Figure(key, figure, alt)), **options)


def sized(
    figure: Any, key: str, alt: str, height: str, width: str = "100%", **options: Any
) -> None:
    exact = height if height.startswith("calc") else f"calc({height})"
    panels.chart(gather.current().show(Figure(key, figure, alt, exact, width)), **options)


def clicked(
    figure: Any,
    key: str,
    alt: str,
    act: Callable[[list[Any]], None],
    height: str = "",
    width: str = "100%",
) -> None:
    exact = f"calc({height})" if height and not height.startswith("calc") else height
    panels.chart(gather.current().show(Figure(key, figure, alt, exact, width)), act)


def fitted(
    figure: Any,
    key: str,
    alt: str,
    view: Image.Image,
    count: int,
    *,
    width: str = "100cqi",
    act: Callable[[list[Any]], None] | None = None,
) -> None:
    height = rows.height_of(figure, view, count, width)
    panels.chart(gather.current().show(Figure(key, figure, alt, height, width)), act)


def row(
    view: Image.Image, shown: Sequence[figures.Panel], display: Display, key: str, least: int = 0
) -> None:
    panels.row(rows.row(gather.current(), key, view, shown, display, least=least))


def made(choice: Choice, scene: Scene, target: str) -> Explanation | str:
    if choice.method is None:
        return choice.refusal
    model, method = choice.model, choice.method
    try:
        index = index_of(model, target) if method.class_specific else None
        [found] = cache.explain(model.spec.id, scene, method.name, (index,), choice.values)
    except MethodError as error:
        return str(error)
    gather.explanation(found, choice.values)
    return found
