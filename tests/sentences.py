"""All that the application can say, as one text to be read: ``python -m tests.sentences FILE``.

Pages are drawn in many states, and what they show is written down once, with the first screen that
showed it. What no state shows is taken from the code: the texts between quotes.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from google.protobuf.message import Message
from streamlit.testing.v1 import AppTest

from dashboard.registry import pages
from dashboard.screen import fields
from tests.support.application import start

ROOT = Path(__file__).resolve().parents[1]
Query = Mapping[str, str | list[str]]

OF_PAGE: dict[str, tuple[str, ...]] = {
    "compare": (
        "fit",
        "size",
        "scale",
        "smooth",
        "spikes",
        "blend",
        "against",
        "opposite",
        "colors",
        "checked",
    ),
    "attention": ("tab", "fusion", "matrix", "several_map", "several_layers"),
    "gradient_rollout": (),
    "activation_maximization": (
        "objective",
        "parameterization",
        "transparency",
        "moves",
        "twin",
    ),
    "evidence": ("question", "change", "fill", "curve", "measured"),
    "representation": ("represents", "layers_measured", "ablated", "ablated_by"),
    "data_set": ("color", "order"),
    "review": ("archived", "presented"),
}
"""By page, the fields with few values that change what it says."""

MORE: tuple[tuple[str, Query], ...] = (
    ("compare", {"vit_map": "rollout", "vit_map__fusion": "max"}),
    ("compare", {"vit_map": "rollout", "vit_map__fusion": "max", "spikes": "keep"}),
    ("compare", {"vit_map": "attention"}),
    ("compare", {"vit_map": "legrad", "cnn_map": "layer_cam", "clip": "81"}),
    ("compare", {"vit_map": "transformer_attribution", "cnn_map": "grad_cam_plus_plus"}),
    ("compare", {"vit_map": "grad_cam", "cnn_map": "hirescam"}),
    ("compare", {"vit_map": "input_x_gradient", "cnn_map": "input_x_gradient"}),
    ("compare", {"classes": "ping-pong ball"}),
    ("compare", {"classes": "no such class", "cnn": "none", "image": "none", "opacity": "7"}),
    ("compare", {"unknown": "1", "image": "own-0123456789abcdef0123", "large": "compare.1"}),
    ("attention", {"tab": "layer", "layer": "3", "query": "r4c7"}),
    ("attention", {"tab": "layer", "matrix": "yes", "head": "1"}),
    ("attention", {"tab": "joint", "discard": "0.5", "scale": "shared", "clip": "92"}),
    ("attention", {"tab": "channels", "cnn_channel": "3", "vit_channel": "99999"}),
    ("attention", {"tab": "several", "several": ["chelsea", "coffee", "gone"]}),
    ("gradient_rollout", {"classes": ["espresso", "tabby"], "animated": "nothing"}),
    ("gradient_rollout", {"classes": "espresso", "class_map": "legrad"}),
    ("activation_maximization", {"classes": "espresso", "steps": "16"}),
    ("evidence", {"question": "curves", "measured": "yes", "curve": "insertion"}),
    ("evidence", {"question": "pointing", "four": ["a", "b", "c", "d"]}),
    ("evidence", {"change": "patches", "removed": "4x4-ff00"}),
    ("evidence", {"change": "shuffle", "strength": "3"}),
    ("representation", {"represented": "none", "near_picture": "none", "picture_set": "gone"}),
    ("representation", {"represents": "ablation", "fit": "whole", "ablated": "blocks"}),
    ("representation", {"represents": "distance", "receptive_layer": "1"}),
    ("data_set", {"sweep": "none"}),
    ("review", {"search": "no such thing"}),
)
"""Methods, requests that cannot be met, and what the fields above do not reach."""


def choices(name: str) -> tuple[Any, ...]:
    """The values of a field that has few of them."""
    kind = fields()[name].model_fields[name].annotation
    if kind is bool:
        return ("yes", "no")
    for part in (kind, *get_args(kind)):
        if get_origin(part) is Literal:
            return get_args(part)
    return ()


def states() -> Iterator[tuple[str, Query]]:
    """Pages with what their address says: each as it opens, then one choice at a time."""
    for page in pages():
        yield page, {}
        for name in OF_PAGE[page]:
            default = fields()[name].model_fields[name].default
            for value in choices(name):
                if value not in (default, "yes" if default is True else "no"):
                    yield page, {name: value}
    yield from MORE


# -- what a page shows ---------------------------------------------------------------------------

_SEEN_BY_NOBODY = {"id", "key", "url", "src", "icon", "form_id", "color", "unicode", "spec", "data"}


def texts_of(message: Message) -> Iterator[str]:
    """All texts of an element as the browser gets it."""
    for field, value in message.ListFields():
        if field.name in _SEEN_BY_NOBODY or field.name.endswith(("_id", "_url")):
            continue
        many = value if field.is_repeated else [value]
        if field.type == field.TYPE_MESSAGE:
            if field.message_type.GetOptions().map_entry:
                continue
            for inner in many:
                yield from texts_of(inner)
        elif field.type == field.TYPE_STRING:
            yield from many


def texts_of_figure(spec: str) -> Iterator[str]:
    """Titles, labels of axes and traces, and one text of each trace under the pointer."""
    figure = json.loads(spec)

    def visit(value: Any, name: str) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from visit(inner, key)
        elif isinstance(value, list):
            first = value if name in ("annotations", "ticktext", "sliders", "steps") else value[:1]
            for inner in first:
                yield from visit(inner, name)
        elif isinstance(value, str) and name in ("text", "ticktext", "name", "label", "title"):
            yield value

    yield from visit(figure, "")


def shown(app: AppTest) -> Iterator[str]:
    """Everything that a page says."""
    waiting = [app._tree]
    while waiting:
        block = waiting.pop(0)
        proto = getattr(block, "proto", None)
        if isinstance(proto, Message) and proto.DESCRIPTOR.name != "Html":
            spec = getattr(proto, "spec", "")
            if isinstance(spec, str) and spec.startswith("{") and '"layout"' in spec:
                yield from texts_of_figure(spec)
            yield from texts_of(proto)
        children = getattr(block, "children", {})
        waiting = [*children.values(), *waiting]


# -- what the code can say ------------------------------------------------------------------------


def written(folder: str) -> Iterator[tuple[str, str]]:
    """Texts of more than two words between quotes, docstrings left out, and where they stand."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        silent = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        joined: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                joined |= {id(part) for part in node.values}
                parts = [
                    part.value if isinstance(part, ast.Constant) else "{…}" for part in node.values
                ]
                text = "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                if id(node) in silent or id(node) in joined:
                    continue
                text = node.value
            else:
                continue
            if "  # noqa" in text:  # a line of a program
                continue
            if len(text.split()) > 2 and not re.search(r"[{;]\s*\n|\bSELECT\b|=>|</?\w+[ >]", text):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", text


