"""Text of strangers in every place that draws text: no markup, no link, no foreign picture."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import save_file
from streamlit.testing.v1 import AppTest

from dashboard import measurements
from dashboard.text import in_figure, plain
from tests.support import application
from tests.support.application import fresh, switch, upload

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("compare", "attention", "gradient_rollout", "activation_maximization")
HOSTILE = (
    '<a href="x:evil">a</a> ![i](http://evil.test/i) https://evil.test www.evil.test m@evil.test '
    ":material/home: **b** `c`"
)
RAW = re.compile(
    r"(?<!\\)<a href|(?<!\\)!\[i\]|://evil|www\.evil|m@evil|:material/home|(?<!\\)\*\*b|(?<!\\)`c"
)
IN_FIGURE = re.compile(r"<a href|<b>b</b>")


def elements(block: Any) -> Iterator[Any]:
    """The messages of everything that is drawn."""
    for child in block.children.values():
        if hasattr(child, "children"):
            yield from elements(child)
        if getattr(child, "proto", None) is not None:
            yield child


def texts(app: AppTest) -> Iterator[tuple[str, str]]:
    """Everything that is read as Markdown or by Plotly: its kind and itself."""
    for block in (app.main, app.sidebar):
        for element in elements(block):
            proto = element.proto
            for name in ("body", "label", "help", "text", "spec"):
                value = getattr(proto, name, "")
                if isinstance(value, str) and value and element.type != "html":
                    yield f"{element.type}.{name}", value


def check(app: AppTest) -> int:
    """Fail on anything raw; returns in how many places the text is."""
    assert not app.exception, app.exception
    found = 0
    for kind, text in texts(app):
        if "evil" in text:
            found += 1
            raw = (IN_FIGURE if kind.endswith(".spec") else RAW).search(
                text.replace("\\u003c", "<").replace("\\u003e", ">")
            )
            assert raw is None, f"{kind}: {text[max(0, raw.start() - 60) : raw.end() + 60]}"
    return found


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models whose every text is hostile."""
    import timm

    (tmp_path / "labels.txt").write_text("".join(f"{i} {HOSTILE}\n" for i in range(4)))
    tables = []
    for family, name in (("cnn", "test_resnet"), ("vit", "test_vit")):
        save_file(
            timm.create_model(name, num_classes=4).state_dict(), tmp_path / f"{name}.safetensors"
        )
        keys = {"title": HOSTILE, "pretraining": HOSTILE, "license": HOSTILE, "note": HOSTILE}
        keys |= {"id": f"evil-{family}", "family": family, "architecture": name}
        keys |= {"weights": f"{name}.safetensors", "labels": "labels.txt"}
        tables.append("[[model]]\n" + "".join(f"{k} = '''{v}'''\n" for k, v in keys.items()))
    (tmp_path / "models.toml").write_text("\n".join(tables))
    monkeypatch.setenv("PARALLAX_MODELS", str(tmp_path / "models.toml"))


def start(page: str, **query: str) -> AppTest:
    return application.start(page, image=None, cnn="evil-cnn", vit="evil-vit", **query)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.usefixtures("own")
def test_titles_labels_and_notes_of_a_models_file(page: str) -> None:
    assert check(start(page)) > 0


@pytest.mark.parametrize("tab", ["layer", "joint", "channels", "similarity", "several"])
@pytest.mark.usefixtures("own")
def test_every_tab_of_attention(tab: str) -> None:
    assert check(start("attention", tab=tab)) > 0


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"change": "shuffle"},
        {"question": "curves", "measured": "yes"},
        {"question": "randomization", "measured": "yes"},
        {"question": "pointing"},
    ],
)
@pytest.mark.usefixtures("own")
def test_every_question_of_evidence(query: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "STEPS", 2)
    monkeypatch.setattr(measurements, "SEEDS", range(5))
    assert check(start("evidence", **query)) > 0


def test_names_of_files() -> None:
    buffer = io.BytesIO()
    Image.linear_gradient("L").save(buffer, "PNG")
    app = fresh().run()
    upload(app, HOSTILE + ".png", buffer.getvalue())
    assert check(app) > 1
    mine = app.query_params["image"]
    for tab in ("grid", "several"):
        app.query_params["tab"] = tab
        app.query_params["several"] = mine
        switch(app, "attention")
        assert check(app) > 1
    assert check(upload(app, HOSTILE + ".png", b"none")) > 1


@pytest.mark.parametrize(
    "key", ["image", "vit", "query", "several", "classes", "vit_map", "evil@x"]
)
def test_the_address(key: str) -> None:
    app = fresh()
    app.query_params[key] = HOSTILE
    check(app.run())


def test_both_functions() -> None:
    assert not RAW.search(plain(HOSTILE))
    assert not IN_FIGURE.search(in_figure(HOSTILE))
    assert plain("plain words, 80% ± 1") == "plain words, 80% ± 1"
    assert in_figure("5 < 6 & %{z}") == "5 &lt; 6 &amp; %\u2060{z}"
