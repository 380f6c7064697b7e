"""Results are shared by all who asked for them: nobody can write into one."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

import core
from core.errors import ParameterError
from core.frozen import ReadOnly, read_only
from tests.support.builders import GIVEN, built, pictures, sentence

NAME = "timm"
RELEVANCE = np.arange(6, dtype=np.float32).reshape(2, 3)


def of(name: str, *args: Any, **options: Any) -> Any:
    """A function of core, called for a tiny transformer and a picture."""
    return getattr(core, name)(
        built(NAME).model, pictures(NAME, 1)[0], *args, framing=GIVEN, **options
    )


RESULTS: dict[str, Callable[[], Any]] = {
    "explain": lambda: of("explain", "legrad", 1),
    "explain_stream": lambda: next(
        core.explain_stream(built(NAME).model, pictures(NAME, 1), ["rollout"], framing=GIVEN)
    ),
    "predict": lambda: of("predict"),
    "faithfulness": lambda: of("faithfulness", RELEVANCE, steps=2),
    "robustness": lambda: of("robustness", "blur", (0, 0.1)),
    "randomization": lambda: of("randomization", "rollout", depths=["classifier"]),
    "maximize": lambda: core.maximize(built(NAME).model, core.class_logit(1), 2, 16),
    "maximize_several": lambda: core.maximize_several(
        built(NAME).model, core.class_logit(1), 2, 2, 16
    )[1],
    "what_if": lambda: of("what_if", RELEVANCE > 2),
    "cka": lambda: core.cka(built(NAME).model, pictures(NAME, 4), GIVEN),
    "attention_distance": lambda: of("attention_distance"),
    "receptive_field": lambda: core.receptive_field(
        built(NAME).model, "block.1", pictures(NAME, 1), GIVEN
    ),
    "token_norms": lambda: of("token_norms"),
    "neighbors": lambda: core.neighbors(built(NAME).model, pictures(NAME, 3), 1, GIVEN),
    "ablate": lambda: of("ablate", "blocks"),
    "logit_lens": lambda: of("logit_lens"),
    "spec": lambda: core.find_spec("dinov2-small"),
}


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Every array and mapping of a result, with a path to it."""
    if isinstance(value, np.ndarray | Mapping):
        yield "", value
    inner: list[tuple[str, Any]] = []
    if dataclasses.is_dataclass(value):
        inner = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, list | tuple):
        inner = list(enumerate(value))  # type: ignore[arg-type]
    for name, part in inner:
        for path, found in parts(part):
            yield f".{name}{path}", found


def assert_read_only(value: Any) -> None:
    found = list(parts(value))
    assert found
    for path, part in found:
        if isinstance(part, np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                part[...] = 0
        else:
            with pytest.raises(TypeError, match=r"part of a result"):
                part["new"] = 1
            with pytest.raises(TypeError, match=r"part of a result"):
                part.update(new=1)
            with pytest.raises(TypeError, match=r"part of a result"):
                part.clear()
            assert "new" not in part, path


@pytest.mark.parametrize("name", RESULTS)
def test_nothing_in_a_result_can_be_written_to(name: str) -> None:
    assert_read_only(RESULTS[name]())


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_travels_and_stays_frozen(name: str) -> None:
    result = RESULTS[name]()
    for made in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert type(made) is type(result)
        assert_read_only(made)
        for (path, one), (_, other) in zip(parts(made), parts(result), strict=True):
            if isinstance(one, np.ndarray):
                assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), path
    assert_read_only(dataclasses.replace(result))
    assert dataclasses.asdict(result).keys() == {f.name for f in dataclasses.fields(result)}


