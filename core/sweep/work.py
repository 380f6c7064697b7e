"""The processing of one chunk of pictures, the same for all engines."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.special import rel_entr
from torch import Tensor

from core import progress
from core.answers import log_probabilities, probabilities
from core.errors import BusyError, ImageError, ParallaxError, Stopped
from core.evidence.faithfulness import faithfulness
from core.explain import Explanation, explain
from core.heatmaps import agreement, spikes
from core.images import Framing, digest, read_image
from core.layerwise.layers import embedding_taps, embeddings
from core.models import Model, VisionTransformer, open_model
from core.models.model import shared_view
from core.recording.batches import record_stream
from core.recording.recording import Prediction, Recording
from core.recording.run import Needs
from core.recording.transformer import TransformerRecording, attention_needs
from core.sandbox import read_untrusted_images
from core.sweep import pictures
from core.sweep.classes import class_of
from core.sweep.pictures import Item, Source
from core.sweep.plan import EVIDENCE_STEPS, Asked, Plan, asked
from core.sweep.schema import TOP, schemas

if TYPE_CHECKING:
    import pyarrow as pa

SIDE = 96
"""Longer side of a thumbnail in pixels."""

TOGETHER = 4
"""Pictures decoded per process: each may take 12 MB, twice."""

_GIVEN = Framing("given")
_Float = npt.NDArray[np.float32]
Tables = dict[str, "pa.Table"]
"""The tables of a part, by their names in `core.sweep.schema`."""


@dataclass(frozen=True)
class Chunk:
    """Pictures that are processed together and written as one part."""

    number: int
    source: Source
    items: tuple[Item, ...]


@dataclass(frozen=True, eq=False)
class Seen:
    """The results of one model for one picture.

    Attributes
    ----------
    prediction : Prediction or None
        ``None`` for a model without classes.
    maps : mapping of int to Explanation
        By their number among all maps of the sweep.
    embedding : (channels,) float32
        Input of the classifier: the mean over the last feature maps of a convolutional network, the
        tokens that a transformer's classifier reads; logits for a network without taps.
    artifacts : int or None
        Patches that receive attention far beyond the rest; ``None`` for a CNN.
    """

    prediction: Prediction | None
    maps: Mapping[int, Explanation]
    embedding: _Float
    artifacts: int | None


@dataclass(eq=False)
class _Picture:
    """One picture being processed.

    Attributes
    ----------
    row
        Its row in the table ``pictures``.
    classes
        Class of the label in each model.
    view
        The fitted picture; ``None`` if it could not be read.
    seen
        Results of the models, by number; not written for a picture with an error.
    areas
        Deletion and insertion area of each measured map, by number.
    """

    row: dict[str, Any]
    classes: tuple[int | None, ...]
    view: Image.Image | None = None
    seen: dict[int, Seen] = field(default_factory=dict)
    areas: dict[int, tuple[float, float]] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether it has been processed without error so far."""
        return self.view is not None and not self.row["error"]


