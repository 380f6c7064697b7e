"""The work on one chunk of pictures: the same function, wherever it runs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core import progress
from core.errors import BusyError, ImageError, ParallaxError, Stopped
from core.evidence.faithfulness import faithfulness
from core.explain import Explanation, explain
from core.heatmaps import agreement, spikes
from core.images import Framing, digest, read_image
from core.models import Model, VisionTransformer, open_model
from core.models.model import shared_view
from core.models.taps import HEAD_INPUT
from core.numerics import own_state
from core.recording.batches import record_stream
from core.recording.recording import Prediction, Recording
from core.recording.run import Needs
from core.recording.transformer import TransformerRecording, attention_needs
from core.sandbox import read_untrusted_images
from core.sweep import pictures
from core.sweep.classes import class_of
from core.sweep.pictures import Item, Source
from core.sweep.plan import EVIDENCE_STEPS, Asked, Family, Plan, asked
from core.sweep.schema import TOP, pairs, schema

if TYPE_CHECKING:
    import pyarrow as pa

SIDE = 96
"""Longer side of a thumbnail in pixels."""

TOGETHER = 4
"""Pictures that are decoded in one other process: each may take 12 MB, twice."""

_GIVEN = Framing("given")
_Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Chunk:
    """Pictures that are looked at together and written as one part."""

    number: int
    source: Source
    items: tuple[Item, ...]


@dataclass(frozen=True, eq=False)
class Seen:
    """What one model made of one picture.

    Attributes
    ----------
    prediction : Prediction or None
        ``None`` for a model without classes.
    maps : mapping of str to Explanation
        By key.
    embedding : (channels,) float32
        What the classifier gets: the mean over the last maps of a convolutional network, the
        tokens that a transformer's classifier reads.
    artifacts : int or None
        Patches that receive attention far beyond the rest; ``None`` for a CNN.
    """

    prediction: Prediction | None
    maps: Mapping[str, Explanation]
    embedding: _Float
    artifacts: int | None


@dataclass(eq=False)
class _Picture:
    """One picture on its way: a row that is being filled."""

    row: dict[str, Any]
    view: Image.Image | None = None
    seen: dict[Family, Seen] = field(default_factory=dict)


class Work:
    """A pair of opened models that looks at chunks of pictures; hold one for each process.

    Every portion of pictures that is read, and every pass, is a step of `core.progress`.

    Parameters
    ----------
    strange
        Whether anybody may have sent the pictures, so that they are decoded in another process.
    """

    def __init__(self, plan: Plan, cnn: Model, vit: Model, strange: bool = False) -> None:
        self.plan, self.strange = plan, strange
        self.models: dict[Family, Model] = {"cnn": cnn, "vit": vit}
        self.asked = asked(plan, cnn, vit)
        self._exceptions = dict(plan.exceptions)
        self._shared = _shared_classes(cnn, vit)

    @classmethod
    def open(cls, plan: Plan, strange: bool = False) -> Work:
        """Open the pair of a plan."""
        return cls(plan, open_model(plan.cnn), open_model(plan.vit), strange)

    @property
    def schema(self) -> pa.Schema:
        """Columns of what a call returns."""
        return schema([one.key for one in self.asked], self.plan.evidence)

    def __call__(self, chunk: Chunk) -> pa.Table:
        """Look at the pictures of a chunk: a table with a row for each, in their order.

        Raises
        ------
        BusyError, Stopped
            All places for computing stayed taken, or whoever watches ended it. Whatever is wrong
            with a picture is in its row.
        """
        import pyarrow as pa

        found = self.look(chunk)
        if self.plan.evidence:
            self._measure(found)
        return pa.Table.from_pylist([self._row(one) for one in found], schema=self.schema)

    # -- looking ------------------------------------------------------------------------------

    def look(self, chunk: Chunk) -> list[_Picture]:
        """Read all pictures of a chunk, fit them, and send them through both models."""
        found = list(self._pictures(chunk))
        for family, model in self.models.items():
            fitted = [one for one in found if one.view is not None and not one.row["error"]]
            views = [one.view for one in fitted if one.view is not None]
            targets = [self._target(one, model) for one in fitted]
            for one, seen in zip(fitted, self._seen(family, views, targets), strict=True):
                if isinstance(seen, Seen):
                    one.seen[family] = seen
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
        """One picture that is decoded here, or that could not be had."""
        if isinstance(data, ImageError):
            return self._fitted(item, None, data)
        try:
            return self._fitted(item, len(data), read_image(data, item.path))
        except ImageError as error:
            return self._fitted(item, len(data), error)

    def _fitted(self, item: Item, size: int | None, image: Image.Image | ImageError) -> _Picture:
        row: dict[str, Any] = {"index": item.index, "path": item.path, "label": item.label}
        row |= {"error": "", "bytes": size}
        for family, model in self.models.items():
            row[f"{family}_class"] = class_of(item.label, model.labels, self._exceptions)
        try:
            if isinstance(image, ImageError):
                raise image
            row |= {"digest": digest(image), "width": image.width, "height": image.height}
            view = shared_view(tuple(self.models.values()), image, self.plan.framing)
        except ImageError as error:
            return _Picture(row | {"error": str(error)})
        row["thumbnail"] = _thumbnail(view)
        return _Picture(row, view)

    def _target(self, one: _Picture, model: Model) -> int | None:
        """Class that maps of this model explain; ``None`` for its own first answer."""
        if self.plan.target == "own" or not model.classes:
            return None
        first = one.seen.get("cnn")
        for family, known in self.models.items():
            if (index := one.row[f"{family}_class"]) is not None:
                return _index(model, known.label(index))
        if first is None or first.prediction is None:
            return None
        return _index(model, first.prediction.labels[0])

    def _seen(
        self, family: Family, views: Sequence[Image.Image], targets: Sequence[int | None]
    ) -> list[Seen | ParallaxError]:
        """What a model makes of fitted pictures; where a batch fails, each is tried alone."""
        try:
            return list(self._pass(family, views, targets))
        except (BusyError, Stopped):
            raise
        except ParallaxError as error:
            if len(views) == 1:
                return [error]
        alone = zip(views, targets, strict=True)
        return [self._seen(family, [view], [target])[0] for view, target in alone]

    def _pass(
        self, family: Family, views: Sequence[Image.Image], targets: Sequence[int | None]
    ) -> list[Seen]:
        model = self.models[family]
        maps = [one for one in self.asked if one.family == family]
        needs = Needs([_embedding_tap(model)])
        if isinstance(model, VisionTransformer):
            needs |= attention_needs(model)
        for one in maps:
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
        """Deletion and insertion areas of every map that is not the same everywhere."""
        for wanted in self.asked:
            cases: list[tuple[_Picture, Image.Image, Explanation]] = []
            for one in found:
                if one.view is None or one.row["error"]:
                    continue
                explained = one.seen[wanted.family].maps[wanted.key]
                if np.ptp(explained.relevance) > 0:
                    cases.append((one, one.view, explained))
            if not cases:
                continue
            measured = faithfulness(
                self.models[wanted.family],
                [view for _, view, _ in cases],
                [explained.relevance for _, _, explained in cases],
                [explained.target for _, _, explained in cases],
                framing=_GIVEN,
                steps=EVIDENCE_STEPS,
            )
            for (one, _, _), areas in zip(cases, measured, strict=True):
                one.row[f"deletion__{wanted.key}"] = areas.deletion_area
                one.row[f"insertion__{wanted.key}"] = areas.insertion_area

    # -- rows ---------------------------------------------------------------------------------

    def _row(self, one: _Picture) -> dict[str, Any]:
        row = one.row
        if row["error"] or one.view is None:
            return row
        maps: dict[str, Explanation] = {}
        for family, seen in one.seen.items():
            maps |= seen.maps
            row |= _answers(family, seen.prediction, row[f"{family}_class"])
            row[f"embedding__{family}"] = seen.embedding.astype(np.float16)
        row["artifacts"] = one.seen["vit"].artifacts
        answers = [one.seen[family].prediction for family in ("cnn", "vit")]
        if answers[0] is not None and answers[1] is not None:
            row["same_answer"] = answers[0].labels[0] == answers[1].labels[0]
            row["divergence"] = divergence(answers[0], answers[1], self._shared)
        for a, b in pairs([wanted.key for wanted in self.asked]):
            correlation, overlap = agreement(maps[a].relevance, maps[b].relevance)
            row[f"correlation__{a}__{b}"] = None if np.isnan(correlation) else correlation
            row[f"overlap__{a}__{b}"] = overlap
        for wanted in self.asked:
            row |= self._map(wanted, maps[wanted.key])
        return row

    def _map(self, wanted: Asked, found: Explanation) -> dict[str, Any]:
        key, scale = wanted.key, float(np.abs(found.relevance).max()) or 1.0
        return {
            f"target__{key}": found.label,
            f"prefix_mass__{key}": found.prefix_mass,
            f"map__{key}": (found.relevance / scale).ravel().astype(np.float16),
            f"scale__{key}": scale,
            f"shape__{key}": list(found.relevance.shape),
        }


def _thumbnail(view: Image.Image) -> bytes:
    small = view.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _index(model: Model, name: str) -> int | None:
    return model.labels.index(name) if name in model.labels else None


def _embedding_tap(model: Model) -> str:
    return HEAD_INPUT if HEAD_INPUT in model.taps else model.usual_taps[0]


def _read_off(
    model: Model, recording: Recording, maps: Sequence[Asked], targets: Sequence[int | None]
) -> list[Seen]:
    """All that is kept of one pass, one for each of its pictures."""
    if isinstance(recording, TransformerRecording):
        recording.tally()  # the attention that maps rebuild serves the artifact patches, too
    explained = {
        one.key: explain(model, recording, one.method, targets, **one.parameters) for one in maps
    }
    predictions: Sequence[Prediction | None] = [None] * len(recording)
    if recording.logits is not None:
        predictions = recording.predictions(TOP)
    artifacts: list[int | None] = [None] * len(recording)
    with own_state():
        tensor = recording.tensor(_embedding_tap(model))
        if isinstance(recording, TransformerRecording):
            embeddings = torch.einsum("bqt,btc->bc", recording.readout_row(), tensor)
            artifacts = [int(spikes(grid).sum()) for grid in _numpy(recording.received())]
        else:
            embeddings = tensor.mean(dim=(2, 3))
    return [
        Seen(
            predictions[i], {key: each[i] for key, each in explained.items()}, vector, artifacts[i]
        )
        for i, vector in enumerate(_numpy(embeddings))
    ]


def _numpy(tensor: Tensor) -> _Float:
    values: _Float = tensor.detach().float().cpu().numpy()
    return values


def _answers(family: Family, found: Prediction | None, known: int | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {
        f"{family}_answer": found.labels[0],
        f"{family}_probability": float(found.probabilities[0]),
        f"{family}_top": found.indices,
        f"{family}_top_probabilities": found.probabilities,
        f"{family}_right": None if known is None else found.top == known,
    }


def _shared_classes(cnn: Model, vit: Model) -> npt.NDArray[np.int64]:
    """Indices of the classes that both models know by the same name: (2, shared)."""
    places = {name: index for index, name in enumerate(vit.labels)}
    both = [(i, places[name]) for i, name in enumerate(cnn.labels) if name in places]
    return np.array(both, dtype=np.int64).reshape(-1, 2).T


def divergence(
    first: Prediction, second: Prediction, shared: npt.NDArray[np.int64]
) -> float | None:
    """Jensen–Shannon divergence of two answers over the classes that both models know.

    Parameters
    ----------
    shared : (2, classes) int
        Indices of those classes in each model; both distributions are renormalized over them.

    Returns
    -------
    float or None
        In bits: 0 for equal answers, 1 for answers that share nothing (Lin 1991). ``None`` where
        the models share no class.
    """
    if not shared.size:
        return None
    p, q = (_softmax(one.logits[part]) for one, part in zip((first, second), shared, strict=True))
    middle = (p + q) / 2
    return float(np.clip((_relative(p, middle) + _relative(q, middle)) / 2, 0.0, 1.0))


def _softmax(logits: _Float) -> npt.NDArray[np.float64]:
    shifted = np.exp(logits.astype(np.float64) - float(logits.max()))
    probabilities: npt.NDArray[np.float64] = shifted / shifted.sum()
    return probabilities


def _relative(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> float:
    """Kullback–Leibler divergence in bits."""
    some = p > 0
    return float((p[some] * np.log2(p[some] / q[some])).sum())