def test_attention_and_features_are_no_window_into_the_recording() -> None:
    """Without a copy, an array of theirs is the memory that every session reads."""
    model = built(NAME).model
    recording = core.record(model, pictures(NAME, 1)[0], GIVEN)
    attention = core.attention(model, recording)
    for array in (
        core.features(model, recording, "block.0.key"),
        attention.tokens(0),
        attention.maps(0),
        attention.matrix(0, 0),
        attention.projection("key", 0, 0, 0),
        attention.received(),
        recording.predictions()[0].logits,
        core.explain(model, recording, "rollout").spikes,
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_parameters_are_written_as_json_and_copied_into_plain_ones() -> None:
    explained = of("explain", "rollout", layers=(0, 1))
    assert json.loads(json.dumps(explained.manifest()))["parameters"]["layers"] == [0, 1]
    assert json.loads(json.dumps(explained.params))["layers"] == [0, 1]
    changed = {**explained.params, "discard": 0.5}
    assert type(changed) is dict
    assert type(explained.params | {"discard": 0.5}) is dict
    assert changed["discard"] == 0.5
    assert explained.params["discard"] == 0.0


def test_what_a_caller_owns_stays_the_callers() -> None:
    mine, settings = np.zeros(3), {"inner": {"a": 1}}
    array, mapping = read_only(mine), read_only(settings)
    mine[0] = 1
    settings["inner"]["a"] = 2
    assert array[0] == 1
    assert mapping == {"inner": {"a": 1}}
    assert isinstance(mapping["inner"], ReadOnly)
    assert read_only(mapping) is mapping


def test_a_measurement_keeps_the_map_that_was_measured() -> None:
    mine = RELEVANCE.copy()
    measured = of("faithfulness", mine, steps=2)
    mine[:] = 0
    assert np.array_equal(measured.relevance, RELEVANCE)


def test_versions_cannot_be_changed_for_all() -> None:
    with pytest.raises(TypeError):
        core.versions()["torch"] = "0"  # type: ignore[index]


# -- objectives of a wrong kind -------------------------------------------------------------------

WRONG: dict[str, Callable[[], Any]] = {
    "class name": lambda: core.class_logit("cat"),  # type: ignore[arg-type]
    "class flag": lambda: core.class_logit(True),
    "class fraction": lambda: core.class_logit(2.5),  # type: ignore[arg-type]
    "stage number": lambda: core.conv_channel(4, 7),  # type: ignore[arg-type]
    "channel name": lambda: core.conv_channel("stage.4", "7"),  # type: ignore[arg-type]
    "no channel": lambda: core.conv_channel("stage.4", None),  # type: ignore[arg-type]
    "block name": lambda: core.block_channel("block.1", 0),  # type: ignore[arg-type]
    "block list": lambda: core.block_channel([1], 0),  # type: ignore[arg-type]
    "hidden name": lambda: core.mlp_channel(1, "0"),  # type: ignore[arg-type]
    "head fraction": lambda: core.head_channel(0, 1.5, 0),  # type: ignore[arg-type]
    "head kind": lambda: core.head_channel(0, 0, 0, kind=3),  # type: ignore[arg-type]
    "sum": lambda: core.class_logit(1) + 3,  # type: ignore[operator]
    "difference": lambda: core.class_logit(1) - "x",  # type: ignore[operator]
    "factor": lambda: core.class_logit(1) * "x",  # type: ignore[operator]
    "no factor": lambda: core.class_logit(1) * None,  # type: ignore[operator]
    "infinite factor": lambda: core.class_logit(1) * float("nan"),
    "weight": lambda: core.Regularization(seam="much"),  # type: ignore[arg-type]
    "move": lambda: core.Transforms(jitter="far"),  # type: ignore[arg-type]
    "vanishing": lambda: core.Transforms(scale=1.0),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "objective": {"objective": 3},
    "steps": {"steps": "many"},
    "fraction of a step": {"steps": 2.5},
    "size": {"size": "224"},
    "three sides": {"size": (16, 16, 16)},
    "fraction of a pixel": {"size": (16.0, 16.0)},
    "seed": {"seed": "x"},
    "negative seed": {"seed": -1},
    "patch": {"patch": "4"},
    "regularization": {"regularization": 0.1},
    "transforms": {"transforms": {"jitter": 1}},
    "listener": {"on_step": 3},
}


@pytest.mark.parametrize("name", WRONG)
def test_an_objective_of_a_wrong_kind_is_told_in_a_sentence(name: str) -> None:
    with pytest.raises(ParameterError) as error:
        WRONG[name]()
    sentence(error)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_a_wrong_kind_is_told_in_a_sentence(name: str) -> None:
    options = {"objective": core.class_logit(1), "steps": 1, "size": 16} | OPTIONS[name]
    with pytest.raises(ParameterError) as error:
        core.maximize(built(NAME).model, **options)
    sentence(error)


@pytest.mark.parametrize("keep", [[4], [None], ["block.0.input", 4]])
def test_needs_of_a_wrong_kind_are_told_in_a_sentence(keep: list[Any]) -> None:
    with pytest.raises(ParameterError) as error:
        core.record(built(NAME).model, pictures(NAME, 1)[0], GIVEN, core.Needs(keep))
    sentence(error)


def test_numbers_of_numpy_are_whole_numbers() -> None:
    assert repr(core.class_logit(np.int64(3))) == "core.class_logit(3)"  # type: ignore[arg-type]
    assert repr(np.float32(2) * core.class_logit(3)) == repr(2 * core.class_logit(3))  # type: ignore[operator]