class Work:
    """The opened models of a plan, for chunks of pictures; one instance per process.

    Every portion of pictures read, and every pass, is a step of `core.progress`.

    Parameters
    ----------
    models
        In the order of the plan.
    strange
        Whether the pictures are untrusted, so that they are decoded in another process.
    """

    def __init__(self, plan: Plan, models: Sequence[Model], strange: bool = False) -> None:
        self.plan, self.models, self.strange = plan, tuple(models), strange
        self.asked = asked(plan, self.models)
        self._exceptions = dict(plan.exceptions)
        self._shared = {
            (a, b): shared_classes(self.models[a], self.models[b])
            for a, b in combinations(range(len(self.models)), 2)
        }

    @classmethod
    def open(cls, plan: Plan, strange: bool = False) -> Work:
        """Open the models of a plan."""
        return cls(plan, [open_model(model_id) for model_id in plan.models], strange)

    def __call__(self, chunk: Chunk) -> Tables:
        """Process the pictures of a chunk: all tables, in the order of the chunk.

        Raises
        ------
        BusyError, Stopped
            All slots for network passes were in use, or the watcher stopped it. Errors of a
            picture are in its row.
        """
        import pyarrow as pa

        found = self.look(chunk)
        if self.plan.evidence:
            self._measure(found)
        whole = [one for one in found if one.is_whole]
        rows = {
            "pictures": [one.row for one in found],
            "answers": [row for one in whole for row in self._answers(one)],
            "maps": [row for one in whole for row in self._maps(one)],
            "divergences": [row for one in whole for row in self._divergences(one)],
            "agreements": [row for one in whole for row in self._agreements(one)],
        }
        return {name: pa.Table.from_pylist(rows[name], schema=schemas()[name]) for name in rows}

    # -- processing ---------------------------------------------------------------------------

    def look(self, chunk: Chunk) -> list[_Picture]:
        """Read all pictures of a chunk, fit them once, and run every model on them."""
        found = list(self._pictures(chunk))
        for number, model in enumerate(self.models):
            fitted = [one for one in found if one.is_whole]
            views = [one.view for one in fitted if one.view is not None]
            targets = [self._target(one, model) for one in fitted]
            for one, seen in zip(fitted, self._seen(number, views, targets), strict=True):
                if isinstance(seen, Seen):
                    one.seen[number] = seen
                else:
                    one.row["error"] = str(seen)
        return found

    def _pictures(self, chunk: Chunk) -> Iterator[_Picture]:
        """Read the pictures of a chunk, and fit those that can be read."""
        files = zip(chunk.items, pictures.read(chunk.source, chunk.items), strict=True)
        while some := list(islice(files, TOGETHER if self.strange else 1)):
            progress.step(some[0][0].index - chunk.items[0].index, len(chunk.items))
            if self.strange:
                whole = [(data, item.path) for item, data in some if isinstance(data, bytes)]
                decoded = iter(read_untrusted_images(whole))
            for item, data in some:
                if self.strange and isinstance(data, bytes):
                    yield self._fitted(item, len(data), next(decoded))
                else:
                    yield self._read(item, data)

    def _read(self, item: Item, data: bytes | ImageError) -> _Picture:
        """One picture that is decoded here, or that could not be read."""
        if isinstance(data, ImageError):
            return self._fitted(item, None, data)
        try:
            return self._fitted(item, len(data), read_image(data, item.path))
        except ImageError as error:
            return self._fitted(item, len(data), error)

    def _fitted(self, item: Item, size: int | None, image: Image.Image | ImageError) -> _Picture:
        row: dict[str, Any] = {"index": item.index, "path": item.path, "label": item.label}
        row |= {"error": "", "bytes": size}
        classes = tuple(
            class_of(item.label, model.labels, self._exceptions) for model in self.models
        )
        try:
            if isinstance(image, ImageError):
                raise image
            row |= {"digest": digest(image), "width": image.width, "height": image.height}
            view = shared_view(self.models, image, self.plan.framing)
        except ImageError as error:
            return _Picture(row | {"error": str(error)}, classes)
        row["thumbnail"] = _thumbnail(view)
        return _Picture(row, classes, view)

    def _target(self, one: _Picture, model: Model) -> int | None:
        """Class that maps of this model explain; ``None`` for its own first answer."""
        if self.plan.target == "own" or not model.classes:
            return None
        for known, index in zip(self.models, one.classes, strict=True):
            if index is not None:
                return _index(model, known.label(index))
        answers = [seen.prediction for seen in one.seen.values() if seen.prediction is not None]
        return _index(model, answers[0].labels[0]) if answers else None

    def _seen(
        self, number: int, views: Sequence[Image.Image], targets: Sequence[int | None]
    ) -> list[Seen | ParallaxError]:
        """Results of a model for fitted pictures; if a batch fails, each picture is tried alone."""
        try:
            return list(self._pass(number, views, targets))
        except (BusyError, Stopped):
            raise
        except ParallaxError as error:
            if len(views) == 1:
                return [error]
        alone = zip(views, targets, strict=True)
        return [self._seen(number, [view], [target])[0] for view, target in alone]

    def _pass(
        self, number: int, views: Sequence[Image.Image], targets: Sequence[int | None]
    ) -> list[Seen]:
        model = self.models[number]
        maps = {place: one for place, one in enumerate(self.asked) if one.model == number}
        needs = Needs(embedding_taps(model))
        if isinstance(model, VisionTransformer):
            needs |= attention_needs(model)
        for one in maps.values():
            needs |= one.needs
        found: dict[int, Seen] = {}
        for batch in record_stream(model, views, _GIVEN, needs):
            part = [targets[place] for place in batch.places]
            seen = _read_off(model, batch.recording, maps, part)
            found |= dict(zip(batch.places, seen, strict=True))
            del batch  # before the next pass runs
            progress.step(len(found), len(views))
        return [found[place] for place in range(len(views))]

    def _measure(self, found: Sequence[_Picture]) -> None:
        """Deletion and insertion areas of every map that is not constant."""
        for number, wanted in enumerate(self.asked):
            cases: list[tuple[_Picture, Image.Image, Explanation]] = []
            for one in found:
                if one.view is None or not one.is_whole:
                    continue
                explained = one.seen[wanted.model].maps[number]
                if np.ptp(explained.relevance) > 0:
                    cases.append((one, one.view, explained))
            if not cases:
                continue
            measured = faithfulness(
                self.models[wanted.model],
                [view for _, view, _ in cases],
                [explained.relevance for _, _, explained in cases],
                [explained.target for _, _, explained in cases],
                framing=_GIVEN,
                steps=EVIDENCE_STEPS,
            )
            for (one, _, _), areas in zip(cases, measured, strict=True):
                one.areas[number] = (areas.deletion_area, areas.insertion_area)

    # -- rows ---------------------------------------------------------------------------------

    def _answers(self, one: _Picture) -> Iterator[dict[str, Any]]:
        for number, seen in one.seen.items():
            known, found = one.classes[number], seen.prediction
            row = {"index": one.row["index"], "model": number, "label_class": known}
            row |= {"artifacts": seen.artifacts, "embedding": seen.embedding.astype(np.float16)}
            if found is not None:
                row |= {
                    "answer": found.labels[0],
                    "probability": float(found.probabilities[0]),
                    "top": found.indices,
                    "top_probabilities": found.probabilities,
                }
            if found is not None and known is not None:
                row |= {
                    "right": known in found.affirmed,
                    "label_log_probability": _log_probability(found, known),
                    "label_rank": found.rank(known),
                }
            yield row

    def _explained(self, one: _Picture) -> list[Explanation]:
        """All maps of a picture, by number."""
        return [one.seen[wanted.model].maps[n] for n, wanted in enumerate(self.asked)]

    def _maps(self, one: _Picture) -> Iterator[dict[str, Any]]:
        for number, found in enumerate(self._explained(one)):
            scale = float(np.abs(found.relevance).max()) or 1.0
            deletion, insertion = one.areas.get(number, (None, None))
            yield {
                "index": one.row["index"],
                "map": number,
                "target": found.label,
                "prefix_mass": found.prefix_mass,
                "deletion": deletion,
                "insertion": insertion,
                "relevance": (found.relevance / scale).ravel().astype(np.float16),
                "scale": scale,
                "shape": list(found.relevance.shape),
            }

    def _divergences(self, one: _Picture) -> Iterator[dict[str, Any]]:
        for (a, b), shared in self._shared.items():
            first, second = one.seen[a].prediction, one.seen[b].prediction
            if first is not None and second is not None:
                found = divergence(first, second, shared)
                row = {"index": one.row["index"], "first": a, "second": b}
                yield row | {"divergence": found}

    def _agreements(self, one: _Picture) -> Iterator[dict[str, Any]]:
        for (a, first), (b, second) in combinations(enumerate(self._explained(one)), 2):
            correlation, overlap = agreement(first.relevance, second.relevance)
            row = {"index": one.row["index"], "first": a, "second": b, "overlap": overlap}
            yield row | {"correlation": None if np.isnan(correlation) else correlation}