# -- what must not be said ------------------------------------------------------------------------

WRONG = {
    "markup": re.compile(r"&amp;|&lt;/?b|&amp;amp;"),
    "words twice": re.compile(r"(?<![\w{-])([a-z]{2,}) \1(?![\w-])"),
    "spaces twice": re.compile(r"(?<=\S)   *(?=\S)"),
    "a float as it is stored": re.compile(r"\d\.\d{9,}"),
    "no value": re.compile(r"\bNone\b(?! of )|\b(nan|inf)\b"),
    "no data named": re.compile(r"trained on not stated|: not stated\."),
    "an ending": re.compile(r"(?<!1)[123]th\b"),
}
"""What no text of a page may hold, by what is wrong with it."""


def problems(text: str) -> list[str]:
    """What is wrong with a text; Markdown's own line break, two spaces, is not."""
    kept = re.sub(r"  \n", "\n", text)
    return [name for name, pattern in WRONG.items() if pattern.search(kept)]


def main() -> None:
    """Write all of it into a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--pages", nargs="*", default=[*pages()])
    given = parser.parse_args()
    said: dict[str, str] = {}
    for page, query in states():
        if page not in given.pages:
            continue
        print(page, dict(query), flush=True)
        for text in shown(start(page, **query)):
            said.setdefault(text.strip(), f"{page} {dict(query)}")
    lines = [f"{where}\n{text}\n" for text, where in said.items() if re.search(r"[a-z]", text)]
    for folder in ("core", "dashboard", "pages"):
        lines += [f"{place}\n{text}\n" for place, text in written(folder)]
    wrong = [f"{problems(text)} {text!r}" for text in said if problems(text)]
    given.file.write_text("\n".join([*wrong, "", *lines]), encoding="utf-8")


if __name__ == "__main__":
    main()