def _thumbnail(view: Image.Image) -> bytes:
    small = view.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _index(model: Model, name: str) -> int | None:
    return model.labels.index(name) if name in model.labels else None


def _read_off(
    model: Model, recording: Recording, maps: Mapping[int, Asked], targets: Sequence[int | None]
) -> list[Seen]:
    """The stored results of one pass, one for each of its pictures."""
    if isinstance(recording, TransformerRecording):
        recording.tally()  # reuse the attention computed for maps to find artifact patches
    explained = {
        number: explain(model, recording, one.method, targets, **one.parameters)
        for number, one in maps.items()
    }
    predictions: Sequence[Prediction | None] = [None] * len(recording)
    if recording.logits is not None:
        predictions = recording.predictions(TOP)
    artifacts: list[int | None] = [None] * len(recording)
    if isinstance(recording, TransformerRecording):
        artifacts = [int(spikes(grid).sum()) for grid in _numpy(recording.received())]
    return [
        Seen(
            predictions[i], {key: each[i] for key, each in explained.items()}, vector, artifacts[i]
        )
        for i, vector in enumerate(_numpy(embeddings(recording)))
    ]


def _numpy(tensor: Tensor) -> _Float:
    values: _Float = tensor.detach().float().cpu().numpy()
    return values


def _log_probability(found: Prediction, target: int) -> float:
    """Natural logarithm of a class's probability; finite where the probability itself is 0."""
    return float(log_probabilities(found.logits.astype(np.float64), found.answer)[target])


def shared_classes(first: Model, second: Model) -> npt.NDArray[np.int64]:
    """Indices of the classes that two models share by name: (2, shared)."""
    places = {name: index for index, name in enumerate(second.labels)}
    both = [(i, places[name]) for i, name in enumerate(first.labels) if name in places]
    return np.array(both, dtype=np.int64).reshape(-1, 2).T


def divergence(
    first: Prediction, second: Prediction, shared: npt.NDArray[np.int64]
) -> float | None:
    """Jensen–Shannon divergence of two answers over the classes of both models.

    For models of labels (sigmoid) it is the mean over labels of the divergence of two
    distributions, each of “holds” and “does not hold”.

    Parameters
    ----------
    shared : (2, classes) int
        Indices of those classes in each model; distributions over classes are renormalized over
        them.

    Returns
    -------
    float or None
        In bits: 0 for equal answers, 1 for answers without overlap (Lin 1991). ``None`` where
        the models share no class, or one has classes and the other labels.
    """
    if not shared.size or first.answer != second.answer:
        return None
    p, q = (
        probabilities(one.logits[part].astype(np.float64), one.answer)
        for one, part in zip((first, second), shared, strict=True)
    )
    if first.answer == "sigmoid":
        pairs = zip(p, q, strict=True)
        both = [_shannon(np.array([a, 1 - a]), np.array([b, 1 - b])) for a, b in pairs]
        return float(np.mean(both))
    return _shannon(p, q)


def _shannon(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> float:
    """Jensen–Shannon divergence of two distributions in bits."""
    middle = (p + q) / 2
    found = (rel_entr(p, middle) + rel_entr(q, middle)).sum() / (2 * np.log(2))
    return float(np.clip(found, 0.0, 1.0))
